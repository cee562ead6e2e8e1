"""The threshold `source` of a source model: computed of the source's pictures, kept with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from uda.config import Experiment
from uda.data.partition import source_parts
from uda.stages.build import Task
from uda.stages.identity import source_run
from uda.stages.pictures import training_pictures

if TYPE_CHECKING:
    from uda.data.items import Item
    from uda.data.scenarios import ClassSplit
    from uda.data.spec import DatasetSpec

KEPT = "thresholds"  # the source run's file of the cuts of each way of answering


def source_threshold(
    experiment: Experiment, spec: DatasetSpec, split: ClassSplit, checkpoint: Path | None
) -> float:
    """Return the threshold that a source model's pictures give for ``experiment.answer``.

    It is the mean of `uda.evaluation.source_cut.source_cuts`, on the views that the answer takes.
    The pictures are those that ``data.validation`` kept apart; where it kept none, those that the
    model was trained on, which it knows better than any target's, so that the cut is lower. The
    cuts are kept beside the model that `uda train` made, and read from there without any picture.

    Args:
        experiment: The options.
        spec: The dataset.
        split: Its classes, numbered as the model has them.
        checkpoint: The source model; None where adaptation starts without any.

    Raises:
        ValueError: There is no source model, or neither its cuts nor its pictures are at hand.
    """
    if checkpoint is None:
        raise ValueError(
            "answer.threshold: source comes from a source model, and adapt.start is backbone; name "
            "another, such as two-means"
        )
    run = source_run(experiment, spec)
    is_trained_here = checkpoint == run.checkpoint
    kept = (run.choices(KEPT) or {}) if is_trained_here else {}
    way = f"{experiment.answer.views} views, {experiment.answer.score}"
    if not kept.get(way):
        task = Task(experiment, spec, split, run)
        kept[way] = _cuts(task, checkpoint, _pictures(task, is_trained_here))
        if is_trained_here:
            _keep(task, kept)
    return sum(kept[way]) / len(kept[way])


def _pictures(task: Task, is_trained_here: bool) -> list[Item]:
    """Return the source's pictures to ask, the same that the run of `uda train` was made of."""
    source = task.experiment.data.source
    try:
        parts = source_parts(task.experiment, task.spec, task.split)
    except ValueError as error:
        raise ValueError(
            f"answer.threshold: source needs the source's pictures, once: {error}. Where they are, "
            "`uda train` with the same options keeps it with the model; or name another"
        ) from None
    if is_trained_here:
        training_pictures(task.run, source, parts).check()
    return parts.validation or parts.train


def _cuts(task: Task, checkpoint: Path, items: list[Item]) -> list[float]:
    """Return the cuts of the source model ``checkpoint`` on its pictures ``items``."""
    import torch

    from uda.compute.devices import move_to_device
    from uda.evaluation.source_cut import source_cuts
    from uda.training.bank import row_cosines

    experiment = task.experiment
    model = task.model(checkpoint)
    move_to_device(model, task.device, experiment.compute)
    data = task.labelled(items)
    probabilities, cosines = [], []
    for bank in task.view_banks(model, data.images):
        probabilities.append(bank.probabilities.cpu())
        cosines.append(row_cosines(bank).cpu())
    mean = torch.stack(cosines).mean(dim=0)
    return source_cuts(
        experiment.answer.score, torch.stack(probabilities), mean, data.labels.numpy()
    )


def _keep(task: Task, kept: dict[str, list[float]]) -> None:
    from uda.compute.distributed import is_main, wait

    if is_main():
        task.run.save_choices(KEPT, kept)
    wait()
