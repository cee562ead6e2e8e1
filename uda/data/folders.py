"""Anyone's folders of pictures as a dataset: its classes, its scenario, and its YAML file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml
from tqdm import tqdm

from genmix_aug.images import find_images, other_pictures
from uda.compute.distributed import is_main
from uda.config import SCENARIOS, read_yaml
from uda.data.archives import image_folder_parts
from uda.data.names import loose, named
from uda.data.near_duplicates import look_at
from uda.runs.files import atomic_path
from uda.runs.hashing import config_hash

Found = dict[str, list[Path]]  # class name -> its pictures
Pictures = dict[str, dict[Path, bytes]]  # those that can be read -> the hash of the file's bytes
TARGET_LABELS = ("auto", "folders", "none")


class ClassSets(NamedTuple):
    """Class names by who has them; ``renamed``: the target's folder -> the source's name of it."""

    shared: tuple[str, ...]
    source_private: tuple[str, ...]
    target_private: tuple[str, ...]
    renamed: Mapping[str, str]

    @property
    def scenario(self) -> str:
        """opda, osda or pda; pda for equal sets too (closed set), as nothing is unknown there."""
        if not self.target_private:
            return "pda"
        return "opda" if self.source_private else "osda"


@dataclass(frozen=True)
class OwnDataset:
    """Two folders as a dataset that `load_dataset_spec` reads from ``file``.

    ``sets`` is None where the target's labels are not known. ``notes`` are lines for people: what
    was matched and what passed over. ``num_source`` and ``num_target`` count pictures.
    """

    file: Path
    source: str
    target: str
    scenario: str
    sets: ClassSets | None
    num_source: int
    num_target: int
    notes: tuple[str, ...]


class OneFolder(NamedTuple):
    """One folder as a dataset that `load_dataset_spec` reads from ``file``; ``notes`` are lines for
    people: what is there, and what was passed over."""

    file: Path
    domain: str
    notes: tuple[str, ...]


def _check_apart(pictures: Path, folder: Path) -> None:
    """ValueError where what is written into ``folder`` would be among the ``pictures``."""
    if pictures.resolve() in folder.resolve().parents:
        raise ValueError(
            f"--runs: {folder.parent} lies in {pictures}, where the runs' own pictures would be "
            "taken for more of those; name a folder elsewhere"
        )


def one_folder(pictures: Path, folder: Path) -> OneFolder:
    """Write a dataset's YAML file for training in one domain into ``folder``.

    ``pictures`` holds a folder for each class, of pictures at any depth: the file is named after
    their content. Or it holds ``train`` with ``val`` or ``test``, each with a folder for each class
    (`uda.data.archives.image_folder`): the file is named after the place. Raises ValueError naming
    the folder that has too few classes, or parts and no ``train``, and writes nothing then.
    """
    _check_apart(pictures, folder)
    domain, place, notes = _slug(pictures), pictures.resolve(), list[str]()
    spec: dict[str, object] = {"title": domain, "abbreviations": {domain: domain[:16]}}
    parts = image_folder_parts(place)
    if "train" in parts and len(parts) > 1:
        name = f"{domain}-{config_hash({'folder': str(place)})}"
        spec |= {"root": str(place.parent), "domains": {domain: place.name}}
        spec |= {"reader": "image_folder", "classes": []}
    else:
        found = _readable(pictures, _class_folders(pictures, notes), notes)
        if {place / name for name in found} <= {*parts.values()}:
            raise ValueError(
                f"data.dataset: {pictures} holds {named([*found]) or 'no class folders'}; name a "
                "folder with a folder for each class, or with train and val or test of such folders"
            )
        if len(found) < 2:
            raise ValueError(
                f"data.dataset: {pictures} has {len(found)} class folders with pictures; name the "
                "folder that holds a folder for each class"
            )
        content = _content_hash(pictures, found)
        name = f"{domain}-{content}"
        spec |= {"root": "", "domains": {domain: f"{name}/{domain}.txt"}}
        spec |= {"classes": list(found)}
        _write_list(folder / name / f"{domain}.txt", found, list(found))
        count = sum(map(len, found.values()))
        notes.append(f"{pictures}: {count:,} pictures of {len(found)} classes ({named([*found])})")
    file = folder / f"{name}.yaml"
    _write_yaml(file, {**spec, "scenarios": {}})
    return OneFolder(file, domain, tuple(notes))


def own_dataset(
    source: Path,
    target: Path,
    target_labels: str,
    folder: Path,
    scenario: str = "",
    fewest: int = 0,
) -> OwnDataset:
    """Read both folders and write a dataset's YAML file and list files into ``folder``.

    ``source`` holds a folder for each class, of pictures at any depth. ``target_labels``:
    "folders" reads ``target`` likewise, "none" takes it for pictures of unknown classes however
    they lie, "auto" is the first where one class at least is the source's too, otherwise the
    second. ``scenario`` decides for a target without labels (empty: opda).

    The file is named after the source's content and the classes; other targets of the same classes
    join it, so that one source model serves them all. Raises ValueError naming the folder, class or
    file at fault, or a target of fewer pictures than ``fewest``, and writes nothing then.
    """
    if target_labels not in TARGET_LABELS:
        raise ValueError(
            f"--target-labels: {target_labels!r} is not one of {', '.join(TARGET_LABELS)}"
        )
    _check_apart(source, folder)
    _check_apart(target, folder)
    notes: list[str] = []
    ours = _readable(source, _class_folders(source, notes), notes)
    if len(ours) < 2:
        raise ValueError(
            f"--source: {source} has {len(ours)} class folders with pictures; name the folder that "
            "holds a folder for each class"
        )
    if taken := [name for name in ours if name.casefold() == "unknown"]:
        raise ValueError(
            f"--source: a class called {taken[0]!r} could not be told from what answers call "
            "unknown; rename its folder"
        )
    _by_loose_name(tuple(ours))
    theirs, sets = _target(source, target, target_labels, ours, notes)
    if (count := sum(map(len, theirs.values()))) < fewest:
        raise ValueError(
            f"--target: {target} has {count} pictures, too few to adapt to (at least {fewest}); "
            "--adapt.method source_only answers without adapting"
        )
    classes, scenarios = _label_sets(tuple(ours), sets)
    chosen = _chosen_scenario(sets, scenario)
    content = _content_hash(source, ours)
    identity = {"source": content, "classes": classes, "scenarios": scenarios}
    from_name, to_name = _slug(source), _slug(target)
    name = f"{from_name}-{config_hash(identity)}"
    target_hash = _content_hash(target, theirs)
    to_domain = f"{to_name}-{target_hash}"
    lists = {from_name: ours, to_domain: theirs}
    for domain, pictures in lists.items():
        _write_list(folder / name / f"{domain}.txt", pictures, classes)
    file = folder / f"{name}.yaml"
    there = read_yaml(file) if file.is_file() else {"domains": {}, "abbreviations": {}}
    spec = {
        "title": from_name,
        "root": "",
        "domains": {**there["domains"], **{one: f"{name}/{one}.txt" for one in lists}},
        "abbreviations": {
            **there["abbreviations"],
            from_name: from_name[:16],
            to_domain: _short_name(to_name, to_domain, target_hash, there["abbreviations"]),
        },
        "scenarios": scenarios,
        "classes": list(classes),
    }
    _write_yaml(file, spec)
    num_ours, num_theirs = (sum(map(len, pictures.values())) for pictures in lists.values())
    return OwnDataset(file, from_name, to_domain, chosen, sets, num_ours, num_theirs, tuple(notes))


def _write_list(path: Path, pictures: Pictures, classes: Sequence[str]) -> None:
    """``picture class-number`` a line; -1 for those that are of none of ``classes``."""
    number = {name: place for place, name in enumerate(classes)}
    lines = [
        f"{_listable(picture)} {number.get(label, -1)}\n"
        for label, own in pictures.items()
        for picture in own
    ]
    with atomic_path(path) as temporary:
        temporary.write_bytes(os.fsencode("".join(lines)))


def _write_yaml(file: Path, spec: Mapping[str, object]) -> None:
    with atomic_path(file) as temporary:
        temporary.write_text(yaml.safe_dump(dict(spec), sort_keys=False))


def _short_name(name: str, domain: str, content: str, given: Mapping[str, str]) -> str:
    """What tables call the target: its folder's name, and of a folder that has changed, or another
    one of that name, a part of its content's hash, too."""
    if domain in given:
        return given[domain]
    short = name[:16]
    return short if short not in given.values() else f"{short}-{content[:4]}"


