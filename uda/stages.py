"""The stages of an experiment: train, adapt, evaluate and report, each over a run's folder.

Torch is imported by the stages that need it, so that the command line's ``--help`` answers at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from uda.config import Experiment, read_yaml
from uda.console import say
from uda.dataset_spec import DatasetSpec, load_dataset_spec
from uda.experiment_data import of_folder, source_parts, target_items
from uda.identity import adapt_run, augmentation_of, experiment_of, method_of, source_run
from uda.in_domain import (
    chosen_checkpoint,
    epoch_scores,
    final_scores,
    held_out_classes,
    in_domain_parts,
    log_final,
    result_of,
    score_line,
)
from uda.prepared_edits import prepare_edits
from uda.results import SCORES, evaluations
from uda.runs import Run, atomic_path, read_checkpoint, read_run
from uda.splits import ClassSplit, class_split

if TYPE_CHECKING:
    import torch

    from uda.datasets import Item, Labelled, Parts
    from uda.methods.base import Bank, Method, Prediction
    from uda.model import Classifier


def train(experiment: Experiment) -> None:
    """Train a source model, or an in-domain classifier where no scenario is given."""
    from uda.processes import join

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
        with _alone(run):
            _train(experiment, split, parts, run)
    _print_held_out(run)


def _alone(run: Run) -> AbstractContextManager[None]:
    """Nobody else at work on ``run``, which the first of several processes sees to."""
    from uda.processes import is_main

    return run.lock() if is_main() else nullcontext()


def _train(experiment: Experiment, split: ClassSplit, parts: Parts, run: Run) -> None:
    from uda.processes import is_main, wait
    from uda.train import total_steps
    from uda.train import train as train_loop

    total_steps(len(parts.train), 0, experiment.train)  # before edits are made for nothing
    device = _device(experiment)
    model = _model(experiment, split)
    check_dimensions(experiment, split, model.classifier.in_features)
    data = _labelled(experiment, parts.train, split)
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
        _keep_experiment(run, experiment)
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


def adapt(experiment: Experiment) -> None:
    """Adapt a source model to the target, and score it after every epoch."""
    from uda.processes import join

    join(experiment.device)
    data = experiment.data
    if not data.target:
        raise ValueError("data.target: name the domain to adapt to")
    spec = load_dataset_spec(data.dataset, data.root)
    split = class_split(spec, data.scenario)
    items = target_items(experiment, spec, split)
    checkpoint = _source_checkpoint(experiment, spec)
    run = adapt_run(experiment, spec)
    if run.is_done:
        say(f"Already adapted: {run.folder}")
    else:
        with _alone(run):
            _adapt(experiment, split, items, checkpoint, run)
    say(
        f"{data.source} → {data.target}, {data.scenario}, {experiment.adapt.method}, "
        f"augmentation {experiment.augment.name}, seed {experiment.seed}: "
        f"{target_score_line(evaluations(run))}\n{run.folder}"
    )


def _adapt(
    experiment: Experiment, split: ClassSplit, items: list[Item], checkpoint: Path, run: Run
) -> None:
    from uda.adapt import adapt as adapt_loop
    from uda.datasets import unlabelled
    from uda.model import load_weights
    from uda.processes import is_main, wait

    data = experiment.data
    device = _device(experiment)
    model = _model(experiment, split, pretrained=False)
    check_dimensions(experiment, split, model.classifier.in_features)
    load_weights(model, checkpoint)
    method = method_of(experiment)
    view, items = unlabelled(
        items,
        experiment.images.decode_px,
        experiment.compute.image_memory_gb,
        experiment.compute.cache,
    )
    adapt_loop(
        model,
        view,
        method,
        experiment.images,
        experiment.adapt,
        experiment.seed,
        run,
        device,
        title=f"{experiment.adapt.method} {data.source} → {data.target}",
        after_epoch=_target_evaluation(items, split, data.scenario, method, run),
        compute=experiment.compute,
    )
    if is_main():
        run.save_classes(split.source_classes)
        _keep_experiment(run, experiment)
        evaluations(run)  # a run that has lost its scores is not done
        run.mark_done()
    wait()


def evaluate(run: str, target: str, root: str, per_class: bool) -> None:
    """Score a finished run's model: on its own target, on another one, or on what it held out."""
    from uda.adapt import forward_all
    from uda.compute import place, to_answer
    from uda.datasets import resize_all, unlabelled
    from uda.evaluate import class_table, target_scores
    from uda.model import load_weights
    from uda.processes import join, own_device

    join("auto")
    found = read_run(Path(run))
    if not found.is_done:
        raise ValueError(f"{run}: not finished; the command that began it goes on with it")
    experiment = experiment_of(found, target, root or _root_of(found))
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
    device = _device(experiment)
    model = _model(experiment, split, pretrained=False)
    checkpoint = chosen_checkpoint(found)
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


def report(
    runs: str, title: str, formats: str, root: str, leave_out: str, sweep: str, tensorboard: bool
) -> None:
    """Write the runs' tables and figures to report.md and report.html, and print the tables."""
    from uda.report import write_report

    chosen, left_out = (
        [name.strip() for name in names.split(",") if name.strip()]
        for names in (formats, leave_out)
    )
    if tensorboard:  # first, as unfinished runs have no tables
        from uda.event_files import write_event_files
        from uda.sweep_plan import runs_and_plan

        for run in runs_and_plan(Path(runs), sweep)[0]:
            write_event_files(run)
        say(f"For TensorBoard:\n  tensorboard --logdir {shlex.quote(runs)}")
    say(write_report(Path(runs), title, chosen, root, left_out, sweep))


