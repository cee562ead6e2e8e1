"""All tables of a setting, by name, in the order in which they are read."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from uda.reports.results import Board, Setting, has_labels, pairs_of
from uda.reports.tables.choices import epoch_table, purity_table, threshold_table, unscored_tables
from uda.reports.tables.differences import difference_table
from uda.reports.tables.missing import pictures_note, planned_for
from uda.reports.tables.pair import pair_table
from uda.reports.tables.scores import grid_table, oracle_table, score_table, summary_table
from uda.reports.tables.table import Table
from uda.sweeps.record import Expected

FEW = 3  # up to so many pairs have a table each


def setting_tables(
    setting: Setting,
    board: Board,
    expected: Sequence[Expected] = (),
    left_out: Collection[str] = (),
) -> dict[str, Table]:
    """Return all tables of a setting, by name, as they are to be read.

    Of several pairs: each score, the differences, also in the OSCR, which has no threshold, all
    scores' averages, the same by method and augmentation, the oracle's, and each pair by itself
    where they are few. Of one pair: all its scores, and the differences. Then what is chosen
    without labels, and how many neighbours are right. Where no target has labels,
    `unscored_tables`.
    """
    unscored = unscored_tables(setting, board)
    results = [result for row in board.values() for result in row.results]
    if not any(has_labels(result.lines) for result in results):
        return unscored
    pairs = pairs_of(setting, list(board.values()))
    several = len(pairs) > 1 or bool(planned_for(setting, expected))
    tables: dict[str, Table | None] = {}
    if several:
        table = score_table(setting, board, setting.main_score, expected, left_out)
        notes = (*table.notes, *pictures_note(setting, results))
        tables[setting.main_score] = replace(table, notes=notes)
    else:
        tables[pairs[0].name] = pair_table(setting, board, pairs[0])
    tables["difference"] = difference_table(setting, board, setting.main_score, left_out)
    if several:
        tables |= _tables_over_pairs(setting, board, expected, left_out)
    tables["epochs"] = epoch_table(setting, board)
    tables["thresholds"] = threshold_table(setting, board)
    tables["purity"] = purity_table(setting, board)
    return {name: table for name, table in tables.items() if table is not None} | {
        f"{name} without labels": table for name, table in unscored.items()
    }


def _tables_over_pairs(
    setting: Setting, board: Board, expected: Sequence[Expected], left_out: Collection[str]
) -> dict[str, Table]:
    """Return the tables beside the main score's where a setting has several pairs."""
    pairs = pairs_of(setting, list(board.values()))
    results = [result for row in board.values() for result in row.results]
    kept = [  # not what older runs lack
        score for score in setting.scores if not all(math.isnan(r.score(score)) for r in results)
    ]
    tables = {}
    if len(pairs) > 1 and len(kept) > 1:
        tables["summary"] = summary_table(setting, board, kept, left_out)
        for score in (setting.main_score, "oscr"):
            if score in kept and (grid := grid_table(setting, board, score, left_out)):
                tables[f"grid_{score}"] = grid
    for score in kept:
        if score != setting.main_score:
            tables[score] = score_table(setting, board, score, expected, left_out)
    if "oscr" in kept and (table := difference_table(setting, board, "oscr", left_out)):
        tables["difference_oscr"] = table
    if any(len(result.lines) > 1 for result in results):
        tables["oracle"] = oracle_table(setting, board)
    if len(pairs) <= FEW:
        tables |= {pair.name: pair_table(setting, board, pair) for pair in pairs}
    return tables
