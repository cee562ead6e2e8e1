"""Datasets as their files under ``configs/datasets`` describe them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uda.config import CONFIGS, read_yaml

YAML_NAMES = {str: "text", dict: "mapping", list: "list"}


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset as ``configs/datasets/*.yaml`` describes it.

    ``domains`` maps a domain's name to its folder (or list file) under ``root``; ``abbreviations``
    to the short name used in a pair's name ("Ar2Cl"); ``classes`` is the dataset's class order;
    ``scenarios`` maps a scenario to half-open index ranges of ``shared``, ``source_private`` and
    ``target_private`` classes. ``folder_names`` are all names that a domain's folder is looked for
    under, the proper one first; ``images`` the numbers of pictures that a whole domain may have;
    ``optional`` the domains that a whole dataset may lack. ``reader``, one of
    `uda.data.archives.READERS`, reads in-domain datasets with parts of their own and finds their
    classes; empty for folders of class folders.
    """

    name: str
    title: str
    root: Path
    domains: Mapping[str, str]
    abbreviations: Mapping[str, str]
    classes: tuple[str, ...]
    scenarios: Mapping[str, Mapping[str, tuple[int, int]]]
    folder_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    reader: str = ""

    def pair_name(self, source: str, target: str) -> str:
        """The pair's name as tables print it, e.g. ``Ar2Cl``."""
        return f"{self.abbreviations[source]}2{self.abbreviations[target]}"


def load_dataset_spec(dataset: str, root: str = "") -> DatasetSpec:
    """Read a dataset's YAML file.

    ``dataset`` is a name under ``configs/datasets`` or a path ending in .yaml; ``root`` overrides
    the folder that the file names, its own where that is empty. Of a domain's several folder names
    the first that is there is taken, or the first of all. Raises ValueError naming the file and the
    key at fault.
    """
    path = Path(dataset)
    if path.suffix not in (".yaml", ".yml"):
        path = CONFIGS / "datasets" / f"{dataset}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (CONFIGS / "datasets").glob("*.yaml")))
        if os.sep in dataset and path.parent != CONFIGS / "datasets":
            raise ValueError(f"data.dataset: no file or folder {dataset}")
        raise ValueError(f"data.dataset: no file {path}; known datasets: {known}")
    raw = read_yaml(path)
    shapes = {
        "title": str,
        "root": str,
        "domains": dict,
        "abbreviations": dict,
        "classes": list,
        "scenarios": dict,
    }
    raw = {"images": {}, "optional": [], "reader": "", **raw}
    shapes |= {"images": dict, "optional": list, "reader": str}
    if unknown := sorted(raw.keys() - shapes.keys()):
        raise ValueError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(sorted(shapes))}")
    for key, shape in shapes.items():
        if key not in raw:
            raise ValueError(f"{path}: the key {key!r} is missing")
        if not isinstance(raw[key], shape):
            raise ValueError(f"{path}: {key}: expected a {YAML_NAMES[shape]}")
    folder_names = {
        name: tuple(folders) if isinstance(folders, list) else (folders,)
        for name, folders in raw["domains"].items()
    }
    folders = [folder for names in folder_names.values() for folder in names]
    texts = {
        "domains": [*folder_names, *folders],
        "abbreviations": [*raw["abbreviations"].keys(), *raw["abbreviations"].values()],
        "classes": raw["classes"],
    }
    for key, values in texts.items():
        # YAML reads an unquoted No as false, and 1 as a number.
        for value in values:
            if not isinstance(value, str):
                raise ValueError(f"{path}: {key}: {value!r} is not text; put it in quotes")
    if empty := [name for name, names in folder_names.items() if not names]:
        raise ValueError(f"{path}: domains.{empty[0]}: expected a folder, or a list of names of it")
    for key in ("images", "optional"):
        if other := [name for name in raw[key] if name not in folder_names]:
            raise ValueError(f"{path}: {key}: {other[0]!r} is not one of the domains")
    if missing := sorted(raw["domains"].keys() - raw["abbreviations"].keys()):
        raise ValueError(f"{path}: abbreviations: {missing[0]!r} has none")
    classes = tuple(raw["classes"])
    if len(set(classes)) != len(classes):
        raise ValueError(f"{path}: classes: a name stands twice")
    if classes and raw["reader"]:
        raise ValueError(f"{path}: classes: leave them empty ([]), as the reader finds them")
    for name, ranges in raw["scenarios"].items():
        if not isinstance(ranges, dict):
            raise ValueError(f"{path}: scenarios.{name}: expected a mapping of class ranges")
    scenarios = {
        name: {part: _class_range(path, name, part, ranges, len(classes)) for part in ranges}
        for name, ranges in raw["scenarios"].items()
    }
    # Files that `uda run` writes name none, and so move with the runs.
    place = Path(root or raw["root"] or path.parent).expanduser()
    return DatasetSpec(
        name=path.stem,
        title=raw["title"],
        root=place,
        domains={
            name: next((folder for folder in names if (place / folder).exists()), names[0])
            for name, names in folder_names.items()
        },
        abbreviations=raw["abbreviations"],
        classes=classes,
        scenarios=scenarios,
        folder_names=folder_names,
        images={name: _counts(path, name, given) for name, given in raw["images"].items()},
        optional=tuple(raw["optional"]),
        reader=raw["reader"],
    )


def _counts(path: Path, domain: str, given: Any) -> tuple[int, ...]:
    counts = given if isinstance(given, list) else [given]
    if not counts or any(type(count) is not int or count < 1 for count in counts):
        raise ValueError(f"{path}: images.{domain}: expected a whole number, or a list of them")
    return tuple(counts)


def _class_range(
    path: Path, scenario: str, part: str, ranges: Mapping[str, Any], count: int
) -> tuple[int, int]:
    where = f"{path}: scenarios.{scenario}.{part}"
    if part not in ("shared", "source_private", "target_private"):
        raise ValueError(f"{where}: must be shared, source_private or target_private")
    if not (isinstance(ranges[part], list) and [type(v) for v in ranges[part]] == [int, int]):
        raise ValueError(f"{where}: expected two whole numbers, [first, one past the last]")
    start, stop = ranges[part]
    if not 0 <= start <= stop <= count:
        raise ValueError(f"{where}: [{start}, {stop}] is not a range within {count} classes")
    return start, stop
