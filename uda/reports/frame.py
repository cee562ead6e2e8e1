"""Finished runs as a pandas DataFrame, for notebooks and statistics of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from uda.config import AnswerConfig
from uda.reports.in_domain import Comparison, comparisons
from uda.reports.results import Setting
from uda.reports.rows import boards
from uda.runs.folder import Run
from uda.sweeps.packing import unpack
from uda.sweeps.record import runs_and_plan

if TYPE_CHECKING:
    from pandas import DataFrame

# Of a line of metrics: what is no score, and what is no single number.
NO_SCORES = ("kind", "run", "version", "time", "epoch", "checkpoint")
LISTS = ("per_class", "h_curve", "empty_classes")


def results_frame(runs: Path, sweep: str = "") -> DataFrame:
    """Return a row for each finished run and epoch that was evaluated: see `uda.results`."""
    if not (runs.is_file() or runs.suffix == ".jsonl"):
        return _frame(runs, sweep)
    with TemporaryDirectory() as folder:
        unpack(runs, Path(folder))
        try:
            return _frame(Path(folder), sweep)
        except ValueError as error:  # in the words of who knows the file alone
            raise ValueError(str(error).replace(folder, str(runs))) from None


def _frame(folder: Path, sweep: str) -> DataFrame:
    import pandas as pd

    rows = list(_rows(folder, sweep))
    if not rows:
        raise ValueError(
            f"{folder}: no adaptation in it has finished, and no training in one domain; run "
            "`uda adapt` first"
        )
    about, scores, settings = zip(*rows, strict=True)
    parts = [pd.DataFrame(about), pd.json_normalize(scores), pd.json_normalize(settings)]
    return pd.concat(parts, axis=1)


def _rows(folder: Path, sweep: str) -> Iterator[tuple[dict[str, Any], ...]]:
    """Yield what each row says of its run, its scores, and the run's settings."""
    runs, plan = runs_and_plan(folder, sweep)
    expected = plan.expected if plan else []
    for setting, board in boards(runs, expected).items():
        for title, row in board.items():
            for result in row.results:
                about = _about(result.run, setting, title, result.pair.name)
                yield from _epochs(about, result.lines, len(result.lines) - 1, result.run)
    for comparison in comparisons(runs, expected):
        for title, same in comparison.rows.items():
            for run in same:
                about = _about(run, comparison, title)
                lines = _held_out_lines(run)
                shown = (run.held_out_scores() or {}).get("epoch")
                index = next(k for k, line in enumerate(lines) if line.get("epoch") == shown)
                yield from _epochs(about, lines, index, run)


def _held_out_lines(run: Run) -> list[Mapping[str, Any]]:
    """Return an in-domain run's scores by epoch, with those of its end in the same line."""
    by_epoch: dict[Any, dict[str, Any]] = {}
    for line in (*run.metrics("evaluate"), *run.metrics("final")):
        by_epoch.setdefault(line.get("epoch"), {}).update(line)
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def _about(run: Run, table: Setting | Comparison, title: str, pair: str = "") -> dict[str, Any]:
    return {
        "run": run.folder.name,
        "hash": run.hash,
        "dataset": table.spec.name,
        "scenario": run.scenario,
        "source": run.source_domain,
        "target": run.target,
        "pair": pair,
        "method": run.method if run.is_adaptation else "",
        "augmentation": run.augmentation,
        "answer": AnswerConfig(**run.answer).title,
        "table": table.title,
        "title": title,
        "seed": run.seed,
    }


def _epochs(
    about: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], result: int, run: Run
) -> Iterator[tuple[dict[str, Any], ...]]:
    settings = {key: value for key, value in run.source.items() if key not in ("stage", "seed")}
    if run.is_adaptation:
        answer = vars(AnswerConfig(**run.answer))
        settings |= {"adapt": dict(run.adapt), "answer": dict(answer)}
    for index, line in enumerate(lines):
        scores = {k: v for k, v in line.items() if k not in (*NO_SCORES, *LISTS)}
        yield {**about, "epoch": line["epoch"], "is_result": index == result}, scores, settings
