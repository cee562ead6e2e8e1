"""The pretraining stage: trains a backbone on a domain's pictures without their labels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from uda.config import Experiment
from uda.runs.folder import Run
from uda.stages.build import Task, model_of
from uda.stages.console import say
from uda.stages.edits import prepare_edits
from uda.stages.identity import pretrain_run
from uda.stages.options import self_supervised_of
from uda.stages.pictures import training_pictures
from uda.stages.source import make_edits, task_of

if TYPE_CHECKING:
    from uda.data.items import Parts
    from uda.models.classifier import Classifier

make_pretraining_edits = partial(make_edits, run_of=pretrain_run)


def pretrain(experiment: Experiment) -> None:
    """Train a backbone by a self-supervised method, and write its weights."""
    task, parts = task_of(experiment, pretrain_run)
    run = task.run
    _check(task, parts)
    task.say_what_is_read(task.experiment.data.source, parts.train)
    if run.is_done:
        training_pictures(run, task.experiment.data.source, parts).keep()
        say(f"Already pretrained: {run.folder}")
    else:
        with task.lock():
            _pretrain(task, parts)
    say(_advice(run))


def _check(task: Task, parts: Parts) -> None:
    """Raise ValueError naming a setting with which no backbone can be pretrained."""
    from uda.pretraining.pretrain import check_settings
    from uda.training.train import total_steps

    experiment = task.experiment
    if experiment.model.frozen:
        raise ValueError("model.frozen: pretraining trains the backbone; leave it out")
    if task.augmentation.mixes_batches:
        raise ValueError(
            f"augment.name: {experiment.augment.name} mixes the pictures of a batch, and a view "
            "must be of one picture; take genmix, another that changes single pictures, or none"
        )
    check_settings(experiment.train)
    total_steps(len(parts.train), 0, experiment.train)
    self_supervised_of(experiment.pretrain).check(len(parts.train), experiment.train.batch_size)


def _pretrain(task: Task, parts: Parts) -> None:
    from uda.compute.distributed import is_main
    from uda.pretraining.pairs import ViewPairs
    from uda.pretraining.pretrain import pretrain as pretrain_loop

    experiment = task.experiment
    settings, source = experiment.pretrain, experiment.data.source
    method = self_supervised_of(settings)
    pictures = training_pictures(task.run, source, parts)
    pictures.check()
    model = backbone_model(experiment)
    data = task.labelled(parts.train)
    pictures.keep()
    prepare_edits(task, data)
    loop = task.loop(f"{method.title} {source} ({experiment.augment.name})")
    copies = experiment.augment.copies
    pairs = ViewPairs(
        data.images, task.augmentation, copies, experiment.train, loop, settings.pairing
    )
    pretrain_loop(model, pairs, method, task.run)
    if is_main():
        task.run.save_backbone(model.backbone.state_dict())
    task.finish()
    say(
        f"{method.title} on {source}: {pairs.num_originals} pictures without labels, "
        f"{pairs.num_rows} a pass with augmented copies. {task.run.folder}"
    )


def backbone_model(experiment: Experiment) -> Classifier:
    """Return the network whose features are the backbone's, with its weights at the start."""
    model = replace(experiment.model, head="linear", frozen=False)
    return model_of(replace(experiment, model=model), num_classes=1)


def _advice(run: Run) -> str:
    return (
        f"Score it: uda probe {run.folder}\n"
        f"Start a training from it: uda train … --model.weights {run.backbone}"
    )
