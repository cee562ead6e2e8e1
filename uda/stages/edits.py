"""What a run trains on besides its pictures: edits and fractals, made first, and noted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda.config import Experiment
from uda.runs.folder import Run
from uda.stages.console import say

STAGES_IMAGES, STAGES_PX = 6, 144  # rows of the sheet, and the side of a picture on it

if TYPE_CHECKING:
    import torch

    from uda.augment.base import Augmentation
    from uda.data.pixels import Labelled


def prepare_edits(
    augmentation: Augmentation,
    data: Labelled,
    experiment: Experiment,
    run: Run,
    device: torch.device,
) -> None:
    """Edits and fractals, and a picture of what they make of a few images."""
    from uda.compute.distributed import is_main, main_first

    if not augmentation.prepares:
        return  # nothing to make, so nothing that a slow machine could be said to have spent on it
    started = time.perf_counter()
    with main_first():
        place = (Path(experiment.store), experiment.seed, device)
        found = augmentation.prepare(data.images, data.names, *place)
    if is_main():
        log_prepared(run, round(time.perf_counter() - started, 3), found, experiment.store)
        draw_stages(augmentation, data, experiment.seed, run)


def draw_stages(augmentation: Augmentation, data: Labelled, seed: int, run: Run) -> None:
    """Draw how a few images are augmented, stage by stage, where the augmentation has stages."""
    from genmix_aug.contact_sheet import contact_sheet, save_png

    count = len(data.images)
    ids = [count * number // STAGES_IMAGES for number in range(STAGES_IMAGES)]
    captions, rows = augmentation.stages(data.images, ids, seed)
    if rows:  # none where screening rejected all edits of these images
        pictures = [list(stages.values()) for stages in rows]
        save_png(contact_sheet(pictures, captions, list(rows[0]), STAGES_PX), run.stages_png)


def log_prepared(run: Run, seconds: float, found: Mapping[str, Any], store: str) -> None:
    """Note what was prepared; say where it is not what the run began with."""
    before = next(iter(run.metrics("prepare")), {})
    if "edits" in before and before["edits"] != found.get("edits"):
        say(
            f"{run.folder}: the edits in {store} are not those that this run began with (other "
            "pictures, verdicts or file formats): it goes on with these; delete the folder to "
            "train on one kind alone"
        )
    # A run that goes on finds its edits made: the time that making them took stands.
    longest = max(seconds, before.get("seconds", 0))
    line = {"seconds": longest, **found}
    if any(before.get(key) != value for key, value in line.items()):
        run.log(kind="prepare", **line)
