"""Partition of a dataset: the images that an experiment trains on, holds out and adapts to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from genmix_aug.images import other_pictures
from uda.config import Experiment
from uda.data.class_folders import check_near_names, class_folders, image_folder_parts, left_out
from uda.data.items import UNLABELLED, Item, Parts, domain_items
from uda.data.names import join_names
from uda.data.scenarios import ClassSplit
from uda.data.spec import DatasetSpec


def of_classes(items: Sequence[Item], classes: Sequence[str], where: str) -> list[Item]:
    """Return the ``items`` of ``classes``; if none are, ValueError begins with ``where``."""
    wanted = set(classes)
    kept = [item for item in items if item.class_name in wanted]
    if not kept:
        raise ValueError(f"{where}: holds no picture of the classes {join_names(classes, 3)}")
    return kept


def hash_share(name: str) -> float:
    """Return a number in [0, 1) that depends on ``name`` alone, to split images by."""
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def disjoint_half(items: Sequence[Item], *, source: bool) -> list[Item]:
    """Return the half that a source, or a target, may use so that they share no file name."""
    return [item for item in items if (hash_share(item.path.stem) < 0.5) == source]


def holdout_split(
    items: Sequence[Item], share: float, key: str = "data.holdout", salt: str = ""
) -> tuple[list[Item], list[Item]]:
    """Split items into training and held-out ones, class by class.

    Both sides get at least one image of each class; a class with a single image is trained on.

    Args:
        share: Share of each class to hold out; the items with the highest name hashes.
        key: The setting that an error names.
        salt: Text that changes the hashes, to hold out different items.

    Raises:
        ValueError: No class has two images.
    """
    train: list[Item] = []
    test: list[Item] = []
    for same_class in _by_class(items):
        same_class.sort(key=lambda item: hash_share(salt + item.path.stem))
        count = min(max(round(share * len(same_class)), 1), len(same_class) - 1)
        train += same_class[: len(same_class) - count]
        test += same_class[len(same_class) - count :]
    if not test:
        raise ValueError(f"{key}: no class has two pictures, so none can be held out")
    return train, test


def few_of_each(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """Return ``count`` images of each class, or all if fewer.

    They are chosen by hashes of ``seed`` and names, so that a smaller choice is part of a larger.
    """
    return [
        item
        for same_class in _by_class(items)
        for item in sorted(same_class, key=lambda item: hash_share(f"{seed} {item.path.stem}"))[
            :count
        ]
    ]


def _by_class(items: Sequence[Item]) -> list[list[Item]]:
    """Group items by class, in the order in which the classes first occur."""
    classes: dict[str, list[Item]] = {}
    for item in items:
        classes.setdefault(item.class_name, []).append(item)
    return list(classes.values())


def source_parts(experiment: Experiment, spec: DatasetSpec, split: ClassSplit) -> Parts:
    """Return the source's images by use; with a scenario, none are for tests."""
    data = experiment.data
    if not data.source:
        raise ValueError("data.source: name the domain to train on")
    if not data.scenario:
        return in_domain_parts(experiment, spec)
    items = _domain_items(spec, data.source)
    if data.concepts == "disjoint":
        items = disjoint_half(items, source=True)
    items = of_classes(items, split.source_classes, f"{spec.title}'s {data.source}")
    _check_classes(items, split.source_classes, f"{spec.title}'s {data.source}")
    train, validation = _without_validation(items, data.validation)
    return Parts(split.source_classes, train, validation, [])


def _without_validation(items: list[Item], share: float) -> tuple[list[Item], list[Item]]:
    """Return the images to train on, and the ``share`` that ``data.validation`` keeps apart."""
    return holdout_split(items, share, "data.validation", "validation ") if share else (items, [])


def _domain_items(spec: DatasetSpec, domain: str) -> list[Item]:
    """Return `domain_items`; refuse a domain whose class folders have other spellings."""
    folder = spec.root / spec.domains.get(domain, "")
    if domain in spec.domains and folder.is_dir():
        check_near_names(folder, spec.classes)
    return domain_items(spec, domain)


def _check_classes(items: Sequence[Item], classes: Sequence[str], where: str) -> None:
    """Refuse ``classes`` to train on of which there is no picture."""
    present = {item.class_name for item in items}
    if missing := [repr(name) for name in classes if name not in present]:
        raise ValueError(f"{where} has no picture of {join_names(missing)} to train on")


def passed_over(spec: DatasetSpec, domain: str) -> list[str]:
    """Return lines on the pictures of a domain's folder that are of no class or cannot be read."""
    folder = spec.root / spec.domains[domain]
    if not folder.is_dir() or spec.reader not in ("", "image_folder"):
        return []
    known: dict[Path, Collection[str]] = {folder: spec.classes}
    if spec.reader:
        parts = image_folder_parts(folder).values()
        known = {folder: [part.name for part in parts]}
        known |= {part: class_folders(part) for part in parts}
    lines = [line for part, names in known.items() for line in left_out(part, names)]
    if others := other_pictures(folder):
        lines.append(f"Passed over in {folder}: {others}, whose format is not read: convert them")
    return lines


def target_items(experiment: Experiment, spec: DatasetSpec, split: ClassSplit) -> list[Item]:
    """Return the target's images of the classes that the scenario leaves in it."""
    data = experiment.data
    items = _domain_items(spec, data.target)
    if data.concepts == "disjoint":
        items = disjoint_half(items, source=False)
    classes = (*split.target_classes, UNLABELLED)
    return of_classes(items, classes, f"{spec.title}'s {data.target}")


def in_domain_parts(experiment: Experiment, spec: DatasetSpec) -> Parts:
    """Return the images to train on, to choose the best epoch on, and to test on.

    The test part and then the validation part are split off first, independently of the seed;
    ``images_per_class`` chooses from the rest.

    Raises:
        ValueError: The dataset, or a setting that the message names, is wrong.
    """
    data = experiment.data
    if spec.reader:
        parts = _read_archive(spec, data.source)
    else:
        items = _domain_items(spec, data.source)
        labelled = of_classes(items, spec.classes, f"{spec.title}'s {data.source}")
        _check_classes(labelled, spec.classes, f"{spec.title}'s {data.source}")
        train, test = holdout_split(labelled, data.holdout)
        parts = Parts(spec.classes, train, [], test)
    train, validation = parts.train, parts.validation
    if not data.validation:
        train, validation = [*train, *validation], []
    elif not validation:
        train, validation = _without_validation(train, data.validation)
    if data.images_per_class:
        train = few_of_each(train, data.images_per_class, experiment.seed)
    return Parts(parts.classes, train, validation, parts.test)


def _read_archive(spec: DatasetSpec, domain: str) -> Parts:
    from uda.data.archives import READERS  # torchvision takes seconds to import

    if spec.reader not in READERS:
        raise ValueError(f"{spec.name}: reader: {spec.reader!r} is not one of {', '.join(READERS)}")
    if domain not in spec.domains:
        raise ValueError(f"{spec.title} has no domain {domain!r}; it has {', '.join(spec.domains)}")
    folder = spec.root / spec.domains[domain]
    parts = READERS[spec.reader](folder)
    for name, items in (("training", parts.train), ("test", parts.test)):
        if not items:
            raise ValueError(f"{folder}: holds no {name} pictures")
    for item in (*parts.train, *parts.validation, *parts.test):  # as the archive's lists name them
        if not os.path.abspath(item.path).startswith(os.path.abspath(folder) + os.sep):
            raise ValueError(f"{folder}: {item.path} is named in it and lies outside of it")
    return parts
