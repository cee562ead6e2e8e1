"""Anyone's folders of images as a dataset: its classes, its scenario, and its YAML file."""

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

from genmix_aug.images import find_images, other_pictures
from genmix_aug.progress import show_progress
from uda.compute.distributed import is_main
from uda.config import SCENARIOS, read_yaml
from uda.data.class_folders import class_folders, image_folder_parts, images_by_class
from uda.data.names import join_names, normalised_name, shortened
from uda.data.near_duplicates import hash_image
from uda.runs.files import locked_for_change, write_text
from uda.runs.hashing import config_hash

ClassFiles = dict[str, list[Path]]  # class name -> its image files; "" for those in no class
ClassImages = dict[str, dict[Path, bytes]]  # those that can be read -> the hash of the file's bytes
TARGET_LABELS = ("auto", "folders", "none")


class ClassSets(NamedTuple):
    """Class names by role; ``renamed`` maps the target's folder names to the source's."""

    shared: tuple[str, ...]
    source_private: tuple[str, ...]
    target_private: tuple[str, ...]
    renamed: Mapping[str, str]

    @property
    def scenario(self) -> str:
        """``opda``, ``osda`` or ``pda``; also ``pda`` for equal sets, where nothing is unknown."""
        if not self.target_private:
            return "pda"
        return "opda" if self.source_private else "osda"


@dataclass(frozen=True)
class FolderPair:
    """Two folders as a dataset, written to ``file`` for `load_dataset_spec`.

    Attributes:
        source, target: Names of the domains.
        sets: The classes of both, or None where the target's labels are not known.
        num_source, num_target: Numbers of images.
        notes: Lines to print: which names were matched, which files skipped.
    """

    file: Path
    source: str
    target: str
    scenario: str
    sets: ClassSets | None
    num_source: int
    num_target: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ImageFolder:
    """The readable images of a folder, by class."""

    path: Path
    classes: ClassImages

    @property
    def name(self) -> str:
        """The folder's name, with ``_`` for what file names and tables do not allow."""
        return _slug(self.path)

    @property
    def num_images(self) -> int:
        """The number of images in all classes."""
        return sum(map(len, self.classes.values()))

    def content_hash(self) -> str:
        """Return eight hexadecimal digits that depend on the images' names and bytes."""
        digest = hashlib.blake2b(digest_size=4)
        files = (item for images in self.classes.values() for item in images.items())
        for file, content in sorted(files):
            name = os.fsencode(file.relative_to(self.path).as_posix())
            digest.update(hashlib.blake2b(name).digest())
            digest.update(content)
        return digest.hexdigest()


class SingleFolder(NamedTuple):
    """A folder as a dataset, written to ``file``; ``notes`` are lines to print about it."""

    file: Path
    domain: str
    notes: tuple[str, ...]


def single_folder_dataset(images: Path, folder: Path) -> SingleFolder:
    """Write a dataset's YAML file for training in a single domain into ``folder``.

    Args:
        images: Holds a folder for each class, of images at any depth; the file is then named after
            their content. Or it holds ``train`` with ``val`` or ``test``, each with a folder for
            each class (`uda.data.archives.image_folder`); the file is then named after the path.
        folder: Where to write.

    Raises:
        ValueError: A folder has too few classes, or parts without ``train``; nothing is written.
    """
    _check_outside(images, folder)
    domain, path = _slug(images), images.resolve()
    parts = image_folder_parts(path)
    notes: list[str] = []
    if "train" in parts and len(parts) > 1:
        name = f"{domain}-{config_hash({'folder': str(path)})}"
        spec = {"root": str(path.parent), "domains": {domain: path.name}}
        spec |= {"reader": "image_folder", "classes": []}
    else:
        content = _single_folder(images, list(parts.values()), notes)
        name, classes = f"{domain}-{content.content_hash()}", list(content.classes)
        spec = {"root": "", "domains": {domain: f"{name}/{domain}.txt"}, "classes": classes}
        _write_list(folder / name / f"{domain}.txt", content.classes, classes)
    file = folder / f"{name}.yaml"
    head = {"title": domain, "abbreviations": {domain: domain[:16]}}
    _write_yaml(file, {**head, **spec, "scenarios": {}})
    return SingleFolder(file, domain, tuple(notes))


