"""The papers' tables over several pairs: means over seeds, then the average over pairs."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from uda.augment import title_of_augmentation
from uda.evaluation.metrics import SCORES
from uda.methods import title_of_method
from uda.reports.published import Published, published
from uda.reports.results import Board, Pair, Row, Setting, pairs_of
from uda.reports.rows import settings_of
from uda.reports.tables.missing import left_out_note, pairs_and_gaps
from uda.reports.tables.table import (
    Cell,
    Line,
    Table,
    cells_of,
    lines_of,
    mean_and_deviation,
    same_seeds,
    seeds_text,
)
from uda.sweeps.plan import join_words
from uda.sweeps.record import Expected

if TYPE_CHECKING:
    from pandas import Series

TRADED = ("known_acc", "unknown_acc")  # either is had at the price of the other: no best


def averages(row: Row, pairs: Sequence[Pair], score: str) -> Series:
    """Return the mean over ``pairs`` of each seed of ``row`` that has all of them, defined."""
    by_seed = row.scores[score].unstack("seed").reindex([pair.name for pair in pairs])
    return by_seed.dropna(axis=1).mean().dropna()


def score_table(
    setting: Setting,
    board: Board,
    score: str,
    expected: Sequence[Expected] = (),
    left_out: Collection[str] = (),
) -> Table:
    """Return the table of a score in percent at the last epoch: a column for each pair, then the
    average.

    A cell is the mean ± sample deviation over seeds; the best is marked where all have the same
    seeds. The average is taken over pairs in each seed first, then over seeds; only seeds that have
    all pairs count, and where none has it is "–".

    Args:
        expected: Runs of sweeps; what is not done adds its pair, and is named below.
        left_out: Names of pairs that stand in the table and take no part in its average.
    """
    rows = list(board.values())
    pairs, gaps = pairs_and_gaps(setting, board, expected)
    columns = [[row.scores_at(pair, score) for row in rows] for pair in pairs]
    seeds = [[[result.seed for result in row.at(pair)] for row in rows] for pair in pairs]
    notes = [
        "Last epoch, in percent; mean ± standard deviation over seeds"
        f" ({seeds_text(seed for row in rows for seed in row.seeds)}). The average is"
        " over pairs in each seed, then over seeds."
    ]
    heads = [pair.name for pair in pairs]
    if len(pairs) > 1:
        counted = [pair for pair in pairs if pair.name not in left_out]
        by_seed = [averages(row, counted, score) for row in rows]
        columns.append([average.tolist() for average in by_seed])
        seeds.append([average.index.tolist() for average in by_seed])
        heads.append("average")
        notes += _average_notes(rows, by_seed) + left_out_note(setting, board, left_out)
    notes += gaps + _seed_notes(rows)
    cells = [
        cells_of(column, mark=score not in TRADED and same_seeds(behind))
        for column, behind in zip(columns, seeds, strict=True)
    ]
    paper = published(setting.dataset, setting.scenario)
    if paper is None or paper.metric != score:
        paper = None
    lines, note = _published_lines(paper, heads, left_out) if paper else ((), [])
    return Table(
        _title(setting, score),
        tuple(heads),
        lines_of(board, cells),
        (*notes, *note),
        lines,
        paper.source if paper else "",
    )


def _average_notes(rows: Sequence[Row], by_seed: Sequence[Series]) -> list[str]:
    """Return a note on each row whose average is over fewer seeds than it has."""
    return [
        f"{row.title}: average over {seeds_text(average.index)} alone: the others lack pairs."
        for row, average in zip(rows, by_seed, strict=True)
        if len(average) and average.index.tolist() != row.seeds
    ]


def _seed_notes(rows: Sequence[Row]) -> list[str]:
    """Return a note on each row that has not all seeds of the table."""
    every = {seed for row in rows for seed in row.seeds}
    return [f"{r.title}: {seeds_text(r.seeds)} alone." for r in rows if set(r.seeds) != every]


def _published_lines(
    paper: Published, heads: Sequence[str], left_out: Collection[str]
) -> tuple[tuple[Line, ...], list[str]]:
    """Return the paper's rows, and a note on their averages.

    They are as printed, or over the pairs of the table where it has only some of the paper's.
    """
    common = [head for head in heads if head in paper.pairs and head not in left_out]
    in_part = "average" in heads and 0 < len(common) < len(paper.pairs)
    lines = []
    for name, values in paper.values.items():
        average = paper.averages[name]
        if in_part:
            average = statistics.fmean(values[pair] for pair in common)
        row = {**values, "average": average}
        cells = tuple(Cell(f"{row[head]:.1f}" if head in row else "–") for head in heads)
        lines.append(Line(name, cells))
    note = "Published averages over the same pairs, from the published values."
    return tuple(lines), [note] if in_part else []


def summary_table(
    setting: Setting, board: Board, scores: Sequence[str], left_out: Collection[str] = ()
) -> Table:
    """Return the `averages` over all pairs but those ``left_out``: a column for each score."""
    rows = list(board.values())
    pairs = [pair for pair in pairs_of(setting, rows) if pair.name not in left_out]
    by_seed = [[averages(row, pairs, score) for row in rows] for score in scores]
    same = same_seeds(average.index.tolist() for average in by_seed[0])
    cells = [
        cells_of([average.tolist() for average in column], same and score not in TRADED)
        for score, column in zip(scores, by_seed, strict=True)
    ]
    note = (
        f"Averages over {len(pairs)} pairs in each seed, then mean ± standard deviation over seeds"
        f" ({seeds_text(seed for row in rows for seed in row.seeds)}); last epoch, in percent."
        + ("" if all(map(len, by_seed[0])) else " Rows without a figure lack pairs.")
    )
    return Table(
        f"{setting.title}: averages over pairs",
        tuple(SCORES[score] for score in scores),
        lines_of(board, cells),
        (note, *left_out_note(setting, board, left_out)),
    )


def grid_table(
    setting: Setting, board: Board, score: str, left_out: Collection[str] = ()
) -> Table | None:
    """Return the `averages` over pairs of a score: a line for each method, a column for each
    augmentation.

    None where there is a single line or column, or where two rows would share a cell.
    """
    rows = list(board.values())
    cells = {(_method_of(row), row.augment): row for row in rows}
    methods, augments = ([*dict.fromkeys(names)] for names in zip(*cells, strict=True))
    if len(cells) < len(rows) or min(len(methods), len(augments)) == 1:
        return None
    pairs = [pair for pair in pairs_of(setting, rows) if pair.name not in left_out]
    columns = [
        [
            averages(row, pairs, score).tolist() if row else []
            for row in (cells.get((method, augment)) for method in methods)
        ]
        for augment in augments
    ]
    note = (
        f"Averages over {len(pairs)} pairs in each seed, then mean ± standard deviation over seeds"
        f" ({seeds_text(seed for row in rows for seed in row.seeds)}); last epoch, in percent."
    )
    heads = (
        "no augmentation" if name == "none" else title_of_augmentation(name) for name in augments
    )
    return Table(
        f"{_title(setting, score)}, by method and augmentation",
        tuple(heads),
        lines_of(methods, [cells_of(column, mark=False) for column in columns]),
        (note, *left_out_note(setting, board, left_out)),
    )


def _method_of(row: Row) -> str:
    """Return a row's method and how it answers: ``AdaBN, 6 views, cosine, two-means``."""
    return join_words(
        title_of_method(row.method), settings_of(row.results[0].run).get("answer", "")
    )


def oracle_table(setting: Setting, board: Board) -> Table:
    """Return the main score at each run's best epoch by target labels: a column for each pair."""
    pairs = pairs_of(setting, list(board.values()))
    lines = []
    for row in board.values():
        if any(len(result.lines) > 1 for result in row.results):
            scores = [[r.oracle(setting.main_score) for r in row.at(pair)] for pair in pairs]
            cells = tuple(Cell(mean_and_deviation(values)) for values in scores)
            lines.append(Line(row.title, cells))
    return Table(
        f"{setting.title}: oracle {SCORES[setting.main_score]}",
        tuple(pair.name for pair in pairs),
        tuple(lines),
        ("Each run's best epoch, chosen by target labels: nobody can have it.",),
    )


def _title(setting: Setting, score: str) -> str:
    names = {"known_acc": "known accuracy", "unknown_acc": "unknown accuracy"}
    return f"{setting.title}: {names.get(score, SCORES[score])}"
