"""Whether a dataset is on disk whole and readable, under the names that its file expects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from genmix_aug.pools import process_map
from uda.data.items import domain_items, is_picture
from uda.data.names import loose, named
from uda.data.near_duplicates import HASH_BYTES, look_at, near_pairs
from uda.data.spec import DatasetSpec

# Bits of 256: rescaled and compressed again, nine in ten pictures stay within 6; of EmojiHome's
# four domains, where every emoji is in each, no two pictures are within 16.
NEAR_BITS = 16
MOST_UNREADABLE = 1_000  # pictures named in a domain


@dataclass(frozen=True)
class DomainCheck:
    """What is there of one domain: pictures by class, and what is wrong.

    ``missing``: classes without a picture. ``other``: folders with pictures that are no class.
    ``unreadable``: pictures and why each cannot be read.
    """

    name: str
    place: Path
    num_images: int = 0
    num_classes: int = 0
    expected: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()
    absent: str = ""

    @property
    def problems(self) -> list[str]:
        """Each a line that names what is wrong; none for a whole domain."""
        if self.absent:
            return [self.absent]
        lines = []
        if self.expected and self.num_images not in self.expected:
            wanted = " or ".join(f"{count:,}" for count in self.expected)
            lines.append(f"{self.num_images:,} images where {wanted} are expected")
        if self.missing:
            lines.append(f"no picture of {named(self.missing)}")
        return lines + [f"cannot be read: {path}: {reason}" for path, reason in self.unreadable]


class NearPair(NamedTuple):
    """Two pictures of two domains that look the same."""

    first: Path
    second: Path


@dataclass(frozen=True)
class DatasetCheck:
    """`DomainCheck` of each domain, and the near-duplicates of each pair of domains."""

    domains: tuple[DomainCheck, ...]
    near: dict[tuple[str, str], list[NearPair]] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """Each a line that names a domain and what is wrong; none for a whole dataset."""
        return [f"{one.name}: {line}" for one in self.domains for line in one.problems]


def check_dataset(spec: DatasetSpec, domains: Sequence[str] = (), workers: int = 1) -> DatasetCheck:
    """Look at every picture of ``domains`` (all, where none is named) in ``workers`` processes.

    A domain that the dataset calls optional may be absent unless it is named. Raises ValueError for
    a domain that the dataset does not have, or fewer workers than one.
    """
    if workers < 1:
        raise ValueError(f"workers: {workers} is not a number of processes (1 or more)")
    if other := [name for name in domains if name not in spec.domains]:
        raise ValueError(
            f"{spec.title} has no domain {other[0]!r}; it has {', '.join(spec.domains)}"
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
            check, paths = _by_name(spec, name)
            looks = list(
                tqdm(
                    run(look_at, paths),
                    desc=name,
                    total=len(paths),
                    unit="img",
                    leave=False,
                    delay=2,
                    disable=None,
                )
            )
            pairs = list(zip(paths, looks, strict=True))
            bad = tuple((path, look.problem) for path, look in pairs if look.problem)
            checks.append(replace(check, unreadable=bad))
            readable[name] = [path for path, look in pairs if not look.problem]
            joined = b"".join(look.hash for look in looks)
            hashes[name] = np.frombuffer(joined, np.uint8).reshape(-1, HASH_BYTES)
    near = {}
    for a, b in combinations([name for name in wanted if readable[name]], 2):
        found = near_pairs(hashes[a], hashes[b], NEAR_BITS)
        near[a, b] = [NearPair(readable[a][i], readable[b][j]) for i, j in found]
    return DatasetCheck(tuple(checks), near)


def _by_name(spec: DatasetSpec, name: str) -> tuple[DomainCheck, list[Path]]:
    """What names and counts say of a domain, and its pictures."""
    place, expected = spec.root / spec.domains[name], spec.images.get(name, ())
    if not place.exists():
        absent = f"no {' or '.join(spec.folder_names[name])} in {spec.root}"
        return DomainCheck(name, place, absent=absent), []
    try:
        items = domain_items(spec, name)
    except ValueError as error:
        return DomainCheck(name, place, absent=str(error)), []
    present = {item.class_name for item in items}
    missing = tuple(one for one in spec.classes if one not in present)
    known = set(spec.classes)
    other = tuple(
        folder.name
        for folder in (sorted(place.iterdir()) if place.is_dir() else ())
        if folder.is_dir() and folder.name not in known and any(map(is_picture, folder.iterdir()))
    )
    check = DomainCheck(name, place, len(items), len(present), expected, missing, other)
    return check, [item.path for item in items]


def fix_names(spec: DatasetSpec, domains: Sequence[str] = ()) -> list[tuple[Path, Path]]:
    """Rename folders of domains, and of classes in them, to the names that the dataset expects.

    A folder is taken for a missing one where its name differs only in case, spaces, hyphens and
    underscores, or is another of the domain's names. Nothing else is touched. Returns what was
    renamed, from and to. ValueError, before anything is renamed, where two folders want one name.
    """
    if not spec.root.is_dir():
        raise ValueError(f"{spec.root}: no such folder; name the domains' folder with --root")
    done: list[tuple[Path, Path]] = []
    for domain in domains or spec.domains:
        names = spec.folder_names[domain]
        top = Path(names[0]).parts[0]
        if top.endswith(".txt"):
            continue
        aliases = [Path(name).parts[0] for name in names]
        done += _rename(spec.root, {top: aliases})
        place = next((spec.root / name for name in names if (spec.root / name).is_dir()), None)
        if place:
            done += _rename(place, {name: [name] for name in spec.classes})
    return done


def _rename(parent: Path, wanted: dict[str, list[str]]) -> list[tuple[Path, Path]]:
    """Give each missing folder of ``wanted`` the name that one of its aliases has loosely."""
    there = {path.name: path for path in sorted(parent.iterdir()) if path.is_dir()}
    renames = []
    for name, aliases in wanted.items():
        if name in there:
            continue
        keys = {loose(alias) for alias in aliases}
        found = [path for own, path in there.items() if loose(own) in keys and own not in wanted]
        if len(found) > 1:
            raise ValueError(
                f"{parent}: both {found[0].name!r} and {found[1].name!r} could be {name!r}; "
                "rename or remove one of them"
            )
        renames += [(path, parent / name) for path in found]
    for old, new in renames:
        os.rename(old, new)
    return renames


def nested_root(spec: DatasetSpec) -> Path | None:
    """The folder in ``spec.root`` that holds the domains, where the root itself holds none."""

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
    """The check in lines for people: a line a domain, what is wrong, near-duplicates, a verdict."""
    lines = []
    for one in check.domains:
        if not one.absent:
            lines.append(
                f"{one.name}: {one.num_images:,} images of {one.num_classes} of "
                f"{len(spec.classes)} classes in {one.place}"
            )
        more = max(len(one.unreadable) - MOST_UNREADABLE, 0)
        lines += [f"  ! {line}" for line in one.problems[: len(one.problems) - more]]
        if more:
            lines.append(f"  ! and {more:,} more that cannot be read")
        if one.other:
            lines.append(f"  passed over, no class of {spec.title}: {named(one.other)}")
        missing = {loose(name) for name in one.missing}
        if any(loose(name) in missing for name in one.other):
            lines.append("  --fix-names renames those whose names are nearly a class's")
    for (a, b), pairs in check.near.items():
        example = f", such as {pairs[0].first} and {pairs[0].second}" if pairs else ""
        lines.append(f"{a} and {b}: {len(pairs)} pairs of near-duplicates{example}")
    if (outer := nested_root(spec)) is not None:
        lines.append(f"The domains are in {outer}: name it with --root")
    elif any(one.absent for one in check.domains):
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
