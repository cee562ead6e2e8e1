"""Finished in-domain runs as comparisons of augmentations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uda.augment import AUGMENTATIONS, title_of_augmentation
from uda.data.spec import DatasetSpec, load_dataset_spec
from uda.reports.rows import distinguish
from uda.runs.folder import Run
from uda.runs.hashing import config_hash
from uda.sweeps.record import Expected


@dataclass(frozen=True)
class Comparison:
    """Finished runs that differ in augmentation and seed alone.

    ``rows`` are the runs by title, each in order of their seeds, the plain ones first. ``words``
    tell this comparison from others of its domain. ``missing`` are the seeds that a sweep wants of
    a row and has not yet, ``published`` the table of the paper that stands beside (0: none).
    """

    spec: DatasetSpec
    domain: str
    words: str
    rows: Mapping[str, Sequence[Run]]
    missing: Mapping[str, Sequence[int]] = field(default_factory=dict)
    published: int = 0

    @property
    def title(self) -> str:
        """The heading: ``EmojiHome, Twemoji, in one domain (images_per_class=5)``."""
        alone = self.domain in (self.spec.title, self.spec.name)
        name = self.spec.title if alone else f"{self.spec.title}, {self.domain}"
        return f"{name}, in one domain" + (f" ({self.words})" if self.words else "")

    @property
    def runs(self) -> list[Run]:
        """The runs of all rows."""
        return [run for runs in self.rows.values() for run in runs]

    @property
    def plain(self) -> dict[int, Run]:
        """The runs without augmentation, by seed."""
        return {run.seed: run for run in self.runs if run.augmentation == "none"}


def comparisons(runs: Sequence[Run], expected: Sequence[Expected] = ()) -> list[Comparison]:
    """Return the finished in-domain ``runs`` by what is to be compared.

    Rows are called as the sweeps (``expected``) call them, if they agree, else by augmentation and
    what tells one from another.
    """
    titles = {
        run.run_folder: "" if run.other_titles else run.augment_title or "None" for run in expected
    }
    settings: dict[str, list[Run]] = {}
    for run in runs:
        if run.is_in_domain and run.is_done and run.held_out_scores():
            settings.setdefault(config_hash(_setting_of(run)), []).append(run)
    domains: dict[tuple[str, str], list[list[Run]]] = {}
    for group in settings.values():
        domains.setdefault((group[0].dataset, group[0].source_domain), []).append(group)
    compared = []
    for (dataset, domain), groups in domains.items():
        spec = load_dataset_spec(dataset)
        words = distinguish([_setting_of(group[0]) for group in groups])
        for group, text in zip(groups, words, strict=True):
            planned = _planned(domain, group, expected)
            compared.append(Comparison(spec, domain, text, _rows(group, titles), *planned))
    return compared


def _planned(
    domain: str, runs: Sequence[Run], expected: Sequence[Expected]
) -> tuple[dict[str, list[int]], int]:
    """Return the seeds by row that the sweeps of ``runs`` still want, and the paper's table for
    them."""
    folders = {run.folder for run in runs}
    sweeps = {run.sweep: run.published for run in expected if run.run_folder in folders}
    missing: dict[str, list[int]] = {}
    for run in expected:
        if run.sweep in sweeps and run.source == domain and not (run.target or run.done):
            missing.setdefault(run.augment_title or "None", []).append(run.seed)
    tables = set(sweeps.values()) - {0}
    return missing, tables.pop() if len(tables) == 1 else 0


def overheads(runs: Sequence[Run], plain: Mapping[int, Run]) -> list[float]:
    """Return A_O = (T_aug - T_van) / T_van in percent of each run whose seed ``plain`` has.

    T is the time of the training steps (the GenMix paper's Section 6.3).
    """
    values = []
    for run in runs:
        other = plain.get(run.seed)
        # What was unpacked has been timed on another machine.
        if not other or run.was_made_here != other.was_made_here:
            continue
        if (seconds := run.training_seconds()) and (theirs := other.training_seconds()):
            values.append(100 * (seconds - theirs) / theirs)
    return values


def edit_seconds(run: Run) -> float:
    """Return the seconds that a run spent on making edits."""
    return max((line.get("seconds", 0.0) for line in run.metrics("prepare")), default=0.0)


def _rows(runs: Sequence[Run], titles: Mapping[Path, str]) -> dict[str, list[Run]]:
    """Return the runs by their row's title, in order of their seeds.

    Rows stand as a sweep has them, else the plain one first. ``titles`` are in a sweep's order,
    empty where sweeps disagree.
    """
    described = _described(runs)
    in_sweep = {folder: index for index, folder in enumerate(titles)}
    ordered = sorted(described, key=lambda row: in_sweep.get(row[1][0].folder, len(in_sweep)))
    descriptions = [description for description, _ in ordered]
    planned = [titles.get(group[0].folder) or description for description, group in ordered]
    rows: dict[str, list[Run]] = {}
    for title, (description, group) in zip(planned, ordered, strict=True):
        if planned.count(title) > 1:  # of two sweeps that call different things the same
            title = description
            if descriptions.count(title) > 1 or title in rows:
                title = f"{title} [{config_hash(group[0].augment)}]"
        rows[title] = group
    return rows


def _described(runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """Return the runs of each augmentation's configuration, and what tells it from others."""
    variants: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        variants.setdefault(config_hash(run.augment), []).append(run)
    by_name: dict[str, list[list[Run]]] = {}
    for group in variants.values():
        by_name.setdefault(group[0].augmentation, []).append(group)
    order = list(AUGMENTATIONS)

    def rank(name: str) -> tuple[bool, int]:
        return name != "none", order.index(name) if name in order else len(order)

    described = []
    for name in sorted(by_name, key=rank):
        words = distinguish([dict(group[0].augment) for group in by_name[name]])
        for text, group in zip(words, by_name[name], strict=True):
            title = title_of_augmentation(name) + (f" ({text})" if text else "")
            described.append((title, group))
    return described


def _setting_of(run: Run) -> dict[str, Any]:
    """Return a run's configuration but for augmentation and seed."""
    setting = {k: v for k, v in run.config.items() if k not in ("augment", "seed")}
    # Stands only where there are copies: without, "steps" is meant.
    setting["train"] = {"budget": "steps", **run.train}
    return setting
