"""An experiment's pictures: those to train on, to hold out and to adapt to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uda.config import CONFIGS, Experiment
from uda.console import say
from uda.dataset_spec import DatasetSpec
from uda.identity import OWN_DATASETS
from uda.in_domain import in_domain_parts
from uda.splits import ClassSplit

if TYPE_CHECKING:
    from uda.datasets import Item, Parts


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
    from uda.own_folders import one_folder

    found = one_folder(folder, Path(experiment.runs) / OWN_DATASETS)
    for line in found.notes:
        say(line)
    sweep = experiment.sweep  # a recipe's name is that of its own dataset's sweep
    name = f"{sweep.name}_{found.domain}" if sweep.name else ""
    return replace(
        experiment,
        data=replace(data, dataset=str(found.file), source=found.domain, root=""),
        sweep=replace(sweep, pairs=["all"], name=name, published=0),
    )


def source_items(
    experiment: Experiment, spec: DatasetSpec, split: ClassSplit
) -> tuple[list[Item], list[Item]]:
    """Pictures to train on, and those held out (none where a scenario is given)."""
    parts = source_parts(experiment, spec, split)
    return parts.train, parts.test


def source_parts(experiment: Experiment, spec: DatasetSpec, split: ClassSplit) -> Parts:
    """Pictures to train on and, where no scenario is given, to choose by and to test on."""
    from uda.datasets import Parts, disjoint_half, domain_items, of_classes

    data = experiment.data
    if not data.source:
        raise ValueError("data.source: name the domain to train on")
    if not data.scenario:
        return in_domain_parts(experiment, spec)
    items = domain_items(spec, data.source)
    if data.concepts == "disjoint":
        items = disjoint_half(items, source=True)
    items = of_classes(items, split.source_classes, f"{spec.title}'s {data.source}")
    present = {item.class_name for item in items}
    if missing := [name for name in split.source_classes if name not in present]:
        raise ValueError(
            f"{spec.title}'s {data.source} has no picture of {missing[0]!r}, a class "
            f"that {data.scenario} trains on"
        )
    return Parts(split.source_classes, items, [], [])


def target_items(experiment: Experiment, spec: DatasetSpec, split: ClassSplit) -> list[Item]:
    """Pictures of the target, of the classes that the scenario leaves in it."""
    from uda.datasets import UNLABELLED, disjoint_half, domain_items, of_classes

    data = experiment.data
    items = domain_items(spec, data.target)
    if data.concepts == "disjoint":
        items = disjoint_half(items, source=False)
    classes = (*split.target_classes, UNLABELLED)
    return of_classes(items, classes, f"{spec.title}'s {data.target}")
