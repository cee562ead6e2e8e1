"""Finished in-domain runs -> tables of augmentations, and a line a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uda.config import read_yaml
from uda.dataset_spec import DatasetSpec, load_dataset_spec
from uda.identity import dataset_of
from uda.in_domain import result_of
from uda.published import FOLDER
from uda.results import AUGMENT_TITLES, told_apart
from uda.runs import Run, config_hash
from uda.sweep_plan import Expected
from uda.tables import Cell, Line, Table, cells_of, mean_and_deviation

HEADS = (
    "top-1",
    "top-5",
    "calibration error",
    "FGSM error 1/255",
    "FGSM error 8/255",
    "corrupted",
    "overhead, %",
    "edits, s",
    "seeds",
)
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


CSV_SCORES = {
    "top1": ("top1", ""),
    "top5": ("top5", ""),
    "ece": ("ece", ""),
    "fgsm_error_1": ("fgsm_error", "1/255"),
    "fgsm_error_8": ("fgsm_error", "8/255"),
    "corruption_acc": ("corruption_acc", ""),
}


LOWER = ("ece", "fgsm_error_1", "fgsm_error_8")  # is better


@dataclass(frozen=True)
class Comparison:
    """Finished runs that differ in augmentation and seed alone: ``rows`` by title, each in order of
    its seeds, the plain one first. ``words`` tell this comparison from others of its domain."""

    spec: DatasetSpec
    domain: str
    words: str
    rows: Mapping[str, Sequence[Run]]

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
        plain = (run for run in self.runs if run.config["augment"]["name"] == "none")
        return {run.config["seed"]: run for run in plain}


def comparisons(runs: Sequence[Run], expected: Sequence[Expected] = ()) -> list[Comparison]:
    """The finished in-domain ``runs`` by what is to be compared.

    Rows are called as a sweep (``expected``) calls them, else by augmentation and what tells one
    from another.
    """
    titles = {one.run_folder: one.augment_title or "None" for one in expected}
    settings: dict[str, list[Run]] = {}
    for run in runs:
        if is_in_domain(run) and run.is_done and result_of(run):
            settings.setdefault(config_hash(_setting_of(run)), []).append(run)
    domains: dict[tuple[str, str], list[list[Run]]] = {}
    for own in settings.values():
        place = dataset_of(own[0]), own[0].config["data"]["source"]
        domains.setdefault(place, []).append(own)
    found = []
    for (dataset, domain), groups in domains.items():
        spec = load_dataset_spec(dataset)
        apart = told_apart([_setting_of(own[0]) for own in groups])
        for own, words in zip(groups, apart, strict=True):
            found.append(Comparison(spec, domain, words, _rows(own, titles)))
    return found


def is_in_domain(run: Run) -> bool:
    """Whether ``run`` is one of `uda train` without a scenario."""
    return run.config["stage"] == "train" and "scenario" not in run.config["data"]


def overheads(runs: Sequence[Run], plain: Mapping[int, Run]) -> list[float]:
    """A_O = (T_aug - T_van) / T_van in percent (the GenMix paper's Section 6.3) of each run that
    ``plain`` has one of the same seed for. T is the time of the training steps."""
    found = []
    for run in runs:
        other = plain.get(run.config["seed"])
        if other and (own := training_seconds(run)) and (theirs := training_seconds(other)):
            found.append(100 * (own - theirs) / theirs)
    return found


def training_seconds(run: Run) -> float | None:
    """Seconds of a run's training steps; None of one from before they were noted."""
    lines = run.metrics("train")
    return lines[-1].get("seconds") if lines else None


def in_domain_table(compared: Comparison) -> Table:
    """A line an augmentation: scores, overhead and the edits' time."""
    plain = compared.plain
    scores = {title: [result_of(run) or {} for run in own] for title, own in compared.rows.items()}
    # Means over other seeds are of other draws of pictures: none of them is the best.
    same = len({tuple(run.config["seed"] for run in own) for own in compared.rows.values()}) == 1
    columns = []
    for name, where in CSV_SCORES.items():
        values = [[_number(line, *where) for line in lines] for lines in scores.values()]
        known = [[value for value in own if value is not None] for own in values]
        columns.append(cells_of(known, mark=same, lower=name in LOWER))
    lines = []
    for place, (title, own) in enumerate(compared.rows.items()):
        is_plain = own[0].config["augment"]["name"] == "none"
        cost = "–" if is_plain else mean_and_deviation(overheads(own, plain)).replace("-", "−")
        edits = max(map(edit_seconds, own))
        lines.append(
            Line(
                title,
                (
                    *(column[place] for column in columns),
                    Cell(cost),
                    Cell(f"{edits:.0f}" if edits >= 0.5 else "–"),
                    Cell(" ".join(str(run.config["seed"]) for run in own)),
                ),
            )
        )
    images = {line["num_images"] for own in scores.values() for line in own}
    counted = f" {' or '.join(map(str, sorted(images)))} held-out pictures."
    above = _published(compared.spec, len(HEADS))
    return Table(
        compared.title,
        HEADS,
        tuple(lines),
        (NOTE + counted,),
        above,
        PUBLISHED if above else "",
    )


def in_domain_csv(found: Sequence[Comparison]) -> str:
    """A line a finished run: scores in percent, unrounded, and seconds; empty where unknown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ("dataset", "domain", "setting", "row", "augment", "seed", *CSV_SCORES)
    writer.writerow([*head, "training_seconds", "edit_seconds", "run"])
    for compared in found:
        for title, own in compared.rows.items():
            for run in own:
                line = result_of(run) or {}
                writer.writerow(
                    [
                        compared.spec.name,
                        compared.domain,
                        compared.words,
                        title,
                        run.config["augment"]["name"],
                        run.config["seed"],
                        *(_number(line, *place) for place in CSV_SCORES.values()),
                        training_seconds(run),
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
    first."""
    variants: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.config["seed"]):
        variants.setdefault(config_hash(run.config["augment"]), []).append(run)
    order = list(AUGMENT_TITLES)
    by_name: dict[str, list[list[Run]]] = {}
    for own in variants.values():
        by_name.setdefault(own[0].config["augment"]["name"], []).append(own)

    def place(name: str) -> tuple[bool, int]:
        return name != "none", order.index(name) if name in order else len(order)

    found: list[tuple[str, str, list[Run]]] = []  # as a sweep calls it, as it calls itself
    for name in sorted(by_name, key=place):
        groups = by_name[name]
        words = told_apart([dict(own[0].config["augment"]) for own in groups])
        plain = "None" if name == "none" else AUGMENT_TITLES.get(name, name)
        for own, told in zip(groups, words, strict=True):
            own_title = plain + (f" ({told})" if told else "")
            found.append((titles.get(own[0].folder, own_title), own_title, own))
    in_sweep = {folder: place for place, folder in enumerate(titles)}
    found.sort(key=lambda one: in_sweep.get(one[2][0].folder, len(in_sweep)))
    given = [title for title, _, _ in found]
    own_titles = [title for _, title, _ in found]
    rows: dict[str, list[Run]] = {}
    for title, own_title, own in found:
        if given.count(title) > 1:  # of two sweeps that call different things the same
            title = own_title
            if own_titles.count(title) > 1 or title in rows:
                title = f"{title} [{config_hash(own[0].config['augment'])}]"
        rows[title] = own
    return rows


