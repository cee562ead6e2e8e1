"""What a run trains on besides its pictures: edits and fractals, made first, and noted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda.config import Experiment
from uda.console import say
from uda.runs import Run

if TYPE_CHECKING:
    import torch

    from uda.augment.base import Augmentation
    from uda.datasets import Labelled


def prepare_edits(
    augmentation: Augmentation,
    data: Labelled,
    experiment: Experiment,
    run: Run,
    device: torch.device,
) -> None:
    """Edits and fractals, and a picture of what they make of a few images."""
    from uda.augment.genmix import GenMixAugmentation
    from uda.augment.none import NoAugmentation
    from uda.figures import draw_stages
    from uda.processes import is_main, main_first

    if type(augmentation).prepare is NoAugmentation.prepare:
        return  # nothing to make, so nothing that a slow machine could be said to have spent on it
    started = time.perf_counter()
    with main_first():
        place = (Path(experiment.store), experiment.seed, device)
        found = augmentation.prepare(data.images, data.names, *place)
    if is_main():
        log_prepared(run, round(time.perf_counter() - started, 3), found, experiment.store)
    if is_main() and isinstance(augmentation, GenMixAugmentation):
        count = len(data.images)
        ids = [count * place // 6 for place in range(6)]
        # None where screening rejected all edits of these few.
        if rows := augmentation.stages(data.images, ids, experiment.seed):
            draw_stages(rows, run.folder / "genmix_stages.png")


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
