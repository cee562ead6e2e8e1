"""A run's metrics as TensorBoard's event files, made from metrics.jsonl."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from uda.runs.files import writing
from uda.runs.folder import Run

NO_SCORES = {"run", "version", "time", "kind", "epoch"}


def write_event_files(run: Run) -> Path:
    """Write every number of the run's metrics into ``tensorboard/`` in its folder; return its path.

    A number is called ``kind/name`` (``final/fgsm_error/1_255``) and stands at its epoch, or at 0
    where it belongs to none (the time that edits took). Earlier event files are replaced.
    `tensorboard --logdir RUNS` shows all runs, finished or not. Raises ValueError where TensorBoard
    is not installed.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise ValueError(
            "--tensorboard: TensorBoard is not installed; in the project's folder: "
            "pip install -e '.[tensorboard]'"
        ) from None
    folder = run.folder / "tensorboard"
    fresh = run.folder / f".tensorboard.{secrets.token_hex(4)}"
    try:
        with writing(folder, fresh):
            with SummaryWriter(str(fresh)) as writer:
                for line in run.metrics():
                    epoch, when = line.get("epoch", 0), line["time"]
                    for name, value in _numbers(line):
                        writer.add_scalar(f"{line['kind']}/{name}", value, epoch, walltime=when)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{key.replace('/', '_')}", leaf) for key, leaf in _numbers(value))
        elif name not in NO_SCORES and type(value) in (int, float):
            yield name, value
