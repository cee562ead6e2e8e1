"""The table of a single pair: all its scores beside one another."""

from __future__ import annotations

import math
from collections.abc import Sequence

from uda.evaluation.metrics import SCORES
from uda.reports.published import published
from uda.reports.results import Board, Pair, Row, Setting
from uda.reports.tables.missing import pictures_note
from uda.reports.tables.scores import TRADED
from uda.reports.tables.table import (
    Cell,
    Line,
    Table,
    cells_of,
    lines_of,
    mean_and_deviation,
    same_seeds,
)

BRIEF = 3  # scores of a brief table: the main score and what it is made of
NOTE = (
    "Last epoch, in percent; mean ± standard deviation over several seeds. The oracle picks"
    " each run's best epoch by target labels: nobody can have it."
)


def pair_table(setting: Setting, board: Board, pair: Pair, brief: bool = False) -> Table:
    """Return all scores of a pair, or only the first if ``brief``: a column for each score, then
    the oracle's and the seeds."""
    main = setting.main_score
    rows = [row for row in board.values() if row.at(pair)]
    values = {
        score: [row.scores_at(pair, score) for row in rows]
        for score in setting.scores[: BRIEF if brief else None]
    }
    kept = {  # not what older runs lack
        score: column
        for score, column in values.items()
        if score == main or not all(math.isnan(value) for cell in column for value in cell)
    }
    same = same_seeds([result.seed for result in row.at(pair)] for row in rows)
    columns = [cells_of(column, same and score not in TRADED) for score, column in kept.items()]
    columns.append([_oracle_cell(row, pair, main) for row in rows])
    columns.append([Cell(" ".join(str(r.seed) for r in row.at(pair))) for row in rows])
    heads = (*(SCORES[score] for score in kept), f"oracle {SCORES[main]}", "seeds")
    paper = published(setting.dataset, setting.scenario)
    lines: tuple[Line, ...] = ()
    if paper and pair.name in paper.pairs:
        rest = (Cell("–"),) * (len(heads) - 1)
        lines = tuple(
            Line(name, (Cell(f"{row[pair.name]:.1f}"), *rest)) for name, row in paper.values.items()
        )
    return Table(
        setting.pair_title(pair),
        heads,
        lines_of([row.title for row in rows], columns),
        (
            NOTE,
            *_empty_class_note(rows, pair),
            *pictures_note(setting, (result for row in rows for result in row.at(pair))),
        ),
        lines,
        paper.source if paper else "",
    )


def _oracle_cell(row: Row, pair: Pair, score: str) -> Cell:
    values = [result.oracle(score) for result in row.at(pair)]
    return Cell("–" if all(map(math.isnan, values)) else mean_and_deviation(values))


def _empty_class_note(rows: Sequence[Row], pair: Pair) -> list[str]:
    names = {
        name
        for row in rows
        for result in row.at(pair)
        for name in result.lines[-1].get("empty_classes", [])
    }
    return (
        [f"Shared classes without a picture, left out: {', '.join(sorted(names))}."]
        if names
        else []
    )
