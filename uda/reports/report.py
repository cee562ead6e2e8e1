"""A report: runs, plans and results, before anything is drawn or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uda.reports.chapter import Chapter
from uda.reports.in_domain import Comparison, comparisons
from uda.reports.rows import boards
from uda.reports.tables.setting import setting_tables
from uda.runs.folder import Run
from uda.sweeps.record import Plan, results_folder, runs_and_plan


@dataclass(frozen=True)
class Report:
    """What a report shows: runs, what sweeps plan, and their results.

    Attributes:
        folder: Where it is written.
        root: Folder of sample pictures; empty for the folder that the dataset's file names.
    """

    folder: Path
    runs: Sequence[Run]
    plan: Plan | None
    chapters: Sequence[Chapter]
    comparisons: Sequence[Comparison]
    title: str = "Results"
    root: str = ""


def read_report(
    runs: Path,
    title: str = "Results",
    root: str = "",
    left_out: Sequence[str] = (),
    sweep: str = "",
) -> Report:
    """Return the report of a folder of runs: see `uda.reports.writing.write_report`."""
    all_runs, plan = runs_and_plan(runs, sweep)
    expected = plan.expected if plan else []
    settings = boards(all_runs, expected)
    compared = comparisons(all_runs, expected)
    if not (settings or compared):
        raise ValueError(
            f"{runs}: no adaptation in it has finished, and no training in one domain; run "
            "`uda adapt` first"
        )
    rows = [row for board in settings.values() for row in board.values()]
    names = {result.pair.name for row in rows for result in row.results}
    if unknown := [name for name in left_out if name not in names]:
        raise ValueError(f"--leave-out: {unknown[0]!r} is not one of {', '.join(sorted(names))}")
    chapters = [
        Chapter(setting, board, setting_tables(setting, board, expected, left_out), left_out)
        for setting, board in settings.items()
    ]
    return Report(results_folder(runs, sweep), all_runs, plan, chapters, compared, title, root)
