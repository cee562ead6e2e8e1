"""Checks that a dataset on disk is complete, readable and named as its description expects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genmix_aug.images import images_below
from genmix_aug.pools import process_map
from genmix_aug.progress import show_progress
from uda.data.class_folders import class_folders
from uda.data.items import domain_items
from uda.data.list_files import LIST_SUFFIXES
from uda.data.names import join_names, normalised_name
from uda.data.near_duplicates import HASH_BYTES, hash_image, near_pairs
from uda.data.spec import DatasetSpec
from uda.runs.files import writing

# Bits of 256. Nine in ten images stay within 6 when rescaled and compressed again; no two images of
# EmojiHome's four domains, which draw the same emoji, are within 16.
NEAR_BITS = 16
MOST_UNREADABLE = 1_000  # images listed for a domain


@dataclass(frozen=True)
class DomainCheck:
    """Counts and faults of a domain.

    Attributes:
        path: Its folder or list file.
        expected: The numbers of images that a complete domain may have; empty for any.
        missing: Classes without an image.
        other: Folders with images whose name is not a class.
        unreadable: Images that cannot be read, and why.
        absent: Why the whole domain cannot be read; empty where it can.
    """

    name: str
    path: Path
    num_images: int = 0
    num_classes: int = 0
    expected: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()
    absent: str = ""

    @property
    def problems(self) -> list[str]:
        """A line for each fault; empty for a complete domain."""
        if self.absent:
            return [self.absent]
        lines = []
        if self.expected and self.num_images not in self.expected:
            wanted = " or ".join(f"{count:,}" for count in self.expected)
            lines.append(f"{self.num_images:,} images where {wanted} are expected")
        if self.missing:
            lines.append(f"no picture of {join_names(self.missing)}")
        return lines + [f"cannot be read: {path}: {reason}" for path, reason in self.unreadable]


class NearPair(NamedTuple):
    """Two images of two domains that look the same."""

    first: Path
    second: Path


@dataclass(frozen=True)
class DatasetCheck:
    """A `DomainCheck` of each domain, and the near-duplicates of each pair of domains."""

    domains: tuple[DomainCheck, ...]
    near: dict[tuple[str, str], list[NearPair]] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """A line for each fault, with the domain's name; empty for a complete dataset."""
        return [f"{domain.name}: {line}" for domain in self.domains for line in domain.problems]


def check_dataset(spec: DatasetSpec, domains: Sequence[str] = (), workers: int = 1) -> DatasetCheck:
    """Decode every image of a dataset, and compare the domains with each other.

    Args:
        domains: Domains to check; by default all, without the optional ones that are absent.
        workers: Processes that decode.

    Raises:
        ValueError: The dataset lacks a domain, or ``workers`` is less than 1.
    """
    if workers < 1:
        raise ValueError(f"workers: {workers} is not a number of processes (1 or more)")
    if unknown := [name for name in domains if name not in spec.domains]:
        raise ValueError(
            f"{spec.title} has no domain {unknown[0]!r}; it has {', '.join(spec.domains)}"
        )
    wanted = domains or [
        name
        for name in spec.domains
        if name not in spec.optional or (spec.root / spec.domains[name]).exists()
    ]
    checks: list[DomainCheck] = []
    readable: dict[str, list[Path]] = {}
    hashes: dict[str, NDArray[np.uint8]] = {}
    with process_map(workers, "looks at pictures", chunk=32) as run:
        for name in wanted:
            check, paths = _check_names(spec, name)
            hashed = run(hash_image, paths)
            bar = show_progress(
                hashed, desc=name, total=len(paths), unit="img", leave=False, delay=2
            )
            results = list(zip(paths, bar, strict=True))
            bad = tuple((path, result.problem) for path, result in results if result.problem)
            checks.append(replace(check, unreadable=bad))
            readable[name] = [path for path, result in results if not result.problem]
            joined = b"".join(result.perceptual for _, result in results)
            hashes[name] = np.frombuffer(joined, np.uint8).reshape(-1, HASH_BYTES)
    near = {}
    for a, b in combinations([name for name in wanted if readable[name]], 2):
        pairs = near_pairs(hashes[a], hashes[b], NEAR_BITS)
        near[a, b] = [NearPair(readable[a][i], readable[b][j]) for i, j in pairs]
    return DatasetCheck(tuple(checks), near)


