"""Scoring a finished run's model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from uda.data.partition import in_domain_parts, target_items
from uda.data.scenarios import ClassSplit, class_split
from uda.data.spec import load_dataset_spec
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import read_run
from uda.stages.build import device_of, model_of
from uda.stages.console import say
from uda.stages.identity import experiment_of
from uda.stages.in_domain import (
    final_scores,
    held_out_classes,
    score_line,
)
from uda.stages.options import method_of
from uda.stages.target import target_score_line


def evaluate(run: str, target: str, root: str, per_class: bool) -> None:
    """Score a finished run's model: on its own target, on another one, or on what it held out."""
    from uda.compute.devices import own_device, place, to_answer
    from uda.compute.distributed import join
    from uda.data.pixels import resize_all, unlabelled
    from uda.evaluation.evaluate import class_table, target_scores
    from uda.models.classifier import load_weights
    from uda.training.bank import forward_all

    join("auto")
    found = read_run(Path(run))
    if not found.is_done:
        raise ValueError(f"{run}: not finished; the command that began it goes on with it")
    experiment = experiment_of(found, target, root or found.root)
    spec = load_dataset_spec(experiment.data.dataset, experiment.data.root)
    split = class_split(spec, experiment.data.scenario)
    in_domain = not experiment.data.scenario
    if in_domain:
        parts = in_domain_parts(experiment, spec)
        items, split = parts.test, ClassSplit(parts.classes)
    elif experiment.data.target:
        items = target_items(experiment, spec, split)
    else:
        raise ValueError(f"{run}: a source model; name the domain to score it on with --target")
    compute = to_answer(own_device(experiment.device), experiment.compute)
    experiment = replace(experiment, compute=compute)
    device = device_of(experiment)
    model = model_of(experiment, len(split.source_classes), pretrained=False)
    checkpoint = found.result_checkpoint
    load_weights(model, checkpoint)
    sizes = experiment.images
    place(model, device, compute)
    if in_domain:
        scores = final_scores(experiment, model, items, split, device)
        chosen = {"checkpoint": checkpoint.stem, "epoch": read_checkpoint(checkpoint)["epoch"]}
        say(f"{experiment.data.source}, {score_line({**scores, **chosen})}")
        if per_class:
            for name, count, value in held_out_classes(experiment, model, items, split, device):
                say(f"{value:6.1f} %  of {count:4d}  {name}")
        return
    memory = (compute.image_memory_gb, compute.cache)
    view, items = unlabelled(items, sizes.decode_px, *memory)
    images = resize_all(view.images, sizes.resize_px, *memory)
    bank = forward_all(model, images, sizes.crop_px, device, compute)
    prediction = method_of(experiment).predict(bank)
    scores = target_scores(items, split, experiment.data.scenario, prediction, bank)
    say(
        f"{experiment.data.source} → {experiment.data.target}, {experiment.data.scenario}: "
        f"{target_score_line([{'epoch': 0, **scores}])}"
    )
    if per_class and scores["num_images"]:
        for name, count, value in class_table(items, split, prediction):
            role = "shared" if name in split.shared else "private, called unknown"
            say(f"{value:6.1f} %  of {count:4d}  {name} ({role})")
