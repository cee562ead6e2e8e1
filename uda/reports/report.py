"""Runs -> report.md with figures, tables in every format, and one HTML page."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from uda.evaluation.metrics import SCORES
from uda.reports.cells import Table
from uda.reports.differences import differences
from uda.reports.figures import differences_figure, epochs_figure, has_norms, norm_figure, save_png
from uda.reports.in_domain import Comparison, comparisons, in_domain_csv, in_domain_table
from uda.reports.page import write_page
from uda.reports.results import Board, Pair, Setting, first_stages, has_labels, pairs_of
from uda.reports.rows import boards
from uda.reports.selection import epoch_table, threshold_table, unscored_tables
from uda.reports.table_text import csv_text, latex, markdown, per_class_csv, terminal
from uda.reports.tables import (
    difference_table,
    oracle_table,
    pair_table,
    planned_for,
    score_table,
    summary_table,
)
from uda.runs.files import atomic_path
from uda.runs.folder import Run
from uda.sweeps.record import Expected, results_folder, runs_and_plan

FORMATS = ("md", "tex", "csv", "html")
FEW = 3  # pairs that the report shows one by one


def write_report(
    runs: Path,
    title: str,
    formats: Sequence[str] = FORMATS,
    root: str = "",
    left_out: Sequence[str] = (),
    sweep: str = "",
    width: int = 0,
) -> str:
    """Write what ``formats`` name; the text for a terminal of ``width`` columns (its own if 0).

    md: ``runs/report.md``, ``figures/*.png`` and ``tables/*.md``; tex and csv: ``tables/*.tex`` and
    ``*.csv``; html: ``report.html``, whose sample pictures are read under ``root`` (empty for the
    folder that the dataset's file names). Pairs ``left_out`` by name take no part in averages and
    differences. Where one ``sweep`` is named only its runs count, and all is written into
    ``runs/sweeps/SWEEP`` instead. Unfinished runs are named, not counted. ValueError where nothing
    is finished, or naming an unknown format, pair or sweep.
    """
    if not formats:
        raise ValueError(f"--formats: names none of {', '.join(FORMATS)}")
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ValueError(f"--formats: {unknown[0]!r} is not one of {', '.join(FORMATS)}")
    found, plan = runs_and_plan(runs, sweep)
    expected = plan.expected if plan else []
    settings = boards(found, expected)
    compared = comparisons(found, expected)
    in_domain = [in_domain_table(one) for one in compared]
    if not (settings or compared):
        raise ValueError(
            f"{runs}: no adaptation in it has finished, and no training in one domain; run "
            "`uda adapt` first"
        )
    names = {r.pair.name for own in settings.values() for row in own.values() for r in row.results}
    if unknown := [name for name in left_out if name not in names]:
        raise ValueError(f"--leave-out: {unknown[0]!r} is not one of {', '.join(sorted(names))}")
    tables = {
        setting: setting_tables(setting, board, expected, left_out)
        for setting, board in settings.items()
    }
    out = results_folder(runs, sweep)
    written = []
    if "md" in formats:
        with atomic_path(out / "report.md") as path:
            path.write_text(_text(out, title, found, settings, tables, in_domain, left_out))
        written.append(out / "report.md")
    written += _write_tables(out, formats, settings, tables)
    written += _write_in_domain(out, formats, compared, in_domain)
    if "html" in formats:
        with_tables = list(zip(compared, in_domain, strict=True))
        write_page(
            out / "report.html", title, found, settings, tables, with_tables, plan, root, left_out
        )
        written.append(out / "report.html")
    width = width or min(shutil.get_terminal_size((100, 24)).columns, 140)
    shown = [terminal(table, width) for table in in_domain]
    shown += [
        terminal(table, width)
        for setting, board in settings.items()
        for table in _main_tables(setting, board, tables[setting])
    ]
    return "\n".join(shown) + "\nWritten:\n" + "\n".join(f"  {path}" for path in written)


def setting_tables(
    setting: Setting,
    board: Board,
    expected: Sequence[Expected] = (),
    left_out: Sequence[str] = (),
) -> dict[str, Table]:
    """All tables of a setting, by name, as they are to be read.

    Of several pairs: each score, the differences, all scores' averages, the oracle's, and each pair
    by itself where they are few. Of one pair: all its scores, and the differences. Then what is
    chosen without labels. Where no target has labels, `unscored_tables`.
    """
    pairs = pairs_of(setting, list(board.values()))
    main = setting.main_score
    unscored = unscored_tables(setting, board)
    if not any(has_labels(result.lines) for row in board.values() for result in row.results):
        return unscored
    tables = {}
    wide = len(pairs) > 1 or bool(planned_for(setting, expected))
    if wide:
        tables[main] = score_table(setting, board, main, expected, left_out)
    else:
        tables[pairs[0].name] = pair_table(setting, board, pairs[0])
    if (difference := difference_table(setting, board, main, left_out)) is not None:
        tables["difference"] = difference
    if wide:
        kept = [
            score  # not of runs from before it was
            for score in setting.scores
            if any(not math.isnan(r.score(score)) for row in board.values() for r in row.results)
        ]
        if len(pairs) > 1 and len(kept) > 1:
            tables["summary"] = summary_table(setting, board, kept, left_out)
        for score in kept:
            if score != main:
                tables[score] = score_table(setting, board, score, expected, left_out)
        if any(len(result.lines) > 1 for row in board.values() for result in row.results):
            tables["oracle"] = oracle_table(setting, board)
        if len(pairs) <= FEW:
            tables |= {pair.name: pair_table(setting, board, pair) for pair in pairs}
    for name, table in (
        ("epochs", epoch_table(setting, board)),
        ("thresholds", threshold_table(setting, board)),
    ):
        if table is not None:
            tables[name] = table
    return tables | {f"{name} without labels": table for name, table in unscored.items()}


def _main_tables(setting: Setting, board: Board, tables: Mapping[str, Table]) -> list[Table]:
    """What a terminal shows: the main score, the pairs where they are few, the difference."""
    shown = [tables[name] for name in (setting.main_score, "unscored") if name in tables]
    for pair in pairs_of(setting, list(board.values())):
        if pair.name in tables:
            shown.append(pair_table(setting, board, pair, brief=True))
    return shown + ([tables["difference"]] if "difference" in tables else [])


def _write_tables(
    out: Path,
    formats: Sequence[str],
    settings: Mapping[Setting, Board],
    tables: Mapping[Setting, Mapping[str, Table]],
) -> list[Path]:
    """Write ``tables/SETTING.md`` and so on; which were written."""
    written = []
    for setting, board in settings.items():
        own = tables[setting].values()
        texts = {
            "md": "\n".join(markdown(table) for table in own),
            "tex": "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.\n"
            + "\n".join(latex(table) for table in own),
            "csv": csv_text({setting: board}),
        }
        written += _write(out / "tables" / setting.name, formats, texts)
        if text := per_class_csv(setting, board):
            name = f"{setting.name}_per_class"
            written += _write(out / "tables" / name, formats, {"csv": text})
    return written


def _write_in_domain(
    out: Path, formats: Sequence[str], compared: Sequence[Comparison], tables: Sequence[Table]
) -> list[Path]:
    """Write ``tables/in_domain.md`` and so on; which were written."""
    if not compared:
        return []
    texts = {
        "md": "\n".join(map(markdown, tables)),
        "tex": "\n".join(map(latex, tables)),
        "csv": in_domain_csv(compared),
    }
    return _write(out / "tables" / "in_domain", formats, texts)


def _write(stem: Path, formats: Sequence[str], texts: Mapping[str, str]) -> list[Path]:
    """Write the texts of ``formats`` beside one another; which were written."""
    written = []
    for suffix, text in texts.items():
        if suffix in formats:
            path = stem.with_name(f"{stem.name}.{suffix}")
            with atomic_path(path) as temporary:
                temporary.write_text(text)
            written.append(path)
    return written


def _text(
    out: Path,
    title: str,
    found: Sequence[Run],
    settings: Mapping[Setting, Board],
    tables: Mapping[Setting, Mapping[str, Table]],
    in_domain: Sequence[Table],
    left_out: Sequence[str],
) -> str:
    parts = [f"# {title}\n", *map(markdown, in_domain)]
    for setting, board in settings.items():
        pairs = pairs_of(setting, list(board.values()))
        drawn: dict[str, Pair | None] = {pair.name: pair for pair in pairs}
        drawn[setting.main_score] = None
        if len(pairs) == 1:
            drawn["unscored"] = pairs[0]
        for name, table in tables[setting].items():
            parts.append(markdown(table))
            if name in drawn:
                parts += _figures(out, setting, board, pairs, drawn[name], left_out)
    parts += _stages(out, found)
    unfinished = [run.folder.name for run in found if not run.is_done]
    if unfinished:
        parts.append("Unfinished, not counted: " + ", ".join(unfinished) + "\n")
    return "\n".join(parts)


def _figures(
    out: Path,
    setting: Setting,
    board: Board,
    pairs: Sequence[Pair],
    one: Pair | None,
    left_out: Sequence[str],
) -> list[str]:
    """Draw what goes with the table of all ``pairs``, or of ``one``; the Markdown that shows it."""
    rows = list(board.values())
    shown = []
    score = SCORES[setting.main_score]
    results = [result for row in rows for result in row.results]
    trained = any(len(result.lines) > 1 and has_labels(result.lines) for result in results)
    if one is None:
        if trained:
            path = out / "figures" / f"{setting.name}_epochs.png"
            save_png(epochs_figure(setting, rows, pairs), path)
            shown.append(f"![{score} by epoch](figures/{path.name})\n")
        found = differences(board, setting.main_score, left_out)
        found = [one for one in found if not one.is_between_augmentations and len(one.by_pair) > 1]
        if found:
            path = out / "figures" / f"{setting.name}_differences.png"
            save_png(differences_figure(setting, found), path)
            shown.append(f"![Difference in {score} by pair](figures/{path.name})\n")
        return shown
    name = f"{setting.name}_{one.source}_{one.target}"
    if trained and len(pairs) == 1:
        path = out / "figures" / f"{name}_epochs.png"
        save_png(epochs_figure(setting, rows, [one]), path)
        shown.append(f"![{score} by epoch](figures/{path.name})\n")
    drawn = [(row.title, own[0]) for row in rows if (own := row.at(one)) and has_norms(own[0].run)]
    if drawn:
        path = out / "figures" / f"{name}_unknown_norm.png"
        title = f"{setting.spec.title}, {one.source} → {one.target}, {setting.scenario.upper()}"
        save_png(norm_figure(title, drawn), path)
        shown.append(f"![Histogram of the unknown-space norm](figures/{path.name})\n")
    return shown


def _stages(out: Path, found: Sequence[Run]) -> list[str]:
    pictures = [
        f"![GenMix, stage by stage]({Path(os.path.relpath(path, out)).as_posix()})\n"
        for path in first_stages(found).values()
    ]
    return ["## What GenMix makes\n", *pictures] if pictures else []
