"""Lists of a dataset's images, for LEAD, GLC and other code for universal domain adaptation."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from uda.data.items import domain_items
from uda.data.list_files import LIST_SUFFIXES
from uda.data.partition import of_classes
from uda.data.scenarios import class_split
from uda.data.spec import DatasetSpec
from uda.runs.files import write_text

LIST_NAME = "image_unida_list.txt"
Rows = list[tuple[str, int]]  # path relative to the domain's folder, label


class WrittenList(NamedTuple):
    """A domain's list file, and how many images and classes it has."""

    path: Path
    images: int
    classes: int


def export_lists(spec: DatasetSpec, scenario: str) -> tuple[list[WrittenList], dict[str, str]]:
    """Write ``image_unida_list.txt`` into the folder of each domain that exists.

    A line is ``relative/path label``. Labels are class numbers in the dataset's order, in which
    shared classes come first, then source-private, then target-private ones, as the released code
    expects; where a scenario has another order, labels are those of `uda.data.scenarios`. (Under
    OSDA, Office-31 leaves out 10 to 19, as that code does.) Classes outside the scenario are left
    out. Folders and classes in whose names ``_`` replaces white space (``genmix export
    --replace-spaces``) are recognised.

    Returns:
        The lists, and for each domain without a list the reason.

    Raises:
        ValueError: No domain exists, a folder has no image of the scenario, or a path has white
            space, at which readers would cut it. Nothing is written then.
    """
    lists: dict[Path, Rows] = {}
    skipped: dict[str, str] = {}
    for domain in spec.domains:
        actual = _as_on_disk(spec, domain)
        folder = actual.root / actual.domains[domain]
        if folder.suffix in LIST_SUFFIXES:
            skipped[domain] = f"{folder} is a list file already"
        elif not folder.is_dir():
            skipped[domain] = f"{folder} is not there"
        else:
            lists[folder] = _rows(actual, domain, scenario)
    if not lists:
        raise ValueError(f"no domain of {spec.title} to list: {'; '.join(skipped.values())}")
    _check_paths(lists)
    for folder, rows in lists.items():
        text = "".join(f"{path} {label}\n" for path, label in rows)
        write_text(folder / LIST_NAME, text, errors="surrogateescape")
    written = [
        WrittenList(folder / LIST_NAME, len(rows), len({label for _, label in rows}))
        for folder, rows in lists.items()
    ]
    return written, skipped


def _rows(spec: DatasetSpec, domain: str, scenario: str) -> Rows:
    folder, number = spec.root / spec.domains[domain], _numbers(spec, scenario)
    items = of_classes(domain_items(spec, domain), tuple(number), str(folder))
    return [(item.path.relative_to(folder).as_posix(), number[item.class_name]) for item in items]


def _numbers(spec: DatasetSpec, scenario: str) -> dict[str, int]:
    """Return the label of each class of the scenario."""
    number = class_split(spec, scenario).number
    indices = {name: spec.classes.index(name) for name in number}
    return indices if list(indices.values()) == sorted(indices.values()) else number


def _as_on_disk(spec: DatasetSpec, domain: str) -> DatasetSpec:
    """Return ``spec`` with the names on disk, which may have ``_`` for white space."""

    def actual_name(folder: Path, name: str, taken: tuple[str, ...]) -> str:
        plain = re.sub(r"\s", "_", name)
        replaced = (folder / plain).exists() and not (folder / name).exists()
        return plain if replaced and plain not in taken else name

    folder = actual_name(spec.root, spec.domains[domain], tuple(spec.domains.values()))
    classes = tuple(actual_name(spec.root / folder, name, spec.classes) for name in spec.classes)
    return replace(spec, domains={**spec.domains, domain: folder}, classes=classes)


def _check_paths(lists: dict[Path, Rows]) -> None:
    spaced = [
        folder / path
        for folder, rows in lists.items()
        for path, _ in rows
        if re.search(r"\s", path)
    ]
    if spaced:
        raise ValueError(
            f"{spaced[0]}: white space in a path, which lists cannot hold ({len(spaced)} such "
            "pictures): `genmix export --replace-spaces` writes a tree without"
        )
