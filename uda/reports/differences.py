"""Paired differences between rows of results: of the same pair and seed, with intervals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uda.augment.composed import names_in
from uda.reports.results import Board, Row
from uda.reports.rows import settings_of

if TYPE_CHECKING:
    from pandas import Series

CONFIDENCE = 0.95
FEWEST = 3  # values that an interval is made of


@dataclass(frozen=True)
class Difference:
    """``row`` minus ``baseline``, paired: of the same pair and seed, in points of the score.

    ``values`` are the differences of the pairs and seeds that both have, indexed as `Row.scores`.
    """

    row: Row
    baseline: Row
    values: Series
    is_main: bool = True  # one that figures show: there are too many of the others

    @property
    def title(self) -> str:
        """The difference's name: ``LEAD + GenMix − LEAD``."""
        return f"{self.row.title} − {self.baseline.title}"

    @property
    def pair_means(self) -> Series:
        """Each pair's mean over its seeds."""
        return self.values.groupby(level="pair", sort=False).mean()

    @property
    def seed_means(self) -> Series:
        """The mean over pairs of each seed that all the pairs have."""
        return self.values.unstack("seed").dropna(axis=1).mean()

    @property
    def is_balanced(self) -> bool:
        """Whether all pairs have the same seeds."""
        return bool(self.values.unstack("seed").notna().all(axis=None))

    @property
    def mean(self) -> float:
        """The mean over pairs of their means over seeds."""
        return float(self.pair_means.mean())

    @property
    def better(self) -> str:
        """In how many pairs, or seeds of a single pair, the row is better: ``11 of 12 pairs``."""
        values, unit = self.pair_means, "pair"
        if len(values) == 1 and len(self.seed_means) > 1:
            values, unit = self.seed_means, "seed"
        return f"{(values > 0).sum()} of {len(values)} {unit}{'s' if len(values) > 1 else ''}"


def differences(board: Board, score: str, left_out: Collection[str] = ()) -> list[Difference]:
    """Return each row minus each of its baselines, by ``score``, where they share a (pair, seed)
    whose pair is not ``left_out`` by name.

    With augmentation: the same method without. With GenMix: the same method with each other
    augmentation, too. Adapted: the source model of the same augmentation, as it is, and what AdaBN
    makes of it. Answering otherwise than the method: the same model as its method answers.
    """
    compared = []
    for row in board.values():
        for baseline in board.values():
            main = _is_plain_of(baseline, row) or _is_source_of(baseline, row, "source_only")
            if not (
                main
                or _is_mixed_otherwise(row, baseline)
                or _is_source_of(baseline, row, "adabn")
                or _is_answered_by_method(baseline, row)
            ):
                continue
            values = _paired(row, baseline, score, left_out)
            if len(values):
                compared.append(Difference(row, baseline, values, main))
    return compared


def _paired(row: Row, baseline: Row, score: str, left_out: Collection[str]) -> Series:
    # From checkpoint files: each is a source model for itself.
    theirs = {(r.pair, r.seed, r.run.checkpoint_hash) for r in baseline.results}
    kept = [
        (r.pair, r.seed, r.run.checkpoint_hash) in theirs and r.pair.name not in left_out
        for r in row.results
    ]
    values = row.scores[score][kept]
    return (values - baseline.scores[score].reindex(values.index)).dropna()


def _is_plain_of(other: Row, row: Row) -> bool:
    """Return whether ``other`` is ``row`` without its augmentation."""
    augmented = row.augment not in ("none", "checkpoint")
    return augmented and other.augment == "none" and _differ_in_augmentation(row, other)


def _is_mixed_otherwise(row: Row, other: Row) -> bool:
    """Return whether ``row``, with GenMix, is ``other`` with another augmentation."""
    if "genmix" not in names_in(row.augment):
        return False
    if other.augment in ("none", "checkpoint", row.augment):
        return False
    return _differ_in_augmentation(row, other)


def _differ_in_augmentation(row: Row, other: Row) -> bool:
    return row.method == other.method and _comparable(row) == _comparable(other)


def _comparable(row: Row) -> object:
    settings = settings_of(row.results[0].run)
    source = {key: value for key, value in settings["source"].items() if key != "augment"}
    # Without augmented copies there is nothing that a budget could decide.
    train = {key: value for key, value in source.get("train", {}).items() if key != "budget"}
    return {**source, "train": train}, settings["adapt"], settings.get("answer")


def _is_source_of(other: Row, row: Row, method: str) -> bool:
    """Return whether ``other`` is ``method`` on the source model that ``row`` adapts.

    Both answer in the same way.
    """
    if row.method in ("source_only", method) or other.method != method:
        return False
    mine, theirs = (settings_of(r.results[0].run, file=False) for r in (row, other))
    return mine["source"] == theirs["source"] and mine.get("answer") == theirs.get("answer")


def _is_answered_by_method(other: Row, row: Row) -> bool:
    """Return whether ``other`` is the model of ``row``, which answers otherwise than its method."""
    mine, theirs = (settings_of(r.results[0].run) for r in (row, other))
    return bool(mine.pop("answer", None)) and mine == theirs


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of n ``values``, by Student's t with n − 1 degrees of
    freedom.

    None for fewer than three: of two it is 9 times as wide as they are apart, which says nothing.
    """
    from scipy.stats import ttest_1samp

    if len(values) < FEWEST:
        return None
    interval = ttest_1samp(values, 0).confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high)


def interval_text(values: Sequence[float]) -> str:
    """Return ``−0.9 to +18.1``, or ``–`` for too few ``values``."""
    interval = t_interval(values)
    return f"{signed(interval[0])} to {signed(interval[1])}" if interval else "–"


def signed(value: float) -> str:
    """Return ``+1.2`` or ``−1.2``, and ``0.0`` without a sign."""
    text = f"{abs(value):.1f}"
    return text if text == "0.0" else ("+" if value > 0 else "−") + text
