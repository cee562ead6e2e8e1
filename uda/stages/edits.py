"""Edits and fractals, made and logged before a run trains on them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda.runs.folder import Run
from uda.stages.build import Task
from uda.stages.console import say

STAGES_IMAGES, STAGES_PX = 6, 144  # rows of the sheet, and the side of a picture on it

if TYPE_CHECKING:
    from uda.augment.base import Augmentation
    from uda.data.pixels import Labelled


def prepare_edits(task: Task, data: Labelled) -> None:
    """Make edits and fractals, and draw the stages of a few images."""
    from uda.compute.distributed import is_main, main_first

    if not task.augmentation.prepares:
        return  # nothing to do, so no time to log
    experiment = task.experiment
    started = time.perf_counter()
    with main_first():
        prepared = task.augmentation.prepare(
            data.images, data.names, Path(experiment.store), experiment.seed, task.device
        )
    if is_main():
        seconds = round(time.perf_counter() - started, 3)
        log_prepared(task.run, seconds, prepared, experiment.store)
        draw_stages(task.augmentation, data, experiment.seed, task.run)


def draw_stages(augmentation: Augmentation, data: Labelled, seed: int, run: Run) -> None:
    """Draw how a few images are augmented, stage by stage, where the augmentation has stages."""
    from genmix_aug.contact_sheet import contact_sheet, save_png
    from genmix_aug.lettering import legible

    count = len(data.images)
    ids = [count * number // STAGES_IMAGES for number in range(STAGES_IMAGES)]
    captions, rows = augmentation.stages(data.images, ids, seed)
    if rows:  # none where screening rejected all edits of these images
        pictures = [list(stages.values()) for stages in rows]
        captions, key = legible(captions)
        save_png(contact_sheet(pictures, captions, list(rows[0]), STAGES_PX), run.stages_png)
        for line in key:
            say(line)


def log_prepared(run: Run, seconds: float, prepared: Mapping[str, Any], store: str) -> None:
    """Log what was prepared, and print where it is not what the run began with."""
    before = next(iter(run.metrics("prepare")), {})
    if "edits" in before and before["edits"] != prepared.get("edits"):
        say(
            f"{run.folder}: the edits in {store} are not those that this run began with (other "
            "pictures, verdicts or file formats): it goes on with these; delete the folder to "
            "train on these from the start"
        )
    # A run that continues reads its edits: the time of making them stands.
    longest = max(seconds, before.get("seconds", 0))
    line = {"seconds": longest, **prepared}
    if any(before.get(key) != value for key, value in line.items()):
        run.log(kind="prepare", **line)
