"""Scoring a finished run's model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uda.data.partition import in_domain_parts, target_items
from uda.data.scenarios import ClassSplit, split_of_run
from uda.data.spec import load_dataset_spec
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import read_run
from uda.stages.build import Task
from uda.stages.console import say
from uda.stages.identity import experiment_of
from uda.stages.in_domain import class_accuracies, final_scores, score_line
from uda.stages.pictures import RunPictures, target_pictures, training_pictures
from uda.stages.target import target_score_line

if TYPE_CHECKING:
    from uda.data.items import Item
    from uda.models.classifier import Classifier


def evaluate(run: str, target: str, root: str, per_class: bool) -> None:
    """Score a finished run's model: on its target, on another domain, or on its test part."""
    from uda.compute.devices import device_of_rank, to_answer
    from uda.compute.distributed import join

    join("auto")
    finished = read_run(Path(run))
    if not finished.is_done:
        raise ValueError(f"{run}: not finished; the command that began it goes on with it")
    experiment = experiment_of(finished, target, root or finished.root)
    spec = load_dataset_spec(experiment.data.dataset, experiment.data.root)
    if not experiment.data.scenario:
        parts = in_domain_parts(experiment, spec)
        split = split_of_run(finished, spec, ClassSplit(parts.classes))
        training_pictures(finished, experiment.data.source, parts).check()
        items = parts.test
    elif experiment.data.target:
        split = split_of_run(finished, spec)
        items = target_items(experiment, spec, split)
        if experiment.data.target == finished.target:
            _say_difference(target_pictures(finished, finished.target, items))
    else:
        raise ValueError(f"{run}: a source model; name the domain to score it on with --target")
    compute = to_answer(device_of_rank(experiment.device), experiment.compute)
    task = Task(replace(experiment, compute=compute), spec, split, finished)
    model = task.adapted_model(finished.result_checkpoint)
    if experiment.data.scenario:
        _score_on_target(task, model, items, per_class)
    else:
        _score_held_out(task, model, items, per_class)


def _say_difference(pictures: RunPictures) -> None:
    """Say where a target is scored that is not what the run was adapted to."""
    if difference := pictures.difference:
        say(f"{pictures.run.folder} was adapted to {difference}; the scores are of those of now")


def _score_held_out(task: Task, model: Classifier, items: Sequence[Item], per_class: bool) -> None:
    """Print an in-domain classifier's scores on its test part."""
    checkpoint = task.run.result_checkpoint
    scores = final_scores(task, model, items)
    result = {"checkpoint": checkpoint.stem, "epoch": read_checkpoint(checkpoint)["epoch"]}
    say(f"{task.experiment.data.source}, {score_line({**scores, **result})}")
    for name, count, value in class_accuracies(task, model, items) if per_class else ():
        say(f"{value:6.1f} %  of {count:4d}  {name}")


def _score_on_target(task: Task, model: Classifier, items: list[Item], per_class: bool) -> None:
    """Print the scores on the images ``items`` of a target."""
    from uda.evaluation.evaluate import class_table, target_scores

    data = task.experiment.data
    view, items = task.pixels.unlabelled(items, task.experiment.images.decode_px)
    bank, prediction, _ = task.answer(model, view.images, task.run.source_cut())
    scores = target_scores(items, task.split, data.scenario, prediction, bank)
    say(
        f"{data.source} → {data.target}, {data.scenario}: "
        f"{target_score_line([{'epoch': 0, **scores}])}"
    )
    if per_class and scores["num_images"]:
        for name, count, value in class_table(items, task.split, prediction):
            role = "shared" if name in task.split.shared else "private, called unknown"
            say(f"{value:6.1f} %  of {count:4d}  {name} ({role})")