def _single_folder(path: Path, parts: Sequence[Path], notes: list[str]) -> ImageFolder:
    files = _class_files(path)
    folder = _read_folder(path, files, notes)
    names = list(folder.classes)
    if {path.resolve() / name for name in names} <= {*parts}:
        raise ValueError(
            f"data.dataset: {path} holds {join_names(names) or 'no class folders'}; name a folder "
            "with a folder for each class, or with train and val or test of such folders"
        )
    if len(names) < 2:
        raise ValueError(
            f"data.dataset: {path} has {len(names)} class folders with pictures; name the folder "
            "that holds a folder for each class"
        )
    _check_filled("data.dataset", folder, files)
    count = f"{folder.num_images:,} pictures of {len(names)} classes"
    notes.append(f"{path}: {count} ({join_names(names)})")
    return folder


def folder_pair_dataset(
    source: Path,
    target: Path,
    target_labels: str,
    folder: Path,
    scenario: str = "",
    fewest: int = 0,
) -> FolderPair:
    """Read two folders and write a dataset's YAML file and list files into ``folder``.

    The file is named after the source's content and the classes. Other targets of the same classes
    are added to it, so that the same source model serves them all.

    Args:
        source: Holds a folder for each class, of images at any depth.
        target: The same, or images in any order.
        target_labels: "folders" takes the target's folders as classes, "none" takes its classes as
            unknown, "auto" is "folders" if at least one folder has the name of a source class.
        folder: Where to write.
        scenario: The scenario of a target without labels (empty: opda).
        fewest: Images that the target needs.

    Raises:
        ValueError: A folder, class or file that the message names is wrong; nothing is written.
    """
    if target_labels not in TARGET_LABELS:
        raise ValueError(
            f"--target-labels: {target_labels!r} is not one of {', '.join(TARGET_LABELS)}"
        )
    _check_outside(source, folder)
    _check_outside(target, folder)
    notes: list[str] = []
    source_folder = _read_source(source, notes)
    _check_apart(source, target)
    target_folder, sets = _read_target(target, target_labels, source_folder, notes)
    num_source, num_target = source_folder.num_images, target_folder.num_images
    if num_target < fewest:
        raise ValueError(
            f"--target: {target} has {num_target} pictures, too few to adapt to (at least "
            f"{fewest}); --adapt.method source_only answers without adapting"
        )
    scenario = _choose_scenario(sets, scenario)
    file, domain = _write_pair(folder, source_folder, target_folder, sets)
    return FolderPair(
        file, source_folder.name, domain, scenario, sets, num_source, num_target, tuple(notes)
    )


def _write_pair(
    folder: Path, source: ImageFolder, target: ImageFolder, sets: ClassSets | None
) -> tuple[Path, str]:
    """Write list files and add the target to the dataset's file; return file and target domain."""
    classes, scenarios = _label_sets(tuple(source.classes), sets)
    identity = {"source": source.content_hash(), "classes": classes, "scenarios": scenarios}
    file = folder / f"{source.name}-{config_hash(identity)}.yaml"
    target_hash = target.content_hash()
    domain = f"{target.name}-{target_hash}"
    lists = {source.name: source, domain: target}
    for name, images in lists.items():
        _write_list(folder / file.stem / f"{name}.txt", images.classes, classes)
    with locked_for_change(file):  # by other targets that are added at the same time
        previous = read_yaml(file) if file.is_file() else {"domains": {}, "abbreviations": {}}
        short = {
            source.name: source.name[:16],
            domain: _short_name(target.name, domain, target_hash, previous["abbreviations"]),
        }
        spec = {
            "title": source.name,
            "root": "",
            "domains": {
                **previous["domains"],
                **{name: f"{file.stem}/{name}.txt" for name in lists},
            },
            "abbreviations": {**previous["abbreviations"], **short},
            "scenarios": scenarios,
            "classes": list(classes),
        }
        _write_yaml(file, spec)
    return file, domain


