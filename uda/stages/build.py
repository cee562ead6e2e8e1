"""What a stage works with: method, augmentation, network, device and pictures of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uda.config import CONFIGS, Experiment
from uda.data.scenarios import ClassSplit
from uda.runs.folder import DATASETS, Run
from uda.stages.console import say
from uda.stages.options import method_of

if TYPE_CHECKING:
    import torch

    from uda.data.items import Item
    from uda.data.pixels import Labelled
    from uda.models.classifier import Classifier


def of_folder(experiment: Experiment) -> Experiment:
    """``experiment`` on the dataset that is made of ``data.dataset``, where that is a folder and no
    dataset's name: it is written down beside the runs. ValueError where a scenario is asked for, or
    naming a folder without classes."""
    data = experiment.data
    folder = Path(data.dataset).expanduser()
    if (CONFIGS / "datasets" / f"{data.dataset}.yaml").is_file() or not folder.is_dir():
        return experiment
    if data.scenario:
        raise ValueError(
            f"data.scenario: {folder} is one domain; leave the scenario out to train in it, or "
            "adapt between two folders with uda run"
        )
    from uda.data.folders import single_folder_dataset

    found = single_folder_dataset(folder, Path(experiment.runs) / DATASETS)
    for line in found.notes:
        say(line)
    sweep = experiment.sweep  # a recipe's name is that of its own dataset's sweep
    name = f"{sweep.name}_{found.domain}" if sweep.name else ""
    return replace(
        experiment,
        data=replace(data, dataset=str(found.file), source=found.domain, root=""),
        sweep=replace(sweep, pairs=["all"], name=name, published=0),
    )


def locked(run: Run) -> AbstractContextManager[None]:
    """Nobody else at work on ``run``, which the first of several processes sees to."""
    from uda.compute.distributed import is_main

    return run.lock() if is_main() else nullcontext()


def check_dimensions(experiment: Experiment, split: ClassSplit, dim: int) -> None:
    """ValueError where the method needs features of more dimensions than there are classes (LEAD),
    and they have ``dim``: before the training, not after it."""
    count, model = len(split.source_classes), experiment.model
    if not experiment.data.scenario or count < dim:
        return
    if method_of(experiment).needs_unknown_space:
        head = "" if model.head == "bottleneck_wn" else " --model.head bottleneck_wn"
        raise ValueError(
            f"adapt.method: {experiment.adapt.method} needs features of more dimensions than the "
            f"source has classes: {dim} for {count}; say{head} --model.bottleneck_dim "
            f"{1 << count.bit_length()}, or another --adapt.method"
        )


def labelled_pictures(experiment: Experiment, items: Sequence[Item], split: ClassSplit) -> Labelled:
    from uda.data.pixels import labelled

    return labelled(
        items,
        split.number,
        experiment.images.decode_px,
        experiment.compute.image_memory_gb,
        experiment.compute.cache,
    )


def model_of(experiment: Experiment, num_classes: int, pretrained: bool = True) -> Classifier:
    """Build the configured model; without ``pretrained``, its weights are to be loaded."""
    from uda.models.classifier import build_model

    settings = experiment.model
    return build_model(
        settings.backbone,
        settings.weights if pretrained else "none",
        settings.head,
        settings.bottleneck_dim,
        num_classes,
        experiment.seed,
        experiment.images.crop_px,
    )


def device_of(experiment: Experiment) -> torch.device:
    import torch

    from uda.compute.cpu import keep_freed_memory
    from uda.compute.devices import check_precision, own_device

    if experiment.threads:
        torch.set_num_threads(experiment.threads)
    device = own_device(experiment.device)
    check_precision(device, experiment.compute)
    if device.type == "cpu":
        keep_freed_memory()
    return device