def _check_names(spec: DatasetSpec, domain: str) -> tuple[DomainCheck, list[Path]]:
    """Check names and counts of a domain without opening its images; also list those."""
    path, expected = spec.root / spec.domains[domain], spec.images.get(domain, ())
    if not path.exists():
        absent = f"no {' or '.join(spec.folder_names[domain])} in {spec.root}"
        return DomainCheck(domain, path, absent=absent), []
    try:
        items = domain_items(spec, domain)
        folders = class_folders(path) if path.is_dir() else {}
    except ValueError as error:
        return DomainCheck(domain, path, absent=str(error)), []
    present = {item.class_name for item in items}
    missing = tuple(name for name in spec.classes if name not in present)
    known = set(spec.classes)
    other = tuple(
        name for name, folder in folders.items() if name not in known and images_below(folder)
    )
    check = DomainCheck(domain, path, len(items), len(present), expected, missing, other)
    return check, [item.path for item in items]


def fix_names(spec: DatasetSpec, domains: Sequence[str] = ()) -> list[tuple[Path, Path]]:
    """Rename folders of domains and classes to the names that the dataset expects.

    A folder gets a missing name if its name differs from it only in case, spaces, hyphens and
    underscores, or is another of the domain's names. Nothing else is touched.

    Returns:
        The renamed folders: old and new path.

    Raises:
        ValueError: Two folders want the same name; nothing is renamed then.
    """
    if not spec.root.is_dir():
        raise ValueError(f"{spec.root}: no such folder; name the domains' folder with --root")
    renamed: list[tuple[Path, Path]] = []
    for domain in domains or spec.domains:
        names = spec.folder_names[domain]
        top = Path(names[0]).parts[0]
        if top.endswith(LIST_SUFFIXES):
            continue
        renamed += _rename(spec.root, {top: [Path(name).parts[0] for name in names]})
        folder = next((spec.root / name for name in names if (spec.root / name).is_dir()), None)
        if folder:
            renamed += _rename(folder, {name: [name] for name in spec.classes})
    return renamed


def _rename(parent: Path, wanted: dict[str, list[str]]) -> list[tuple[Path, Path]]:
    """Rename folders in ``parent`` to missing names; ``wanted`` maps each name to its aliases."""
    present = {path.name: path for path in sorted(parent.iterdir()) if path.is_dir()}
    renames = []
    for name, aliases in wanted.items():
        if name in present:
            continue
        keys = {normalised_name(alias) for alias in aliases}
        matches = [
            path
            for folder, path in present.items()
            if normalised_name(folder) in keys and folder not in wanted
        ]
        if len(matches) > 1:
            raise ValueError(
                f"{parent}: both {matches[0].name!r} and {matches[1].name!r} could be {name!r}; "
                "rename or remove one of them"
            )
        renames += [(path, parent / name) for path in matches]
    for old, new in renames:
        with writing(new, old):
            os.rename(old, new)
    return renames


def nested_root(spec: DatasetSpec) -> Path | None:
    """Return the folder in ``spec.root`` that holds the domains, if the root itself holds none."""

    def holds(folder: Path) -> bool:
        return any(
            (folder / name).is_dir() for names in spec.folder_names.values() for name in names
        )

    if not spec.root.is_dir() or holds(spec.root):
        return None
    return next(
        (path for path in sorted(spec.root.iterdir()) if path.is_dir() and holds(path)), None
    )


def describe(spec: DatasetSpec, check: DatasetCheck) -> list[str]:
    """Return the check as lines to print: domains, faults, near-duplicates and a verdict."""
    lines = [line for domain in check.domains for line in _describe_domain(spec, domain)]
    for (a, b), pairs in check.near.items():
        example = f", such as {pairs[0].first} and {pairs[0].second}" if pairs else ""
        lines.append(f"{a} and {b}: {len(pairs)} pairs of near-duplicates{example}")
    if (outer := nested_root(spec)) is not None:
        lines.append(f"The domains are in {outer}: name it with --root")
    elif any(domain.absent for domain in check.domains):
        lines.append(
            "data/README.md says where the pictures go; --root names another folder, --fix-names "
            "renames folders of nearly the right name"
        )
    count = len(check.problems)
    lines.append(
        f"NOT WHOLE: {spec.title} has {count} {'problem' if count == 1 else 'problems'}"
        if count
        else f"WHOLE: {spec.title}, {len(check.domains)} domains as expected"
    )
    return lines


def _describe_domain(spec: DatasetSpec, check: DomainCheck) -> list[str]:
    lines = []
    if not check.absent:
        lines.append(
            f"{check.name}: {check.num_images:,} images of {check.num_classes} of "
            f"{len(spec.classes)} classes in {check.path}"
        )
    more = max(len(check.unreadable) - MOST_UNREADABLE, 0)
    lines += [f"  ! {line}" for line in check.problems[: len(check.problems) - more]]
    if more:
        lines.append(f"  ! and {more:,} more that cannot be read")
    if check.other:
        lines.append(f"  passed over, no class of {spec.title}: {join_names(check.other)}")
    missing = {normalised_name(name) for name in check.missing}
    if any(normalised_name(name) in missing for name in check.other):
        lines.append("  --fix-names renames those whose names are nearly a class's")
    return lines