def match_classes(source: Sequence[str], target: Sequence[str]) -> ClassSets:
    """Compare class names of source and target, which may differ as `normalised_name` allows.

    Shared classes get the source's name. ValueError if two names of the same side match.
    """
    in_source, in_target = _by_normalised_name(source), _by_normalised_name(target)
    shared = tuple(name for key, name in in_source.items() if key in in_target)
    source_private = tuple(name for key, name in in_source.items() if key not in in_target)
    target_private = tuple(name for key, name in in_target.items() if key not in in_source)
    renamed = {name: in_source[key] for key, name in in_target.items() if key in in_source}
    return ClassSets(shared, source_private, target_private, renamed)


def _by_normalised_name(names: Sequence[str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for name in names:
        other = result.setdefault(normalised_name(name), name)
        if other != name:
            raise ValueError(
                f"class folders {other!r} and {name!r} would be one class: rename or merge them"
            )
    return result


def _check_outside(images: Path, folder: Path) -> None:
    """Refuse a ``folder`` to write into that lies among the ``images``."""
    if images.resolve() in folder.resolve().parents:
        raise ValueError(
            f"--runs: {folder.parent} lies in {images}, where the runs' own pictures would be "
            "taken for more of those; name a folder elsewhere"
        )


def _check_apart(source: Path, target: Path) -> None:
    """Refuse folders that share images."""
    source_path, target_path = source.resolve(), target.resolve()
    if source_path == target_path:
        raise ValueError(f"--target: {target} is the source too; name another folder")
    if source_path in target_path.parents or target_path in source_path.parents:
        raise ValueError(
            f"--target: of {source} and {target} one lies in the other, whose pictures would be in "
            "both; move one of them"
        )


def _class_files(folder: Path) -> ClassFiles:
    """List the images below each folder of ``folder``, of which some may have none."""
    loose = [path for path in find_images(folder) if path.parent == folder]
    return {**images_by_class(class_folders(folder)), "": loose}


def _read_folder(
    folder: Path, classes: ClassFiles, notes: list[str], flat: bool = False
) -> ImageFolder:
    """Hash the images that can be read and note the others.

    Images outside of class folders are skipped, too, unless ``flat``.
    """
    if others := other_pictures(folder):
        notes.append(f"Passed over in {folder}: {others}, whose format is not read: convert them")
    paths = [path for files in classes.values() for path in files]
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = show_progress(
            pool.map(hash_image, paths),
            desc=f"looking through {folder.name}",
            total=len(paths),
            unit="img",
            leave=False,
            delay=2,
            shown=is_main(),
        )
        hashes = dict(zip(paths, results, strict=True))
    notes += [
        f"Passed over, cannot be read: {path} ({result.problem})"
        for path, result in hashes.items()
        if result.problem
    ]
    readable = {
        name: good
        for name, files in classes.items()
        if (good := {path: hashes[path].content for path in files if not hashes[path].problem})
    }
    if not flat and (outside := readable.pop("", None)):
        names = join_names([str(path) for path in outside], 2)
        notes.append(f"Passed over, in no class's folder: {names}")
    return ImageFolder(folder, readable)


def _check_filled(flag: str, folder: ImageFolder, files: ClassFiles) -> None:
    """Refuse a class folder without a picture that can be read."""
    if empty := [name for name in files if name and name not in folder.classes]:
        folders = join_names([str(folder.path / name) for name in empty])
        raise ValueError(
            f"{flag}: no picture that can be read in {folders}: put some there, or move the folder"
        )


def _read_source(path: Path, notes: list[str]) -> ImageFolder:
    files = _class_files(path)
    folder = _read_folder(path, files, notes)
    if len(folder.classes) < 2:
        raise ValueError(
            f"--source: {path} has {len(folder.classes)} class folders with pictures; name the "
            "folder that holds a folder for each class"
        )
    _check_filled("--source", folder, files)
    if reserved := [name for name in folder.classes if name.casefold() == "unknown"]:
        raise ValueError(
            f"--source: a class called {reserved[0]!r} could not be told from what answers call "
            "unknown; rename its folder"
        )
    _by_normalised_name(tuple(folder.classes))  # two folders of the same class are an error
    return folder


def _read_target(
    path: Path, labels: str, source: ImageFolder, notes: list[str]
) -> tuple[ImageFolder, ClassSets | None]:
    """Read the target by class (all images under "" without labels), and compare the classes."""
    images, source_names = find_images(path), list(source.classes)
    inner = (file.relative_to(path).parts for file in images)
    names = list(dict.fromkeys(parts[0] for parts in inner if len(parts) > 1))
    if labels != "none" and {*map(normalised_name, source_names)} & {*map(normalised_name, names)}:
        return _read_labelled_target(path, source_names, notes)
    if labels == "folders":
        raise ValueError(
            f"--target: no folder in {path} is named like a class of the source "
            f"({join_names(source_names, 3)}); without labels, say --target-labels none"
        )
    if names and labels == "auto":
        notes.append(
            f"The target's folders ({join_names(names, 3)}) are not named like the source's "
            "classes: its labels are taken to be unknown"
        )
    folder = _read_folder(path, {"": images}, notes, flat=True)
    if not folder.classes:
        raise ValueError(f"--target: no picture in {path} can be read")
    return folder, None


def _read_labelled_target(
    path: Path, source_names: Sequence[str], notes: list[str]
) -> tuple[ImageFolder, ClassSets]:
    classes = _read_folder(path, _class_files(path), notes).classes
    sets = match_classes(source_names, list(classes))
    notes += [
        f"Matched: the target's {name!r} is the source's {source_name!r}"
        for name, source_name in sets.renamed.items()
        if name != source_name
    ]
    renamed = {sets.renamed.get(name, name): images for name, images in classes.items()}
    return ImageFolder(path, renamed), sets


def _label_sets(
    source_classes: tuple[str, ...], sets: ClassSets | None
) -> tuple[tuple[str, ...], dict[str, dict[str, list[int]]]]:
    """Return the class order and each scenario's ranges in it, for a dataset's file."""
    if sets is None:
        return source_classes, {name: {"shared": [0, len(source_classes)]} for name in SCENARIOS}
    num_shared, num_source = len(sets.shared), len(source_classes)
    classes = sets.shared + sets.source_private + sets.target_private
    ranges = {"shared": [0, num_shared]}
    if sets.source_private:
        ranges["source_private"] = [num_shared, num_source]
    if sets.target_private:
        ranges["target_private"] = [num_source, len(classes)]
    return classes, {sets.scenario: ranges}


def _choose_scenario(sets: ClassSets | None, wanted: str) -> str:
    if sets is None:
        return wanted or "opda"
    if wanted not in ("", sets.scenario):
        raise ValueError(
            f"--data.scenario: {wanted}, but the folders' classes are {sets.scenario}; leave it out"
        )
    return sets.scenario


def _write_list(path: Path, images: ClassImages, classes: Sequence[str]) -> None:
    """Write ``path class-number`` lines; -1 for images of none of ``classes``."""
    number = {name: index for index, name in enumerate(classes)}
    lines = [
        f"{_listable(file)} {number.get(name, -1)}\n"
        for name, files in images.items()
        for file in files
    ]
    write_text(path, "".join(lines), errors="surrogateescape")


def _write_yaml(file: Path, spec: Mapping[str, object]) -> None:
    write_text(file, yaml.safe_dump(dict(spec), sort_keys=False))


def _short_name(name: str, domain: str, content: str, known: Mapping[str, str]) -> str:
    """Return the target's name for tables: its folder's, with a part of the content's hash if that
    name is taken by another content or folder."""
    if domain in known:
        return known[domain]
    short = name[:16]
    return short if short not in known.values() else f"{short}-{content[:4]}"


def _slug(folder: Path) -> str:
    name = re.sub(r"[^\w-]+", "_", folder.resolve().name).strip("_") or "pictures"
    return shortened(name)  # files are named after it


def _listable(path: Path) -> str:
    """Return the absolute path; ValueError if a list cannot hold it."""
    text = os.path.abspath(path)
    if "\n" in text or text != text.strip():
        raise ValueError(f"{text!r}: a line break or outer white space in a path; rename it")
    return text
