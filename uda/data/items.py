"""The images of a domain: files and class names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uda.data.class_folders import images_by_class
from uda.data.list_files import LIST_SUFFIXES, read_list
from uda.data.spec import DatasetSpec

NUMBER = re.compile(r"-1|\d{1,9}")
UNLABELLED = ""  # the class name of an image whose class is not known
# The options that name a dataset's folder, for messages.
ROOT_FLAGS = "--data.root (of uda evaluate and uda data: --root)"


@dataclass(frozen=True)
class Item:
    """An image: its file and the name of its class.

    ``pixels``, uint8 [H, W, 3], are those of an image in an archive, which ``path`` then names.
    """

    path: Path
    class_name: str
    pixels: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Parts:
    """The images of a domain by use: training, choice of the best epoch, test.

    ``validation`` and ``test`` may be empty. ``classes`` are all classes in label order.
    """

    classes: tuple[str, ...]
    train: list[Item]
    validation: list[Item]
    test: list[Item]


def picture_names(items: Sequence[Item]) -> list[str]:
    """Return the names of images in a run's predictions: ``class/file``.

    Where several images of a class have the same file name, the folders above it come in between
    (``class/folder/file``).
    """
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
    """Return the paths of the ``items`` that `picture_names` calls ``names``, by name."""
    depths = {name.count("/") for name in names}
    return {_name(item, depth): item.path for item in items for depth in depths}


def _name(item: Item, depth: int) -> str:
    """Return the class and the last ``depth`` parts of the path."""
    return "/".join((item.class_name, *item.path.parts[-depth:]))


def domain_items(spec: DatasetSpec, domain: str) -> list[Item]:
    """Return every image of a domain, by class in the dataset's order, then by path.

    A domain is a folder of class folders, with images at any depth, or a list file
    (`uda.data.list_files`). Each line of a list is ``path class-number`` or ``path,class-number``;
    paths are relative to the dataset's root or to the list's folder; class -1 is not known and
    becomes `UNLABELLED`.

    Raises:
        ValueError: The domain, folder or line that the message names is wrong.
    """
    if domain not in spec.domains:
        raise ValueError(f"{spec.title} has no domain {domain!r}; it has {', '.join(spec.domains)}")
    path = spec.root / spec.domains[domain]
    if path.suffix in LIST_SUFFIXES:
        items = _listed_items(spec, path)
    elif path.is_dir():
        items = _folder_items(spec, path)
    else:
        raise ValueError(
            f"{path}: no such folder (domain {domain} of {spec.title}); see data/README.md for "
            f"where the pictures go, or name their folder with {ROOT_FLAGS}"
        )
    if not items:
        raise ValueError(f"{path}: holds no picture of any class of {spec.title}")
    return items


def _folder_items(spec: DatasetSpec, folder: Path) -> list[Item]:
    folders = {name: path for name in spec.classes if (path := folder / name).is_dir()}
    images = images_by_class(folders)
    return [Item(path, name) for name, paths in images.items() for path in paths]


def _listed_items(spec: DatasetSpec, file: Path) -> list[Item]:
    if not file.is_file():
        raise ValueError(f"{file}: no such list file")
    names = {-1: UNLABELLED, **dict(enumerate(spec.classes))}
    rows: list[tuple[str, int]] = []
    for line in read_list(file):
        numbered = [(p, int(label)) for p, label in line.readings if NUMBER.fullmatch(label)]
        row = next((row for row in numbered if row[1] in names), None)
        if row is None:
            raise ValueError(
                f"{file}:{line.number}: expected 'path class-number' or 'path,class-number' with a "
                f"number below {len(spec.classes)}, not {line.text[:80]!r}"
            )
        rows.append(row)
    root = _root_of_paths([path for path, _ in rows], (spec.root, file.parent))
    return [Item(root / path, names[label]) for path, label in rows]


def _root_of_paths(paths: Sequence[str], roots: Sequence[Path]) -> Path:
    """Return the root under which the first path that exists under any exists; else the first.

    Lists that come with other code have paths relative to the list's folder.
    """
    return next((root for path in paths for root in roots if os.path.exists(root / path)), roots[0])
