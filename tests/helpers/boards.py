"""Boards of made-up runs on the tiny dataset, for the tests of tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from helpers.made_runs import PAIRS, finished

from uda.reports.results import Board, Setting
from uda.reports.rows import boards
from uda.reports.tables.table import Table
from uda.runs.folder import find_runs

# Predictions on the tiny dataset under OPDA.
# Shared: bar, cross; only in the source: disc; private: ring, square.
NAMES = ["bar/00.png", "bar/01.png", "cross/00.png", "ring/00.png", "ring/01.png", "square/00.png"]
TRUE, CALLED = [0, 0, 1, 3, 3, 4], [0, 3, 2, 3, 1, 3]
SCORE = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7]


def board_of(runs: Path) -> tuple[Setting, Board]:
    """Return the single setting of the folder of runs, and its board."""
    ((setting, board),) = boards(find_runs(runs)).items()
    return setting, board


def fill(
    runs: Path,
    dataset: Path,
    values: Mapping[tuple[str, str, int, int], float | None],
    scenario: str = "opda",
) -> None:
    """Make finished runs of the final scores ``values`` by (method, augmentation, pair's number,
    seed)."""
    for (method, augment, pair, seed), value in values.items():
        scores = [value] if method == "source_only" else [1.0, value]
        finished(runs, dataset, method, augment, seed, scores, PAIRS[pair], scenario)


def texts(table: Table, title: str) -> list[str]:
    """Return the texts of the cells of the table's line ``title``."""
    (line,) = [line for line in table.lines if line.title == title]
    return [cell.text for cell in line.cells]
