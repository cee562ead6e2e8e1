"""Finished in-domain runs -> tables of augmentations, and a line a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uda.augment import AUGMENTATIONS, title_of_augmentation
from uda.config import read_yaml
from uda.data.spec import DatasetSpec, load_dataset_spec
from uda.reports.cells import Cell, Line, Table, cells_of, mean_and_deviation, seeds_text
from uda.reports.published import FOLDER
from uda.reports.rows import told_apart
from uda.runs.folder import Run
from uda.runs.hashing import config_hash
from uda.sweeps.record import Expected

NOTE = (
    "In percent, mean ± standard deviation over seeds; on held-out pictures, at the last epoch or"
    " the one that the validation part chose. Calibration error: expected, over 15 bins."
    " FGSM error: under attacks of so large a step in float32 on images in [0, 1]."
    " Corrupted: top-1 under seven corruptions of five strengths (ours, after ImageNet-C's)."
    " Overhead: (T - T_none) / T_none of the training steps' time T of the same seed, on a CPU"
    " the process's own."
    " Edits: seconds of making them, by the run that took longest; runs that found them made spent"
    " little."
)
PUBLISHED = "GenMix (arXiv 2412.02366), whose schedules are not printed"


SCORES = {  # a column's name, and its head
    "top1": "top-1",
    "top5": "top-5",
    "validation": "validation",
    "ece": "calibration error",
    "fgsm_error_1": "FGSM error 1/255",
    "fgsm_error_8": "FGSM error 8/255",
    "corruption_acc": "corrupted",
}
LOWER = ("ece", "fgsm_error_1", "fgsm_error_8")  # is better


@dataclass(frozen=True)
class Comparison:
    """Finished runs that differ in augmentation and seed alone: ``rows`` by title, each in order of
    its seeds, the plain one first. ``words`` tell this comparison from others of its domain.
    ``missing`` are the seeds that a sweep wants of a row and has not yet, ``published`` the table
    of the paper that stands beside (0: none)."""

    spec: DatasetSpec
    domain: str
    words: str
    rows: Mapping[str, Sequence[Run]]
    missing: Mapping[str, Sequence[int]] = field(default_factory=dict)
    published: int = 0

    @property
    def title(self) -> str:
        """``EmojiHome, Twemoji, in one domain (images_per_class=5)``."""
        alone = self.domain in (self.spec.title, self.spec.name)
        name = self.spec.title if alone else f"{self.spec.title}, {self.domain}"
        return f"{name}, in one domain" + (f" ({self.words})" if self.words else "")

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [run for own in self.rows.values() for run in own]

    @property
    def plain(self) -> dict[int, Run]:
        """Those without augmentation, by seed."""
        plain = (run for run in self.runs if run.augmentation == "none")
        return {run.seed: run for run in plain}


def comparisons(runs: Sequence[Run], expected: Sequence[Expected] = ()) -> list[Comparison]:
    """The finished in-domain ``runs`` by what is to be compared.

    Rows are called as the sweeps (``expected``) call them, if they agree, else by augmentation and
    what tells one from another.
    """
    titles = {
        one.run_folder: "" if one.other_titles else one.augment_title or "None" for one in expected
    }
    settings: dict[str, list[Run]] = {}
    for run in runs:
        if run.is_in_domain and run.is_done and run.held_out_scores():
            settings.setdefault(config_hash(_setting_of(run)), []).append(run)
    domains: dict[tuple[str, str], list[list[Run]]] = {}
    for own in settings.values():
        place = own[0].dataset, own[0].source_domain
        domains.setdefault(place, []).append(own)
    found = []
    for (dataset, domain), groups in domains.items():
        spec = load_dataset_spec(dataset)
        apart = told_apart([_setting_of(own[0]) for own in groups])
        for own, words in zip(groups, apart, strict=True):
            rows = _rows(own, titles)
            found.append(Comparison(spec, domain, words, rows, *_planned(domain, own, expected)))
    return found


def _planned(
    domain: str, runs: Sequence[Run], expected: Sequence[Expected]
) -> tuple[dict[str, list[int]], int]:
    """What the sweeps that have made ``runs`` want besides, and the paper's table for them."""
    folders = {run.folder for run in runs}
    sweeps = {one.sweep: one.published for one in expected if one.run_folder in folders}
    missing: dict[str, list[int]] = {}
    for one in expected:
        if one.sweep in sweeps and one.source == domain and not (one.target or one.done):
            missing.setdefault(one.augment_title or "None", []).append(one.seed)
    tables = set(sweeps.values()) - {0}
    return missing, tables.pop() if len(tables) == 1 else 0


def overheads(runs: Sequence[Run], plain: Mapping[int, Run]) -> list[float]:
    """A_O = (T_aug - T_van) / T_van in percent (the GenMix paper's Section 6.3) of each run that
    ``plain`` has one of the same seed for. T is the time of the training steps."""
    found = []
    for run in runs:
        other = plain.get(run.seed)
        # What was unpacked has been timed on another machine.
        if not other or run.was_made_here != other.was_made_here:
            continue
        if (own := run.training_seconds()) and (theirs := other.training_seconds()):
            found.append(100 * (own - theirs) / theirs)
    return found


