"""Lists of a dataset's pictures, for LEAD, GLC and other code for universal domain adaptation."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from uda.data.items import domain_items
from uda.data.partition import of_classes
from uda.data.scenarios import class_split
from uda.data.spec import DatasetSpec
from uda.runs.files import atomic_path

LIST_NAME = "image_unida_list.txt"


class WrittenList(NamedTuple):
    """One domain's list: where it is, and how many pictures and classes stand in it."""

    path: Path
    images: int
    classes: int


def export_lists(spec: DatasetSpec, scenario: str) -> tuple[list[WrittenList], dict[str, str]]:
    """Write ``image_unida_list.txt`` into the folder of each domain that is there.

    A line is ``relative/path label``: the path from the domain's folder, and the class's number in
    the dataset's order, in which shared classes come first, then source-private, then
    target-private ones, as the released code expects; of a scenario that is in another order, as
    `uda.data.scenarios` numbers them. (Office-31 under OSDA leaves out 10 to 19, as that code
    does.) Classes outside the scenario are left out. Where white space in the names of folders and
    classes has become ``_`` (``genmix export --replace-spaces``), they are found under those names.

    Returns the lists, and why each domain that has none was passed over. Raises ValueError, before
    anything is written, where no domain is there, a folder has no picture of the scenario, or a
    path has white space in it, at which readers would cut it.
    """
    lists: dict[Path, list[tuple[str, int]]] = {}
    passed_over: dict[str, str] = {}
    for domain in spec.domains:
        found = _as_on_disk(spec, domain)
        place = found.root / found.domains[domain]
        if place.suffix == ".txt":
            passed_over[domain] = f"{place} is a list file already"
        elif not place.is_dir():
            passed_over[domain] = f"{place} is not there"
        else:
            number = _numbers(found, scenario)
            items = of_classes(domain_items(found, domain), tuple(number), str(place))
            lists[place] = [
                (item.path.relative_to(place).as_posix(), number[item.class_name]) for item in items
            ]
    if not lists:
        raise ValueError(f"no domain of {spec.title} to list: {'; '.join(passed_over.values())}")
    _check_paths(lists)
    for place, rows in lists.items():
        text = "".join(f"{path} {label}\n" for path, label in rows)
        with atomic_path(place / LIST_NAME) as temporary:
            temporary.write_bytes(os.fsencode(text))
    written = [
        WrittenList(place / LIST_NAME, len(rows), len({label for _, label in rows}))
        for place, rows in lists.items()
    ]
    return written, passed_over


def _numbers(spec: DatasetSpec, scenario: str) -> dict[str, int]:
    """The number that a list has for each class of the scenario."""
    number = class_split(spec, scenario).number
    places = {name: spec.classes.index(name) for name in number}
    return places if list(places.values()) == sorted(places.values()) else number


def _as_on_disk(spec: DatasetSpec, domain: str) -> DatasetSpec:
    """``spec`` with ``_`` for white space in the folders of ``domain`` that are there only so."""

    def found(folder: Path, name: str, taken: tuple[str, ...]) -> str:
        plain = re.sub(r"\s", "_", name)
        replaced = (folder / plain).exists() and not (folder / name).exists()
        return plain if replaced and plain not in taken else name

    folder = found(spec.root, spec.domains[domain], tuple(spec.domains.values()))
    place = spec.root / folder
    classes = tuple(found(place, name, spec.classes) for name in spec.classes)
    return replace(spec, domains={**spec.domains, domain: folder}, classes=classes)


def _check_paths(lists: dict[Path, list[tuple[str, int]]]) -> None:
    """ValueError naming the first path that has white space in it."""
    spaced = [
        place / path for place, rows in lists.items() for path, _ in rows if re.search(r"\s", path)
    ]
    if spaced:
        raise ValueError(
            f"{spaced[0]}: white space in a path, which lists cannot hold ({len(spaced)} such "
            "pictures): `genmix export --replace-spaces` writes a tree without"
        )
