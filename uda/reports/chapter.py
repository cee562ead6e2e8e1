"""What a report is made of about a setting: its results, and the predictions that are drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from uda.data.scenarios import OtherClassesError
from uda.evaluation.metrics import SCORES
from uda.reports.differences import Difference, differences
from uda.reports.predictions import Predictions, read_predictions
from uda.reports.results import Board, Pair, Row, Setting, has_labels, pairs_of
from uda.reports.tables.pair import pair_table
from uda.reports.tables.table import Table

DETAILED = 4  # rows whose predictions are drawn


@dataclass(frozen=True)
class DrawnPair:
    """The predictions that are drawn of a pair: by row's title, all of a single seed."""

    pair: Pair
    seed: int
    by_row: Mapping[str, Predictions]

    @property
    def has_private(self) -> bool:
        """Whether the target has images of private classes."""
        return any(predictions.has_private for predictions in self.by_row.values())


@dataclass(frozen=True)
class Chapter:
    """A setting's results, its ``tables`` by name, and the pairs ``left_out`` of differences."""

    setting: Setting
    board: Board
    tables: Mapping[str, Table]
    left_out: Collection[str] = ()

    @property
    def rows(self) -> list[Row]:
        """The rows of its tables."""
        return list(self.board.values())

    @cached_property
    def pairs(self) -> list[Pair]:
        """The pairs that have results."""
        return pairs_of(self.setting, self.rows)

    @property
    def score_title(self) -> str:
        """The name of the main score."""
        return SCORES[self.setting.main_score]

    @cached_property
    def differences(self) -> list[Difference]:
        """The differences in the main score that figures show."""
        compared = differences(self.board, self.setting.main_score, self.left_out)
        return [difference for difference in compared if difference.is_main]

    @property
    def has_epochs(self) -> bool:
        """Whether any row was trained, on a target with labels to score it by."""
        results = [result for row in self.rows for result in row.results]
        return any(len(result.lines) > 1 and has_labels(result.lines) for result in results)

    @property
    def main_tables(self) -> list[Table]:
        """The main score, the pairs where they are few, the difference: what a terminal gets."""
        names = (self.setting.main_score, "unscored")
        tables = [self.tables[name] for name in names if name in self.tables]
        tables += [
            pair_table(self.setting, self.board, pair, brief=True)
            for pair in self.pairs
            if pair.name in self.tables
        ]
        return tables + ([self.tables["difference"]] if "difference" in self.tables else [])

    @cached_property
    def _drawn(self) -> tuple[list[DrawnPair], dict[Path, str]]:
        misfits: dict[Path, str] = {}
        drawn = [_drawn_pair(self.setting, self.rows, pair, misfits) for pair in self.pairs]
        return [pair for pair in drawn if pair], misfits

    @property
    def drawn_pairs(self) -> list[DrawnPair]:
        """The predictions that figures and samples show, of the pairs whose runs have kept any."""
        return self._drawn[0]

    @property
    def misfits(self) -> Mapping[Path, str]:
        """By their folders the runs that are not drawn, as the dataset has other classes by now.

        Their scores stay in the tables: these were measured when the classes were theirs.
        """
        return self._drawn[1]

    @property
    def open_pairs(self) -> list[DrawnPair]:
        """Those of `drawn_pairs` that have private classes."""
        return [drawn for drawn in self.drawn_pairs if drawn.has_private]

    @property
    def pairs_without_predictions(self) -> list[Pair]:
        """The pairs that have labels, and no predictions to draw."""
        results = [result for row in self.rows for result in row.results]
        labelled = {
            result.pair
            for result in results
            if has_labels(result.lines) and result.run.folder not in self.misfits
        }
        drawn = {drawn.pair for drawn in self.drawn_pairs}
        return [pair for pair in self.pairs if pair in labelled - drawn]


def _drawn_pair(
    setting: Setting, rows: Sequence[Row], pair: Pair, misfits: dict[Path, str]
) -> DrawnPair | None:
    """Return predictions of at most `DETAILED` rows, of the first seed that most of them have.

    Rows that have the most pairs come first, so that all pairs show the same; of those the first
    two, the baselines, and then from the last on.
    """
    preferred = [*rows[:2], *rows[:1:-1]]
    ordered = sorted(preferred, key=lambda row: -len({result.pair for result in row.results}))
    by_seed: dict[int, dict[str, Predictions]] = {}
    for row in ordered:
        for result in row.at(pair):
            by_row = by_seed.setdefault(result.seed, {})
            if len(by_row) == DETAILED:
                continue
            try:
                answers = read_predictions(result.run, setting.spec)
            except OtherClassesError as error:
                misfits[result.run.folder] = str(error)
                continue
            if answers:
                by_row[row.title] = answers
    if not any(by_seed.values()):
        return None
    seed = max(sorted(by_seed), key=lambda seed: len(by_seed[seed]))
    chosen = by_seed[seed]
    titles = [row.title for row in rows if row.title in chosen]
    return DrawnPair(pair, seed, {title: chosen[title] for title in titles})
