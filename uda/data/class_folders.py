"""Folders of classes: the pictures of each, and those that belong to none."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from genmix_aug.images import entries_in, images_below, is_image
from uda.data.names import join_names, normalised_name


def class_folders(folder: Path) -> dict[str, Path]:
    """Return the folders in ``folder`` by name, sorted, without hidden and systems' ones.

    Raises:
        ValueError: As `genmix_aug.images.images_below`.
    """
    return {entry.name: folder / entry.name for entry in entries_in(folder) if entry.is_dir()}


def image_folder_parts(folder: Path) -> dict[str, Path]:
    """Return the folders train, val and test in ``folder``, those that exist."""
    names = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
    return {
        part: folder / name
        for part, known in names.items()
        for name in known[::-1]
        if (folder / name).is_dir()
    }


def images_by_class(folders: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Return the images below the folder of each class, sorted by path; some may have none.

    Raises:
        ValueError: Two classes share a folder by a link; and as `genmix_aug.images.images_below`.
    """
    images = {name: images_below(folder) for name, folder in folders.items()}
    owners: dict[str, str] = {}
    for name, paths in images.items():
        for parent in {os.path.dirname(path) for path in paths}:
            other = owners.setdefault(os.path.realpath(parent), name)
            if other != name:
                raise ValueError(
                    f"{parent}: its pictures are those of the class {other!r}, too; remove one of "
                    "the links"
                )
    return images


def check_near_names(folder: Path, classes: Sequence[str]) -> None:
    """Refuse a class without a folder where another folder has nearly its name (``Dog`` for dog).

    Raises:
        ValueError: Names the first such folder, and how to rename all.
    """
    others = class_folders(folder)
    missing = {normalised_name(name): name for name in classes if name not in others}
    for other in others.keys() - {*classes}:
        if name := missing.get(normalised_name(other)):
            raise ValueError(
                f"{folder / other}: would be left out, as the class is called {name!r}: rename it "
                "(uda data check DATASET --fix-names renames all such folders)"
            )


def left_out(folder: Path, classes: Collection[str]) -> list[str]:
    """Return a line on the pictures in ``folder`` that no class has: how many, and some names.

    Args:
        folder: Of a domain, or of a part of it.
        classes: The names of the class folders in it.
    """
    images: list[Path] = []
    for entry in entries_in(folder):
        path = folder / entry.name
        if not entry.is_dir():
            images += [path] if is_image(entry.name) else []
        elif entry.name not in classes:
            images += images_below(path)
    if not images:
        return []
    names = join_names([str(path.relative_to(folder)) for path in images], 3)
    count = f"{len(images):,} pictures" if len(images) > 1 else "a picture"
    return [f"Passed over in {folder}: {count} in no class's folder ({names})"]
