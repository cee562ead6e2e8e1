"""A run's metrics as TensorBoard's event files, made from metrics.jsonl."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from uda.runs import Run

NO_SCORES = {"run", "version", "time", "kind", "epoch"}


def write_event_files(run: Run) -> Path:
    """Write every number of the run's metrics as ``kind/name`` by epoch, and when it was logged;
    what is of no epoch (the time that edits took) at 0.

    They go to ``tensorboard/`` in the run's folder, in place of those that were there; its path.
    Finished or not, `tensorboard --logdir RUNS` shows all runs. ValueError where TensorBoard is not
    installed.
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
        with SummaryWriter(str(fresh)) as writer:
            for line in run.metrics():
                for name, value in line.items():
                    if name in NO_SCORES or type(value) not in (int, float):
                        continue
                    place, epoch = f"{line['kind']}/{name}", line.get("epoch", 0)
                    writer.add_scalar(place, value, epoch, walltime=line["time"])
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder
