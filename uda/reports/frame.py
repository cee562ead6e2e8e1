"""Finished runs as a pandas DataFrame, for notebooks and statistics of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from genmix_aug.lettering import printable
from uda.config import AnswerConfig
from uda.reports.in_domain import Comparison, comparisons, edit_seconds
from uda.reports.results import Board, Setting, has_labels
from uda.reports.rows import boards
from uda.runs.folder import Run
from uda.sweeps.packing import unpack
from uda.sweeps.record import runs_and_plan

if TYPE_CHECKING:
    from pandas import DataFrame

# Of a line of metrics: what is no score, and what is no single number.
NO_SCORES = ("kind", "run", "version", "time", "epoch", "checkpoint")
LISTS = ("per_class", "h_curve", "empty_classes")


Record = tuple[dict[str, Any], ...]  # what it says of its run, its scores, the run's settings


def results_frame(runs: Path, sweep: str = "") -> DataFrame:
    """Return a row for each finished run and epoch that was evaluated: see `uda.results`."""
    if not (runs.is_file() or runs.suffix == ".jsonl"):
        return _of_folder(runs, sweep)
    with TemporaryDirectory() as folder:
        unpack(runs, Path(folder))
        try:
            return _of_folder(Path(folder), sweep)
        except ValueError as error:  # in the words of who knows the file alone
            raise ValueError(str(error).replace(folder, str(runs))) from None


def _of_folder(folder: Path, sweep: str) -> DataFrame:
    runs, plan = runs_and_plan(folder, sweep)
    expected = plan.expected if plan else []
    tables = [adaptation_records(*chapter) for chapter in boards(runs, expected).items()]
    tables += map(in_domain_records, comparisons(runs, expected))
    records = [record for table in tables for record in table]
    if not records:
        raise ValueError(
            f"{folder}: no adaptation in it has finished, and no training in one domain; run "
            "`uda adapt` first"
        )
    return _frame(records)


def results_csv(records: Iterable[Record]) -> str:
    """Return a line for each run, with its result's scores, unrounded, and without its settings."""
    results = [(about, scores) for about, scores, _ in records if about["is_result"]]
    return _frame(results).drop(columns="is_result").to_csv(index=False, lineterminator="\n")


def per_class_csv(board: Board) -> str:
    """Return a line a finished run and class: its accuracy in the last epoch, in percent.

    Of private classes it is the share called unknown. Empty where no run has kept them.
    """
    import pandas as pd

    lines = [
        (result.pair.name, row.title, result.seed, printable(name), accuracy)
        for row in board.values()
        for result in row.results
        if has_labels(result.lines)
        for name, accuracy in result.lines[-1].get("per_class", {}).items()
    ]
    frame = pd.DataFrame(lines, columns=["pair", "title", "seed", "class", "accuracy"])
    return frame.to_csv(index=False, lineterminator="\n") if lines else ""


def _frame(records: Iterable[Record]) -> DataFrame:
    import pandas as pd

    parts = zip(*records, strict=True)
    return pd.concat([pd.json_normalize(list(part)) for part in parts], axis=1)


def adaptation_records(setting: Setting, board: Board) -> Iterator[Record]:
    """Yield the evaluated epochs of a table's adaptations."""
    for title, row in board.items():
        for result in row.results:
            about = _about(result.run, setting, title, result.pair.name)
            yield from _epochs(about, result.lines, len(result.lines) - 1, result.run)


def in_domain_records(compared: Comparison) -> Iterator[Record]:
    """Yield the scored epochs of a comparison's runs in one domain."""
    for title, runs in compared.rows.items():
        for run in runs:
            lines = _held_out_lines(run)
            shown = (run.held_out_scores() or {}).get("epoch")
            index = next(k for k, line in enumerate(lines) if line.get("epoch") == shown)
            yield from _epochs(_about(run, compared, title), lines, index, run)


def _held_out_lines(run: Run) -> list[Mapping[str, Any]]:
    """Return an in-domain run's scores by epoch, with those of its end in the same line, and what
    it took."""
    seconds = {"training_seconds": run.training_seconds(), "edit_seconds": edit_seconds(run)}
    by_epoch: dict[Any, dict[str, Any]] = {}
    for line in (*run.metrics("evaluate"), *run.metrics("final")):
        by_epoch.setdefault(line.get("epoch"), dict(seconds)).update(line)
    for line in run.metrics("validate"):
        if line["epoch"] in by_epoch:
            by_epoch[line["epoch"]]["validation_top1"] = line.get("top1")
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
) -> Iterator[Record]:
    settings = {key: value for key, value in run.source.items() if key not in ("stage", "seed")}
    if run.is_adaptation:
        answer = vars(AnswerConfig(**run.answer))
        settings |= {"adapt": dict(run.adapt), "answer": dict(answer)}
    for index, line in enumerate(lines):
        scores = {k: v for k, v in line.items() if k not in (*NO_SCORES, *LISTS)}
        yield {**about, "epoch": line["epoch"], "is_result": index == result}, scores, settings
