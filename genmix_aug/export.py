"""Originals and their GenMix images as a plain tree of files, for other people's training code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genmix_aug.codec import SUFFIXES, encode, is_whole
from genmix_aug.digests import image_digest
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore, MissingEditError
from genmix_aug.files import read_bytes, read_mark, remove_abandoned, write_new, write_whole
from genmix_aug.images import find_images, has_orientation, load_rgb, size_of
from genmix_aug.mixing.genmix import GenMix
from genmix_aug.progress import show_progress
from genmix_aug.seeding import hash_seed

MARK = "genmix_export.json"


class Exported(NamedTuple):
    """What a tree holds: originals, augmented images, and originals without any.

    `written` counts the files, of either kind, that were new; `unaugmented` the originals whose
    every edit was rejected by screening; `tagged` those that viewers turn by their EXIF tag.
    """

    originals: int
    augmented: int
    unaugmented: int
    written: int
    tagged: int = 0


@dataclass(frozen=True)
class ExportSettings:
    """How a tree is written.

    Attributes:
        copies: GenMix images of each original. A larger number adds to a tree; with 0 the
            originals alone are copied (and no edit is needed).
        seed: Decides edits, seams and fractals.
        image_format: Of the GenMix images, png or jpeg (quality 95, 4:4:4).
        replace_spaces: Whether white space in names becomes `_`.

    Raises:
        ValueError: A negative number of copies or another format.
    """

    copies: int = 1
    seed: int = 0
    image_format: str = "png"
    replace_spaces: bool = False

    def __post_init__(self) -> None:
        if self.copies < 0:
            raise ValueError(f"the number of copies must be 0 or more, not {self.copies}")
        if self.image_format not in SUFFIXES:
            known = ", ".join(SUFFIXES)
            raise ValueError(f"unknown image format {self.image_format!r}: choose from {known}")


DEFAULT_SETTINGS = ExportSettings()


class _Target(NamedTuple):
    """An original, and where it and its copies go in the tree."""

    path: Path
    target: Path
    copies: list[Path]


def export_tree(
    images: Path | str,
    store: EditStore,
    out: Path | str,
    plan: EditPlan,
    genmix: GenMix,
    settings: ExportSettings = DEFAULT_SETTINGS,
    progress: bool = False,
) -> Exported:
    """Write a tree of the layout of `images`: originals, and GenMix images of each.

    `a/b.jpg` is copied byte for byte; beside it come `a/b_genmix1.png` … `a/b_genmixM.png`. Each
    copy takes another accepted edit of its image while they last, and draws the rest (side,
    fractal) from `hash_seed(seed, copy, image_digest(image))`: names and order of the files decide
    nothing. May be stopped at any moment and run again: files that exist and are whole stay. A
    file `genmix_export.json` in `out` keeps exports of other settings apart.

    An original keeps its EXIF tag, and its GenMix images are upright: readers that pass over the
    tag (torchvision's ImageFolder) see the one on its side, the others not.

    Args:
        images: Folder of originals; hidden files and what is no image are left out.
        store: Holds the edits.
        out: Folder to write; new, empty, or that of an export to go on with.
        plan: The edits, as they were made. With `square_px` the copies are squares of this side;
            originals are copied as they are all the same.
        genmix: Joins them; with a blend width of None the seam fits each image's size.
        settings: Number, draws, format and names of the copies.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: `out` within `images` or around it, or in use for something else, two files
            that would be written to the same name, an image narrower than the seam (all of these
            before anything is written), or an image that cannot be read.
        MissingEditError: An edit has not been made yet; says which command makes it.
        OSError: The disk is full or not writable; what is written stays good.
    """
    folder, out = Path(images), Path(out)
    if settings.copies and plan.per_image < 1:
        raise ValueError(
            f"the number of edits of each image must be at least 1, not {plan.per_image}"
        )
    paths = find_images(folder)
    _check_apart(folder, out)
    layout = _layout(folder, paths, settings)
    remove_abandoned(out)
    mark = _mark(folder, plan, genmix, settings)
    is_marked = not _checked_mark(out, mark)
    if settings.copies:
        check_sizes(genmix, paths, plan.square_px)
    for parent in {out / each.target.parent for each in layout}:
        remove_abandoned(parent)
    copier = _Copier(folder, store, plan, genmix, settings.seed)
    augmented = unaugmented = written = tagged = 0
    for path, target, names in show_progress(
        layout, desc="exporting", unit="image", shown=progress
    ):
        data = read_bytes(path)
        # The original is written last: once it is in the tree, its copies were made of its bytes.
        same = _content(out / target) == data
        files = {copy: out / name for copy, name in enumerate(names, start=1)}
        todo = [copy for copy in files if not (same and is_whole(_content(files[copy])))]
        made = copier.draw(path, todo) if todo else {}
        if not is_marked and (made or not same):
            _claim(out, mark)
            is_marked = True
        for copy in todo:
            if copy in made:
                write_whole(files[copy], encode(made[copy], settings.image_format))
            else:
                files[copy].unlink(missing_ok=True)
        if not same:
            write_whole(out / target, data)
        augmented += settings.copies - len(todo) + len(made)
        unaugmented += bool(todo) and not made
        written += len(made) + (not same)
        tagged += has_orientation(path)
    return Exported(len(paths), augmented, unaugmented, written, tagged)


class _Copier(NamedTuple):
    """Draws GenMix images of the originals in a folder."""

    folder: Path
    store: EditStore
    plan: EditPlan
    genmix: GenMix
    seed: int

    def draw(self, path: Path, copies: Sequence[int]) -> dict[int, Tensor]:
        """Return these copies of an image; none where all of its edits were rejected."""
        image = load_rgb(path, self.plan.square_px)
        digest = image_digest(image)
        try:
            keys = self.plan.served_keys(self.store, digest)
        except MissingEditError as error:
            command = self.plan.command(str(self.folder), self.store)
            raise MissingEditError(
                f"{path} lacks an edit by {self.plan.fingerprint}: run `{command}` with that editor"
            ) from error
        if not keys:
            return {}
        start = hash_seed("which edit", self.seed, digest)
        edited = [self.store.read(keys[(start + copy) % len(keys)]) for copy in copies]
        seeds = [hash_seed(self.seed, copy, digest) for copy in copies]
        originals = image.expand(len(copies), -1, -1, -1)
        mixed = self.genmix(originals, torch.stack(edited), seeds)
        return dict(zip(copies, mixed, strict=True))


def check_sizes(genmix: GenMix, paths: Sequence[Path], square_px: int = 0) -> None:
    """Refuse images that are narrower than the seam.

    Raises:
        ValueError: Names the first such image.
    """
    if genmix.blend_width is None:
        return
    for path in paths:
        height, width = (square_px, square_px) if square_px else size_of(path)
        try:
            genmix.check_size(height, width)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _content(path: Path) -> bytes:
    """Return a file's bytes, none where no such file exists."""
    return read_bytes(path) if path.is_file() else b""


def _layout(folder: Path, paths: Sequence[Path], settings: ExportSettings) -> list[_Target]:
    """Return where each original and its copies go; no two to the same name."""
    suffix = SUFFIXES[settings.image_format]
    owners: dict[Path, Path] = {}

    def claim(target: Path, owner: Path) -> None:
        other = owners.setdefault(target, owner)
        if other != owner:
            raise ValueError(
                f"{folder / other} and {folder / owner} would both be written to {target}: "
                "rename one of them"
            )

    layout = []
    for path in paths:
        name = path.relative_to(folder)
        target = Path(re.sub(r"\s", "_", str(name))) if settings.replace_spaces else name
        # Folders too, outermost first: two classes must not become one.
        for parent, owner in zip(target.parents[::-1], name.parents[::-1], strict=True):
            claim(parent, owner)
        claim(target, name)
        copies = [
            target.with_name(f"{target.stem}_genmix{copy}{suffix}")
            for copy in range(1, settings.copies + 1)
        ]
        layout.append(_Target(path, target, copies))
    for path, _, copies in layout:
        for copy in copies:
            claim(copy, path.relative_to(folder))
    return layout


def _check_apart(folder: Path, out: Path) -> None:
    inner, outer = out.resolve(), folder.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise ValueError(
            f"the export {out} and the images {folder} must not lie within one another: name a "
            "folder elsewhere"
        )


def _mark(folder: Path, plan: EditPlan, genmix: GenMix, settings: ExportSettings) -> dict[str, Any]:
    """Return everything that decides a tree, as JSON reads it."""
    values = {
        "images": str(folder.resolve()),
        "prompts": sorted(plan.prompts),
        "per_image": plan.per_image,
        "editor": plan.fingerprint,
        "edit_seed": plan.seed,
        "draw_seed": settings.seed,
        "image_format": settings.image_format,
        "replace_spaces": settings.replace_spaces,
        "square_px": plan.square_px,
        **_genmix_settings(genmix),
        "copies": settings.copies,
    }
    mark: dict[str, Any] = json.loads(json.dumps(values))  # tuples become lists
    return mark


def _genmix_settings(genmix: GenMix) -> dict[str, Any]:
    """Return everything that decides what it gives, the fractals by a hash of them."""
    settings = {
        field.name: getattr(genmix, field.name)
        for field in fields(genmix)
        if field.init and field.name != "fractals"
    }
    digest = blake2b(repr([*genmix.fractals.shape]).encode(), digest_size=10)
    for picture in genmix.fractals:
        digest.update(picture.to(torch.uint8).contiguous().cpu().numpy().data)
    return {**settings, "fractals": digest.hexdigest()}


def _claim(out: Path, mark: dict[str, Any]) -> None:
    """Write the mark into the folder, before anything else.

    Raises:
        ValueError: Another command has begun an export of other settings in it meanwhile.
    """
    is_new = not (out / MARK).exists() and write_new(out / MARK, _bytes_of(mark))
    if not is_new and (data := _checked_mark(out, mark)):  # more copies
        write_whole(out / MARK, data)


def _bytes_of(mark: dict[str, Any]) -> bytes:
    return (json.dumps(mark, indent=1) + "\n").encode()


def _checked_mark(out: Path, mark: dict[str, Any]) -> bytes:
    """Return the mark that is to be written into the folder; empty where it is written already.

    Raises:
        ValueError: The folder is in use for something else.
    """
    if (written := read_mark(out / MARK)) is not None:
        for key in mark:
            old, new = written.get(key), mark[key]
            grows = key == "copies" and isinstance(old, int) and old <= new
            if old != new and not grows:
                raise ValueError(
                    f"{out} holds an export of other settings ({key} was {old!r}, is now {new!r}): "
                    "name another folder"
                )
        if written == mark:
            return b""
    elif out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no export: name an empty or new folder")
    return _bytes_of(mark)
