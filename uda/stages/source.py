"""The source stage: trains a source model or an in-domain classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from uda.config import Experiment
from uda.data.partition import source_parts, target_items
from uda.data.scenarios import ClassSplit, class_split, split_of_run
from uda.data.spec import DatasetSpec, load_dataset_spec
from uda.runs.folder import Run
from uda.stages.build import Task, experiment_on_folder
from uda.stages.console import say
from uda.stages.edits import prepare_edits
from uda.stages.identity import source_run
from uda.stages.in_domain import epoch_scorer, log_final, score_line
from uda.stages.pictures import training_pictures
from uda.stages.source_cut import source_threshold

if TYPE_CHECKING:
    from uda.data.items import Parts
    from uda.training.train import Seen

RunOf = Callable[[Experiment, DatasetSpec], Run]


def train(experiment: Experiment, waits: bool = False) -> None:
    """Train a source model, or an in-domain classifier without a scenario.

    With ``waits`` a process that trains the same model is waited for, and its model taken.
    """
    task, parts = task_of(experiment, source_run)
    run = task.run
    task.say_what_is_read(task.experiment.data.source, parts.train)
    if run.is_done:
        training_pictures(run, task.experiment.data.source, parts).keep()
        say(f"Already trained: {run.folder}")
    else:
        with task.lock(waits):
            if run.is_done:  # another process has finished it meanwhile
                training_pictures(run, task.experiment.data.source, parts).keep()
            else:
                _train(task, parts)
    if experiment.answer.threshold == "source" and experiment.data.scenario:
        cut = source_threshold(task.experiment, task.spec, task.split, run.checkpoint)
        say(f"Unknown above {cut:.3f} ({experiment.answer.title})")
    if scores := run.held_out_scores():
        say(f"On {score_line(scores)}")


def make_edits(experiment: Experiment, run_of: RunOf = source_run) -> None:
    """Make the edits and fractals that `train`, or the stage of ``run_of``, trains on."""
    task, parts = task_of(experiment, run_of)
    with task.lock():
        prepare_edits(task, task.labelled(parts.train))


def task_of(experiment: Experiment, run_of: RunOf) -> tuple[Task, Parts]:
    """Return the task of ``experiment``, checked, and the images to train on and to score on.

    ``run_of`` gives the run, from the experiment and the dataset.
    """
    from uda.compute.distributed import join

    join(experiment.device)
    experiment = experiment_on_folder(experiment)
    spec = load_dataset_spec(experiment.data.dataset, experiment.data.root)
    split = class_split(spec, experiment.data.scenario)
    parts = source_parts(experiment, spec, split)
    if experiment.data.target:  # a misspelt target is an error now, not after the training
        target_items(experiment, spec, split)
    run = run_of(experiment, spec)
    split = split_of_run(run, spec, ClassSplit(parts.classes) if spec.reader else split)
    return Task(experiment, spec, split, run), parts


def _train(task: Task, parts: Parts) -> None:
    from uda.training.train import total_steps
    from uda.training.train import train as train_loop

    experiment = task.experiment
    total_steps(len(parts.train), 0, experiment.train)  # raises before edits are made in vain
    pictures = training_pictures(task.run, experiment.data.source, parts)
    pictures.check()
    loop = task.loop(f"train {experiment.data.source} ({experiment.augment.name})")
    model = task.model()
    data = task.labelled(parts.train)
    pictures.keep()
    prepare_edits(task, data)
    if model.frozen:
        from uda.stages.frozen import labelled_features

        data = labelled_features(task, model, data)
    task.start()
    seen = train_loop(
        model.trained,
        data,
        task.augmentation,
        experiment.augment.copies,
        experiment.train,
        task.run,
        loop,
        epoch_scorer(task, model, parts),
    )
    log_final(task, model, parts)
    task.finish()
    say(_summary(task, seen))


def _summary(task: Task, seen: Seen) -> str:
    """Return in words what the model was trained on."""
    name = task.experiment.augment.name
    changed = f"{seen.augmented} of them augmented"
    if name != "none" and not seen.augmented:  # it changes batches
        changed = f"every batch under {name}"
    return (
        f"Trained on {task.experiment.data.source}: {seen.images} images seen, {changed}, "
        f"{seen.distinct_originals} distinct originals. {task.run.folder}"
    )
