"""The table of paired differences."""

from __future__ import annotations

from collections.abc import Collection

from uda.evaluation.metrics import SCORES
from uda.reports.differences import Difference, differences, interval_text, signed
from uda.reports.results import Board, Setting
from uda.reports.tables.missing import left_out_note
from uda.reports.tables.table import Cell, Line, Table, seeds_text

HEADS = ("mean", "95 %, over pairs", "95 %, over seeds", "better in", "by seed")
NOTE = "Of runs of the same pair and seed, in points of the score."
INTERVALS = {  # the head of a column, and what it means
    "95 %, over pairs": "Interval over pairs: Student's t, n the number of pairs; each pair's mean"
    " over its seeds is one value.",
    "95 %, over seeds": "Interval over seeds: Student's t, n the number of seeds; each seed's mean"
    " over all pairs, as it stands in the last column, is one value.",
}


def difference_table(
    setting: Setting, board: Board, score: str, left_out: Collection[str] = ()
) -> Table | None:
    """Return `differences` as a table without empty columns; None if nothing can be compared."""
    compared = differences(board, score, left_out)
    if not compared:
        return None
    rows = [_texts(difference) for difference in compared]
    kept = [head for head in HEADS if any(row[head] != "–" for row in rows)]
    lines = tuple(
        Line(difference.title, tuple(Cell(row[head]) for head in kept))
        for difference, row in zip(compared, rows, strict=True)
    )
    notes = [NOTE, *left_out_note(setting, board, left_out)]
    notes += [text for head, text in INTERVALS.items() if head in kept]
    notes += [_seed_note(difference) for difference in compared if not difference.is_balanced]
    title = f"{setting.title}: difference in {SCORES[score]}"
    return Table(title, tuple(kept), lines, tuple(notes))


def _texts(difference: Difference) -> dict[str, str]:
    pairs, seeds = difference.pair_means.tolist(), difference.seed_means.tolist()
    texts = (
        signed(difference.mean),
        interval_text(pairs),
        interval_text(seeds),
        difference.better,
        " ".join(map(signed, seeds)) if len(seeds) > 1 else "–",
    )
    return dict(zip(HEADS, texts, strict=True))


def _seed_note(difference: Difference) -> str:
    seeds = seeds_text(difference.seed_means.index) if len(difference.seed_means) else "none"
    return (
        f"{difference.title}: not all pairs have the same seeds; the mean is over all that there"
        f" are, by seed over {seeds}."
    )