def match_classes(ours: Sequence[str], theirs: Sequence[str]) -> ClassSets:
    """Which classes are in both, by names that may differ in case, spaces, hyphens, underscores.

    Shared classes bear the source's name. ValueError where two names of one side would be one.
    """
    keys = {side: _by_loose_name(names) for side, names in (("source", ours), ("target", theirs))}
    in_source, in_target = keys["source"], keys["target"]
    shared = tuple(name for key, name in in_source.items() if key in in_target)
    source_private = tuple(name for key, name in in_source.items() if key not in in_target)
    target_private = tuple(name for key, name in in_target.items() if key not in in_source)
    renamed = {name: in_source[key] for key, name in in_target.items() if key in in_source}
    return ClassSets(shared, source_private, target_private, renamed)


def _by_loose_name(names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(loose(name), name)
        if other != name:
            raise ValueError(
                f"class folders {other!r} and {name!r} would be one class: rename or merge them"
            )
    return found


def _class_folders(folder: Path, notes: list[str]) -> Found:
    """Pictures below each folder of ``folder``; under the name "" those that lie in itself."""
    found: Found = {}
    if others := other_pictures(folder):
        notes.append(f"Passed over in {folder}: {others}, whose format is not read: convert them")
    for path in find_images(folder):
        parts = path.relative_to(folder).parts
        found.setdefault(parts[0] if len(parts) > 1 else "", []).append(path)
    return found


def _readable(folder: Path, found: Found, notes: list[str], flat: bool = False) -> Pictures:
    """Those of ``folder`` that can be read; of what is passed over, ``notes`` tell. ``flat`` keeps
    those that lie in no class's folder."""
    paths = [path for own in found.values() for path in own]
    with ThreadPoolExecutor(max_workers=4) as pool:
        looks = tqdm(
            pool.map(look_at, paths),
            f"looking through {folder.name}",
            len(paths),
            unit="img",
            leave=False,
            delay=2,
            disable=None if is_main() else True,
        )
        seen = dict(zip(paths, looks, strict=True))
    notes += [
        f"Passed over, cannot be read: {path} ({look.problem})"
        for path, look in seen.items()
        if look.problem
    ]
    kept = {
        name: good
        for name, own in found.items()
        if (good := {path: seen[path].content for path in own if not seen[path].problem})
    }
    if not flat and (loose_ones := kept.pop("", None)):
        notes.append(
            f"Passed over, in no class's folder: {named([str(path) for path in loose_ones], 2)}"
        )
    return kept


def _target(
    source: Path, target: Path, labels: str, ours: Pictures, notes: list[str]
) -> tuple[Pictures, ClassSets | None]:
    """The target's pictures by class (all under "" without labels), and the class sets."""
    ours_at, theirs_at = source.resolve(), target.resolve()
    if ours_at == theirs_at:
        raise ValueError(f"--target: {target} is the source too; name another folder")
    if ours_at in theirs_at.parents or theirs_at in ours_at.parents:
        raise ValueError(
            f"--target: of {source} and {target} one lies in the other, whose pictures would be in "
            "both; move one of them"
        )
    found = _class_folders(target, notes)
    folders = [name for name in found if name]
    if labels != "none" and {*map(loose, ours)} & {*map(loose, folders)}:
        theirs = _readable(target, found, notes)
        sets = match_classes(list(ours), list(theirs))
        notes += [
            f"Matched: the target's {name!r} is the source's {own!r}"
            for name, own in sets.renamed.items()
            if name != own
        ]
        return {sets.renamed.get(name, name): own for name, own in theirs.items()}, sets
    if labels == "folders":
        raise ValueError(
            f"--target: no folder in {target} is named like a class of the source "
            f"({named(list(ours), 3)}); without labels, say --target-labels none"
        )
    if folders and labels == "auto":
        notes.append(
            f"The target's folders ({named(folders, 3)}) are not named like the source's classes: "
            "its labels are taken to be unknown"
        )
    everything = {"": [path for paths in found.values() for path in paths]}
    theirs = _readable(target, everything, notes, flat=True)
    if not theirs:
        raise ValueError(f"--target: no picture in {target} can be read")
    return theirs, None


def _label_sets(
    ours: tuple[str, ...], sets: ClassSets | None
) -> tuple[tuple[str, ...], dict[str, dict[str, list[int]]]]:
    """The class order and each scenario's ranges in it, as a dataset's file has them."""
    if sets is None:
        return ours, {name: {"shared": [0, len(ours)]} for name in SCENARIOS}
    shared, source = len(sets.shared), len(ours)
    classes = sets.shared + sets.source_private + sets.target_private
    ranges = {"shared": [0, shared]}
    if sets.source_private:
        ranges["source_private"] = [shared, source]
    if sets.target_private:
        ranges["target_private"] = [source, len(classes)]
    return classes, {sets.scenario: ranges}


def _chosen_scenario(sets: ClassSets | None, wanted: str) -> str:
    if sets is None:
        return wanted or "opda"
    if wanted not in ("", sets.scenario):
        raise ValueError(
            f"--data.scenario: {wanted}, but the folders' classes are {sets.scenario}; leave it out"
        )
    return sets.scenario


def _content_hash(folder: Path, pictures: Pictures) -> str:
    """Eight hexadecimal digits that stand for the pictures' names in ``folder`` and their bytes."""
    digest = hashlib.blake2b(digest_size=4)
    for path, content in sorted(item for own in pictures.values() for item in own.items()):
        name = os.fsencode(path.relative_to(folder).as_posix())
        digest.update(hashlib.blake2b(name).digest())
        digest.update(content)
    return digest.hexdigest()


def _slug(folder: Path) -> str:
    """The folder's name with what files and tables do not take replaced by ``_``."""
    return re.sub(r"[^\w-]+", "_", folder.resolve().name).strip("_") or "pictures"


def _listable(path: Path) -> str:
    """The absolute path, as a list can hold it. ValueError for a line break in it."""
    text = os.path.abspath(path)
    if "\n" in text or text != text.strip():
        raise ValueError(f"{text!r}: a line break or outer white space in a path; rename it")
    return text
