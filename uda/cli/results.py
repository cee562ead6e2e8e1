"""The commands that show what came of runs, and move their scores: report, select, table, pack."""

from __future__ import annotations

import shlex
from pathlib import Path

from uda.cli.command import Command
from uda.stages.console import say


def report(
    runs: str,
    sweep: str = "",
    title: str = "Results",
    formats: str = "md,tex,csv,html",
    root: str = "",
    leave_out: str = "",
    tensorboard: bool = False,
) -> None:
    """Write the runs' tables and figures to report.md and report.html, and print the tables.

    Args:
        runs: Folder of runs.
        sweep: Only the runs of the sweep of this name.
        title: Heading of the report.
        formats: What to write: md (report.md, figures, tables/*.md), tex, csv, html (report.html).
        root: Folder of the dataset's domains, for sample pictures.
        leave_out: Pairs (Tw2Fl,No2Om) that are no part of averages and differences.
        tensorboard: Write each run's metrics as event files into its folder, too.
    """
    from uda.reports.writing import write_report

    folder = Path(runs)
    if tensorboard:  # first, as unfinished runs have no tables
        _write_event_files(folder, sweep)
    say(write_report(folder, title, _names(formats), root, _names(leave_out), sweep))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _write_event_files(folder: Path, sweep: str) -> None:
    from uda.runs.event_files import write_event_files
    from uda.sweeps.record import runs_and_plan

    for run in runs_and_plan(folder, sweep)[0]:
        write_event_files(run)
    say(f"For TensorBoard:\n  tensorboard --logdir {shlex.quote(str(folder))}")


def select(runs: str, sweep: str = "") -> None:
    """Choose epochs and unknown thresholds of finished adaptations without labels.

    Says how far each criterion falls short of the oracle: RUNS/selection.md and .csv, with --sweep
    in RUNS/sweeps/NAME.

    Args:
        runs: Folder of runs.
        sweep: Only the runs of the sweep of this name.
    """
    from uda.reports.selection import write_selection

    say(write_selection(Path(runs), sweep))


def pack(runs: list[str], *, out: str, sweep: str = "") -> None:
    """Write finished runs' configurations and scores to a small file.

    Models and predictions are left out: the file is to be committed, sent, and unpacked elsewhere.

    Args:
        runs: Folders of runs.
        out: File to write: .jsonl.
        sweep: Only the runs of the sweep of this name.
    """
    from uda.sweeps.packing import pack

    count = pack([Path(folder) for folder in runs], Path(out), sweep)
    print(f"wrote {out}: {count} run{'s' if count > 1 else ''}")


def unpack(file: str, runs: str) -> None:
    """Make folders of the runs that `uda pack` wrote, for tables and for sweeps to go on from.

    Runs that exist already are left as they are.

    Args:
        file: What `uda pack` wrote.
        runs: Folder of runs.
    """
    from uda.sweeps.packing import unpack

    num_made, num_kept = unpack(Path(file), Path(runs))
    print(f"wrote {num_made} runs into {runs}; {num_kept} were there already")


def table(runs: str, *, out: str, sweep: str = "") -> None:
    """Write finished runs' settings and scores to a CSV file, a line for each run and epoch.

    Its columns are those of `uda.results`, which gives the same in Python.

    Args:
        runs: Folder of runs, or a file of `uda pack`.
        out: File to write: .csv.
        sweep: Only the runs of the sweep of this name.
    """
    from uda.reports.frame import results_frame
    from uda.runs.files import write_text

    frame = results_frame(Path(runs), sweep)
    write_text(Path(out), frame.to_csv(index=False, lineterminator="\n"))
    print(f"wrote {out}: {len(frame)} line{'s' if len(frame) > 1 else ''}")


COMMANDS = (
    Command(select, "compare choices made without labels"),
    Command(report, "make tables, figures and a page of runs"),
    Command(table, "finished runs' settings and scores as a CSV file"),
    Command(pack, "finished runs' scores as a small file"),
    Command(unpack, "make the runs' folders of such a file"),
)