def _setting_of(run: Run) -> dict[str, Any]:
    """All of a run's configuration but augmentation and seed."""
    setting = {k: v for k, v in run.config.items() if k not in ("augment", "seed", "classes")}
    # Stands only where there are copies: "steps" is what there is without.
    setting["train"] = {"budget": "steps", **run.config["train"]}
    return setting


def _number(line: Mapping[str, Any], key: str, more: str) -> float | None:
    value = line.get(key)
    value = value.get(more) if more and value else value
    return None if value is None else float(value)


def _published(spec: DatasetSpec, width: int) -> tuple[Line, ...]:
    """What the paper prints of the dataset: top-1, and top-5 where it has it. Its FGSM column is
    left out: for most rows it is 100 - top-1."""
    tables = read_yaml(FOLDER / "in_domain.yaml")
    lines = []
    for table, rows in tables.items():
        for name, values in rows.items():
            if name != spec.title.replace(" ", "-"):
                continue
            top1 = values.get("top1", values)
            top5 = values.get("top5", {}) if "top1" in values else {}
            where = " ".join(table.split("_")[:2]).capitalize()
            for row, value in top1.items():
                if isinstance(value, int | float):
                    given = [f"{value:.1f}", f"{top5[row]:.1f}" if row in top5 else "–"]
                    cells = [Cell(text) for text in [*given, *["–"] * (width - 2)]]
                    lines.append(Line(f"{where}: {row}", tuple(cells)))
    return tuple(lines)
