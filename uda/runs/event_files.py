"""A run's metrics as TensorBoard's event files, made from metrics.jsonl."""

from __future__ import annotations

import secrets
import shutil
import time
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
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        raise ValueError(
            "--tensorboard: TensorBoard is not installed; in the project's folder: "
            "pip install -e '.[tensorboard]'"
        ) from None
    folder = run.folder / "tensorboard"
    fresh = run.folder / f".tensorboard.{secrets.token_hex(4)}"
    try:
        with writing(folder, fresh):
            fresh.mkdir(parents=True)
            # Not by SummaryWriter, whose thread prints a traceback where the disk is full.
            with open(fresh / f"events.out.tfevents.{run.hash}", "wb") as file:
                writer = RecordWriter(file)
                writer.write(
                    Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString()
                )
                for line in run.metrics():
                    epoch, when = line.get("epoch", 0), line.get("time", 0.0)
                    values = [
                        Summary.Value(tag=_encodable(f"{line['kind']}/{name}"), simple_value=value)
                        for name, value in _numbers(line)
                    ]
                    event = Event(wall_time=when, step=epoch, summary=Summary(value=values))
                    writer.write(event.SerializeToString())
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _encodable(name: str) -> str:
    """Return a class's or score's name, which may have bytes of no encoding, as UTF-8 has it."""
    return name.encode("utf-8", "backslashreplace").decode()


def _numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{key.replace('/', '_')}", leaf) for key, leaf in _numbers(value))
        elif name not in NO_SCORES and type(value) in (int, float):
            yield name, value