def check_dimensions(experiment: Experiment, split: ClassSplit, dim: int) -> None:
    """ValueError where the method needs features of more dimensions than there are classes (LEAD),
    and they have ``dim``: before the training, not after it."""
    count, model = len(split.source_classes), experiment.model
    if not experiment.data.scenario or count < dim:
        return
    if getattr(method_of(experiment), "needs_unknown_space", False):
        head = "" if model.head == "bottleneck_wn" else " --model.head bottleneck_wn"
        raise ValueError(
            f"adapt.method: {experiment.adapt.method} needs features of more dimensions than the "
            f"source has classes: {dim} for {count}; say{head} --model.bottleneck_dim "
            f"{1 << count.bit_length()}, or another --adapt.method"
        )


def _labelled(experiment: Experiment, items: Sequence[Item], split: ClassSplit) -> Labelled:
    from uda.datasets import labelled

    return labelled(
        items,
        split.number,
        experiment.images.decode_px,
        experiment.compute.image_memory_gb,
        experiment.compute.cache,
    )


def _model(experiment: Experiment, split: ClassSplit, pretrained: bool = True) -> Classifier:
    from uda.model import build_model

    settings = experiment.model
    return build_model(
        settings.backbone,
        settings.weights if pretrained else "none",
        settings.head,
        settings.bottleneck_dim,
        len(split.source_classes),
        experiment.seed,
        experiment.images.crop_px,
    )


def _source_checkpoint(experiment: Experiment, spec: DatasetSpec) -> Path:
    if experiment.adapt.checkpoint:
        return Path(experiment.adapt.checkpoint)
    run = source_run(experiment, spec)
    if not run.is_done:
        raise ValueError(
            f"{run.folder}: no trained source model there; run `uda train` with the same options "
            "first, or name one with --adapt.checkpoint"
        )
    return run.folder / "checkpoint.pt"


def _keep_experiment(run: Run, experiment: Experiment) -> None:
    """Write down how the run was asked for: `uda train` and `uda adapt` make it again from this."""
    with atomic_path(run.folder / "experiment.yaml") as path:
        path.write_text(yaml.safe_dump(asdict(experiment), sort_keys=False, allow_unicode=True))


def _root_of(run: Run) -> str:
    """The folder of pictures that the run was given, if it is there: empty for the dataset's."""
    path = run.folder / "experiment.yaml"
    data = read_yaml(path).get("data") if path.is_file() else None
    root = str(data.get("root", "")) if isinstance(data, dict) else ""
    return root if Path(root).expanduser().is_dir() else ""


def _device(experiment: Experiment) -> torch.device:
    import torch

    from uda.compute import check_precision, keep_freed_memory
    from uda.processes import own_device

    if experiment.threads:
        torch.set_num_threads(experiment.threads)
    device = own_device(experiment.device)
    check_precision(device, experiment.compute)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _target_evaluation(
    items: Sequence[Item], split: ClassSplit, scenario: str, method: Method, run: Run
) -> Callable[[int, Bank], str]:
    """What `uda.adapt` calls after each epoch: here alone predictions meet the target's labels."""
    from uda.evaluate import target_scores

    def after_epoch(epoch: int, bank: Bank) -> str:
        prediction = method.predict(bank)
        scores = target_scores(items, split, scenario, prediction, bank)
        run.log(kind="evaluate", epoch=epoch, **scores)
        _save_predictions(run, items, split, prediction)
        value = scores.get("h_score", scores.get("accuracy"))
        return "" if value is None else f"{'Acc' if scenario == 'pda' else 'H'}={value:.1f}"

    return after_epoch


def _save_predictions(
    run: Run, items: Sequence[Item], split: ClassSplit, prediction: Prediction
) -> None:
    import numpy as np

    from uda.evaluate import described
    from uda.runs import atomic_path

    with atomic_path(run.folder / "predictions.npz") as path:
        np.savez(path, **described(items, split, prediction))


def _print_held_out(run: Run) -> None:
    if scores := result_of(run):
        say(f"On {score_line(scores)}")


def target_score_line(lines: Sequence[dict[str, Any]]) -> str:
    """The last epoch's scores in words, the oracle epoch's, and what could not be scored."""
    last = lines[-1]
    if not last["num_images"]:
        return "not scored, as the target has no labels"
    main = "accuracy" if "accuracy" in last else "h_score"
    text = f"{SCORES[main]} {_number(last[main])}"
    if main == "h_score":
        known, unknown = _number(last["known_acc"]), _number(last["unknown_acc"])
        text += f" (known {known}, unknown {unknown})"
    scored = [line for line in lines if line["epoch"] and line[main] is not None]
    if scored:
        best = max(scored, key=lambda line: line[main])
        text += f"; oracle epoch {best['epoch']}: {best[main]:.1f}"
    if last.get("empty_classes"):
        text += f"; no picture of {', '.join(last['empty_classes'])}, left out"
    return text


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f}"