def in_domain_table(compared: Comparison) -> Table:
    """A line an augmentation: scores, overhead and the edits' time."""
    plain = compared.plain
    scores = {title: [_scores(run) for run in own] for title, own in compared.rows.items()}
    # Means over other seeds are of other draws of pictures: none of them is the best.
    same = len({tuple(run.seed for run in own) for own in compared.rows.values()}) == 1
    shown = [
        name
        for name in SCORES
        if name != "validation"
        or any(line[name] is not None for own in scores.values() for line in own)
    ]
    columns = []
    for name in shown:
        known = [
            [v for line in lines if (v := line[name]) is not None] for lines in scores.values()
        ]
        columns.append(cells_of(known, mark=same, lower=name in LOWER))
    lines = []
    for place, (title, own) in enumerate(compared.rows.items()):
        is_plain = own[0].augmentation == "none"
        cost = "–" if is_plain else mean_and_deviation(overheads(own, plain)).replace("-", "−")
        edits = max(map(edit_seconds, own))
        lines.append(
            Line(
                title,
                (
                    *(column[place] for column in columns),
                    Cell(cost),
                    Cell(f"{edits:.0f}" if edits >= 0.5 else "–"),
                    Cell(" ".join(str(run.seed) for run in own)),
                ),
            )
        )
    images = {(run.held_out_scores() or {})["num_images"] for run in compared.runs}
    notes = [NOTE + f" {' or '.join(map(str, sorted(images)))} held-out pictures."]
    if compared.missing:
        parts = [f"{title} {seeds_text(seeds)}" for title, seeds in compared.missing.items()]
        notes.append(f"Not there: {'; '.join(parts)}.")
    heads = (*(SCORES[name] for name in shown), "overhead, %", "edits, s", "seeds")
    above = _published(compared, shown)
    source = f"Table {compared.published} of {PUBLISHED}" if above else ""
    return Table(compared.title, heads, tuple(lines), tuple(notes), above, source)


def in_domain_csv(found: Sequence[Comparison]) -> str:
    """A line a finished run: scores in percent, unrounded, and seconds; empty where unknown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ("dataset", "domain", "setting", "row", "augment", "seed", *SCORES)
    writer.writerow([*head, "training_seconds", "edit_seconds", "run"])
    for compared in found:
        for title, own in compared.rows.items():
            for run in own:
                writer.writerow(
                    [
                        compared.spec.name,
                        compared.domain,
                        compared.words,
                        title,
                        run.augmentation,
                        run.seed,
                        *_scores(run).values(),
                        run.training_seconds(),
                        edit_seconds(run),
                        run.folder.name,
                    ]
                )
    return out.getvalue()


def edit_seconds(run: Run) -> float:
    """Seconds that a run spent on making edits."""
    return max((line["seconds"] for line in run.metrics("prepare")), default=0.0)


def _rows(runs: Sequence[Run], titles: Mapping[Path, str]) -> dict[str, list[Run]]:
    """Row's title -> its runs in order of their seeds: as a sweep has them, else the plain one
    first. ``titles`` are in a sweep's order, empty where sweeps disagree."""
    variants: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        variants.setdefault(config_hash(run.augment), []).append(run)
    order = list(AUGMENTATIONS)
    by_name: dict[str, list[list[Run]]] = {}
    for own in variants.values():
        by_name.setdefault(own[0].augmentation, []).append(own)

    def place(name: str) -> tuple[bool, int]:
        return name != "none", order.index(name) if name in order else len(order)

    found: list[tuple[str, str, list[Run]]] = []  # as a sweep calls it, as it calls itself
    for name in sorted(by_name, key=place):
        groups = by_name[name]
        words = told_apart([dict(own[0].augment) for own in groups])
        plain = title_of_augmentation(name)
        for own, told in zip(groups, words, strict=True):
            own_title = plain + (f" ({told})" if told else "")
            found.append((titles.get(own[0].folder) or own_title, own_title, own))
    in_sweep = {folder: place for place, folder in enumerate(titles)}
    found.sort(key=lambda one: in_sweep.get(one[2][0].folder, len(in_sweep)))
    given = [title for title, _, _ in found]
    own_titles = [title for _, title, _ in found]
    rows: dict[str, list[Run]] = {}
    for title, own_title, own in found:
        if given.count(title) > 1:  # of two sweeps that call different things the same
            title = own_title
            if own_titles.count(title) > 1 or title in rows:
                title = f"{title} [{config_hash(own[0].augment)}]"
        rows[title] = own
    return rows


def _setting_of(run: Run) -> dict[str, Any]:
    """All of a run's configuration but augmentation and seed."""
    setting = {k: v for k, v in run.config.items() if k not in ("augment", "seed", "classes")}
    # Stands only where there are copies: "steps" is what there is without.
    setting["train"] = {"budget": "steps", **run.config["train"]}
    return setting


def _scores(run: Run) -> dict[str, float | None]:
    """`SCORES` of the run's result, in percent; None where there is none."""
    result = run.held_out_scores() or {}
    attacks = result.get("fgsm_error") or {}
    epoch = result.get("epoch")
    chosen = [line for line in run.metrics("validate") if line["epoch"] == epoch]
    flat = {
        **result,
        "validation": chosen[-1]["top1"] if chosen else None,
        "fgsm_error_1": attacks.get("1/255"),
        "fgsm_error_8": attacks.get("8/255"),
    }
    return {name: flat.get(name) for name in SCORES}


def _published(compared: Comparison, shown: Sequence[str]) -> tuple[Line, ...]:
    """The rows of the paper's table on the dataset. Its FGSM column is left out: for most rows it
    is 100 - top-1."""
    table = read_yaml(FOLDER / "in_domain.yaml").get(str(compared.published), {})
    rows = table.get(compared.spec.title.replace(" ", "-"), table.get("any", {}))
    rest = [Cell("–")] * 3  # overhead, edits, seeds
    return tuple(
        Line(row, (*(Cell(f"{v[name]:.1f}" if name in v else "–") for name in shown), *rest))
        for row, v in rows.items()
    )
