"""The source stage: trains a source model or an in-domain classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uda.config import Experiment
from uda.data.partition import source_parts, target_items
from uda.data.scenarios import ClassSplit, class_split
from uda.data.spec import load_dataset_spec
from uda.runs.folder import Run
from uda.stages.build import (
    check_dimensions,
    device_of,
    labelled_pictures,
    locked,
    model_of,
    of_folder,
)
from uda.stages.console import say
from uda.stages.edits import prepare_edits
from uda.stages.identity import source_run
from uda.stages.in_domain import (
    epoch_scores,
    log_final,
    score_line,
)
from uda.stages.options import augmentation_of

if TYPE_CHECKING:
    from uda.data.items import Parts


def train(experiment: Experiment) -> None:
    """Train a source model, or an in-domain classifier where no scenario is given."""
    from uda.compute.distributed import join

    join(experiment.device)
    experiment = of_folder(experiment)
    spec = load_dataset_spec(experiment.data.dataset, experiment.data.root)
    split = class_split(spec, experiment.data.scenario)
    run = source_run(experiment, spec)
    parts = source_parts(experiment, spec, split)
    if spec.reader:
        split = ClassSplit(parts.classes)
    if experiment.data.target:  # a misspelt one is better found now than after the training
        target_items(experiment, spec, split)
    if run.is_done:
        say(f"Already trained: {run.folder}")
    else:
        with locked(run):
            _train(experiment, split, parts, run)
    _print_held_out(run)


def _train(experiment: Experiment, split: ClassSplit, parts: Parts, run: Run) -> None:
    from uda.compute.distributed import is_main, wait
    from uda.training.train import total_steps
    from uda.training.train import train as train_loop

    total_steps(len(parts.train), 0, experiment.train)  # before edits are made for nothing
    device = device_of(experiment)
    model = model_of(experiment, len(split.source_classes))
    check_dimensions(experiment, split, model.classifier.in_features)
    data = labelled_pictures(experiment, parts.train, split)
    augmentation = augmentation_of(experiment)
    prepare_edits(augmentation, data, experiment, run, device)
    after_epoch = epoch_scores(experiment, parts, split, run, device)
    seen = train_loop(
        model,
        data,
        augmentation,
        experiment.augment.copies,
        experiment.images,
        experiment.train,
        experiment.seed,
        run,
        device,
        title=f"train {experiment.data.source} ({experiment.augment.name})",
        after_epoch=after_epoch,
        compute=experiment.compute,
    )
    log_final(experiment, model, parts, split, run, device)
    if is_main():
        run.save_classes(split.source_classes)
        run.save_experiment(experiment)
        run.mark_done()
    wait()  # what comes next may ask whether the run is done
    name = experiment.augment.name
    changed = f"{seen.augmented} of them augmented"
    if name != "none" and not seen.augmented:  # it changes batches
        changed = f"every batch under {name}"
    say(
        f"Trained on {experiment.data.source}: {seen.images} images seen, {changed}, "
        f"{seen.distinct_originals} distinct originals. {run.folder}"
    )


def _print_held_out(run: Run) -> None:
    if scores := run.held_out_scores():
        say(f"On {score_line(scores)}")
