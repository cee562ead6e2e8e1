"""The pictures of a domain: their files and class names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uda.data.spec import DatasetSpec

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
UNLABELLED = ""  # the class name of a picture whose class nobody knows
# What names a dataset's folder, for messages: the flag of experiments, and of other commands.
ROOT_FLAGS = "--data.root (of uda evaluate and uda data: --root)"


@dataclass(frozen=True)
class Item:
    """One picture: where it is and the name of its class.

    ``pixels`` uint8 [H, W, 3] of one that lies in an archive with others, where ``path`` names it.
    """

    path: Path
    class_name: str
    pixels: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Parts:
    """Pictures of one domain: to train on, to choose the best epoch on, and to test on; the last
    two may be none. ``classes`` are all classes in label order."""

    classes: tuple[str, ...]
    train: list[Item]
    validation: list[Item]
    test: list[Item]


def picture_names(items: Sequence[Item]) -> list[str]:
    """``class/file``: how a run's predictions name each picture. With the folders above it
    (``class/folder/file``) where several of a class have a file's name."""
    names = [_name(item, 1) for item in items]
    for depth in range(2, max((len(item.path.parts) for item in items), default=0)):
        shared = {name for name, count in Counter(names).items() if count > 1}
        if not shared:
            break
        names = [
            _name(item, depth) if name in shared else name
            for item, name in zip(items, names, strict=True)
        ]
    return names


def paths_by_name(items: Iterable[Item], names: Iterable[str]) -> dict[str, Path]:
    """Where the pictures are that `picture_names` called ``names``, among ``items``."""
    depths = {name.count("/") for name in names}
    return {_name(item, depth): item.path for item in items for depth in depths}


def _name(item: Item, depth: int) -> str:
    """The class and the last ``depth`` parts of the path."""
    return "/".join((item.class_name, *item.path.parts[-depth:]))


def domain_items(spec: DatasetSpec, domain: str) -> list[Item]:
    """Every picture of ``domain``, by class in the dataset's order, then by name.

    A domain is a folder of class folders, or a list file (``path class-number`` a line, paths
    relative to the dataset's root or the list's own folder, with spaces or without; -1 is a class
    that nobody knows, named `UNLABELLED`). Raises ValueError naming the domain, folder or line at
    fault.
    """
    if domain not in spec.domains:
        raise ValueError(f"{spec.title} has no domain {domain!r}; it has {', '.join(spec.domains)}")
    place = spec.root / spec.domains[domain]
    if place.suffix == ".txt":
        items = _listed_items(spec, place)
    elif place.is_dir():
        items = _folder_items(spec, place)
    else:
        raise ValueError(
            f"{place}: no such folder (domain {domain} of {spec.title}); see data/README.md for "
            f"where the pictures go, or name their folder with {ROOT_FLAGS}"
        )
    if not items:
        raise ValueError(f"{place}: holds no picture of any class of {spec.title}")
    return items


def _folder_items(spec: DatasetSpec, folder: Path) -> list[Item]:
    return [
        Item(path, name)
        for name in spec.classes
        if (folder / name).is_dir()
        for path in sorted((folder / name).iterdir())
        if is_picture(path)
    ]


def is_picture(path: Path) -> bool:
    """Whether a file's name is a picture's, and not that of a hidden one (``._bike.jpg``)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _listed_items(spec: DatasetSpec, file: Path) -> list[Item]:
    if not file.is_file():
        raise ValueError(f"{file}: no such list file")
    items: list[Item] = []
    text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    parts = [("", "", *line.strip().rsplit(None, 1))[-2:] for line in text.split("\n")]
    # Relative to the list's own folder, as lists that come with other code have it, where the first
    # picture that is there at all is there.
    places = (spec.root, file.parent)
    there = (place for path, _ in parts if path for place in places if (place / path).exists())
    root = next(there, spec.root)
    for number, (path, label) in enumerate(parts, start=1):
        if not (path or label):
            continue
        if path and label == "-1":
            items.append(Item(root / path, UNLABELLED))
            continue
        if not path or not label.isdecimal() or int(label) >= len(spec.classes):
            raise ValueError(
                f"{file}:{number}: expected 'path class-number' with a number below "
                f"{len(spec.classes)}"
            )
        items.append(Item(root / path, spec.classes[int(label)]))
    return items
