"""Dataset descriptions, as the files under ``configs/datasets`` state them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uda.config import CONFIGS, read_yaml

# The keys of a dataset's file and their types; those with a default may be left out.
KEYS = {
    "title": str,
    "root": str,
    "domains": dict,
    "abbreviations": dict,
    "classes": list,
    "scenarios": dict,
    "images": dict,
    "optional": list,
    "reader": str,
}
DEFAULTS: dict[str, Any] = {"images": {}, "optional": [], "reader": ""}
YAML_NAMES = {str: "text", dict: "mapping", list: "list"}
PARTS = ("shared", "source_private", "target_private")


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset as ``configs/datasets/*.yaml`` describes it.

    Attributes:
        name: The file's name without its suffix.
        title: The name in tables and messages.
        root: Folder that holds the domains.
        domains: Domain name -> its folder or list file, relative to ``root``.
        abbreviations: Domain name -> the short name in a pair's name ("Ar2Cl").
        classes: Class names in the dataset's order; empty where a ``reader`` lists them.
        scenarios: Scenario -> half-open index ranges of the ``shared``, ``source_private`` and
            ``target_private`` classes.
        folder_names: Domain name -> every folder name that it may have, the preferred first.
        images: Domain name -> the numbers of images that a complete domain may have.
        optional: Domains that a complete dataset may lack.
        reader: Key of `uda.data.archives.READERS`, which reads an in-domain dataset with official
            parts; empty for folders of class folders.
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
        """Return the pair's name as tables print it, e.g. ``Ar2Cl``."""
        return f"{self.abbreviations[source]}2{self.abbreviations[target]}"


def load_dataset_spec(dataset: str, root: str = "") -> DatasetSpec:
    """Read and check a dataset's YAML file.

    Args:
        dataset: A name under ``configs/datasets``, or a path that ends in .yaml.
        root: Folder of the domains, instead of the file's ``root``. Where both are empty, it is the
            folder of the file itself.

    Returns:
        The dataset, each domain in the first of its folder names that exists, else the first.

    Raises:
        ValueError: The file is missing or wrong; names the file and the key at fault.
    """
    path = _spec_file(dataset)
    raw = {**DEFAULTS, **read_yaml(path)}
    _check_keys(path, raw)
    folder_names = {
        domain: tuple(names) if isinstance(names, list) else (names,)
        for domain, names in raw["domains"].items()
    }
    _check_texts(path, raw, folder_names)
    folder_names = {
        domain: tuple(map(os.path.expanduser, names)) for domain, names in folder_names.items()
    }
    _check_domains(path, raw, folder_names)
    _check_classes(path, raw)
    # `uda run` writes files without a root, so that they can move together with the runs.
    folder = Path(os.path.expanduser(root or raw["root"] or path.parent))
    return DatasetSpec(
        name=path.stem,
        title=raw["title"],
        root=folder,
        domains={
            domain: next((name for name in names if (folder / name).exists()), names[0])
            for domain, names in folder_names.items()
        },
        abbreviations=raw["abbreviations"],
        classes=tuple(raw["classes"]),
        scenarios=_scenarios(path, raw["scenarios"], len(raw["classes"])),
        folder_names=folder_names,
        images={domain: _counts(path, domain, value) for domain, value in raw["images"].items()},
        optional=tuple(raw["optional"]),
        reader=raw["reader"],
    )


def _spec_file(dataset: str) -> Path:
    path = Path(dataset)
    if path.suffix not in (".yaml", ".yml"):
        path = CONFIGS / "datasets" / f"{dataset}.yaml"
    if path.is_file():
        return path
    if os.sep in dataset and path.parent != CONFIGS / "datasets":
        raise ValueError(f"data.dataset: no file or folder {dataset}")
    known = ", ".join(sorted(p.stem for p in (CONFIGS / "datasets").glob("*.yaml")))
    raise ValueError(f"data.dataset: no file {path}; known datasets: {known}")


def _check_keys(path: Path, raw: Mapping[str, Any]) -> None:
    if unknown := sorted(raw.keys() - KEYS.keys(), key=str):
        raise ValueError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(sorted(KEYS))}")
    for key, kind in KEYS.items():
        if key not in raw:
            raise ValueError(f"{path}: the key {key!r} is missing")
        if not isinstance(raw[key], kind):
            raise ValueError(f"{path}: {key}: expected a {YAML_NAMES[kind]}")


def _check_texts(
    path: Path, raw: Mapping[str, Any], folder_names: Mapping[str, tuple[str, ...]]
) -> None:
    texts = {
        "domains": [*folder_names, *(name for names in folder_names.values() for name in names)],
        "abbreviations": [*raw["abbreviations"].keys(), *raw["abbreviations"].values()],
        "classes": raw["classes"],
        "optional": raw["optional"],
        "scenarios": list(raw["scenarios"]),
    }
    for key, values in texts.items():
        # YAML reads an unquoted No as false, and 1 as a number.
        for value in values:
            if not isinstance(value, str):
                raise ValueError(f"{path}: {key}: {value!r} is not text; put it in quotes")


def _check_domains(
    path: Path, raw: Mapping[str, Any], folder_names: Mapping[str, tuple[str, ...]]
) -> None:
    if empty := [domain for domain, names in folder_names.items() if not names]:
        raise ValueError(f"{path}: domains.{empty[0]}: expected a folder, or a list of names of it")
    for key in ("images", "optional"):
        if unknown := [domain for domain in raw[key] if domain not in folder_names]:
            raise ValueError(f"{path}: {key}: {unknown[0]!r} is not one of the domains")
    if missing := sorted(raw["domains"].keys() - raw["abbreviations"].keys()):
        raise ValueError(f"{path}: abbreviations: {missing[0]!r} has none")


def _check_classes(path: Path, raw: Mapping[str, Any]) -> None:
    if len(set(raw["classes"])) != len(raw["classes"]):
        raise ValueError(f"{path}: classes: a name stands twice")
    if raw["classes"] and raw["reader"]:
        raise ValueError(f"{path}: classes: leave them empty ([]), as the reader finds them")


def _scenarios(
    path: Path, scenarios: Mapping[str, Any], num_classes: int
) -> dict[str, dict[str, tuple[int, int]]]:
    for scenario, ranges in scenarios.items():
        if not isinstance(ranges, dict):
            raise ValueError(f"{path}: scenarios.{scenario}: expected a mapping of class ranges")
    return {
        scenario: {
            part: _class_range(f"{path}: scenarios.{scenario}.{part}", part, value, num_classes)
            for part, value in ranges.items()
        }
        for scenario, ranges in scenarios.items()
    }


def _class_range(where: str, part: str, value: Any, num_classes: int) -> tuple[int, int]:
    if part not in PARTS:
        raise ValueError(f"{where}: must be shared, source_private or target_private")
    if not (isinstance(value, list) and [type(v) for v in value] == [int, int]):
        raise ValueError(f"{where}: expected two whole numbers, [first, one past the last]")
    start, stop = value
    if not 0 <= start <= stop <= num_classes:
        raise ValueError(f"{where}: [{start}, {stop}] is not a range within {num_classes} classes")
    return start, stop


def _counts(path: Path, domain: str, value: Any) -> tuple[int, ...]:
    counts = value if isinstance(value, list) else [value]
    if not counts or any(type(count) is not int or count < 1 for count in counts):
        raise ValueError(f"{path}: images.{domain}: expected a whole number, or a list of them")
    return tuple(counts)
