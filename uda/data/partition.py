"""Which pictures an experiment trains on, holds out and adapts to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from uda.config import Experiment
from uda.data.items import Item
from uda.data.names import named
from uda.data.scenarios import ClassSplit
from uda.data.spec import DatasetSpec

if TYPE_CHECKING:
    from uda.data.items import Item, Parts


def of_classes(items: Sequence[Item], classes: Sequence[str], where: str) -> list[Item]:
    """The ``items`` of ``classes``. ValueError where there is none; ``where`` names them."""
    wanted = set(classes)
    kept = [item for item in items if item.class_name in wanted]
    if not kept:
        raise ValueError(f"{where}: holds no picture of the classes {named(classes, 3)}")
    return kept


def hash_share(name: str) -> float:
    """A number in [0, 1) that depends on ``name`` alone, to split pictures by."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def disjoint_half(items: Sequence[Item], *, source: bool) -> list[Item]:
    """The pictures that a source, or a target, may use so that no file name is in both."""
    return [item for item in items if (hash_share(item.path.stem) < 0.5) == source]


def holdout_split(
    items: Sequence[Item], share: float, key: str = "data.holdout", salt: str = ""
) -> tuple[list[Item], list[Item]]:
    """Training and held-out pictures; of each class the ``share`` with the highest name hashes.

    At least one picture of each class stays on either side (a class of one is trained on only).
    Another ``salt`` holds out others. ValueError naming the setting ``key`` where none can be.
    """
    train: list[Item] = []
    test: list[Item] = []
    for own in _by_class(items):
        own.sort(key=lambda item: hash_share(salt + item.path.stem))
        held = min(max(round(share * len(own)), 1), len(own) - 1)
        train += own[: len(own) - held]
        test += own[len(own) - held :]
    if not test:
        raise ValueError(f"{key}: no class has two pictures, so none can be held out")
    return train, test


def few_of_each(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """``count`` pictures of each class, or all where there are fewer; by hashes of the ``seed`` and
    their names, so that fewer are a part of more."""
    return [
        item
        for own in _by_class(items)
        for item in sorted(own, key=lambda item: hash_share(f"{seed} {item.path.stem}"))[:count]
    ]


def _by_class(items: Sequence[Item]) -> list[list[Item]]:
    """The items of each class, classes in the order in which they first come."""
    classes: dict[str, list[Item]] = {}
    for item in items:
        classes.setdefault(item.class_name, []).append(item)
    return list(classes.values())


def source_items(
    experiment: Experiment, spec: DatasetSpec, split: ClassSplit
) -> tuple[list[Item], list[Item]]:
    """Pictures to train on, and those held out (none where a scenario is given)."""
    parts = source_parts(experiment, spec, split)
    return parts.train, parts.test


def source_parts(experiment: Experiment, spec: DatasetSpec, split: ClassSplit) -> Parts:
    """Pictures to train on and, where no scenario is given, to choose by and to test on."""
    from uda.data.items import Parts, domain_items

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
    from uda.data.items import UNLABELLED, domain_items

    data = experiment.data
    items = domain_items(spec, data.target)
    if data.concepts == "disjoint":
        items = disjoint_half(items, source=False)
    classes = (*split.target_classes, UNLABELLED)
    return of_classes(items, classes, f"{spec.title}'s {data.target}")


def in_domain_parts(experiment: Experiment, spec: DatasetSpec) -> Parts:
    """Pictures to train on, to choose the best epoch on and to test on, by ``experiment.data``.

    The test part, and then the validation part, are cut off first, whatever the seed; of what
    remains ``images_per_class`` takes a few. ValueError where the dataset or a setting is at fault.
    """
    from uda.data.items import Parts, domain_items

    data = experiment.data
    if spec.reader:
        parts = _read(spec, data.source)
    else:
        items = domain_items(spec, data.source)
        labelled = of_classes(items, spec.classes, f"{spec.title}'s {data.source}")
        whole, test = holdout_split(labelled, data.holdout)
        parts = Parts(spec.classes, whole, [], test)
    train, validation = parts.train, parts.validation
    if not data.validation:
        train, validation = [*train, *validation], []
    elif not validation:
        train, validation = holdout_split(train, data.validation, "data.validation", "validation ")
    if data.images_per_class:
        train = few_of_each(train, data.images_per_class, experiment.seed)
    return Parts(parts.classes, train, validation, parts.test)


def _read(spec: DatasetSpec, domain: str) -> Parts:
    from uda.data.archives import READERS

    if spec.reader not in READERS:
        raise ValueError(f"{spec.name}: reader: {spec.reader!r} is not one of {', '.join(READERS)}")
    if domain not in spec.domains:
        raise ValueError(f"{spec.title} has no domain {domain!r}; it has {', '.join(spec.domains)}")
    parts = READERS[spec.reader](spec.root / spec.domains[domain])
    for name, items in (("training", parts.train), ("test", parts.test)):
        if not items:
            raise ValueError(f"{spec.root / spec.domains[domain]}: holds no {name} pictures")
    return parts
