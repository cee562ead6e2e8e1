"""Originals and their GenMix images as a plain tree of files, for other people's training code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.codec import SUFFIXES, encode, is_whole
from genmix_aug.edits.plan import image_digest
from genmix_aug.edits.serving import edit_command, served_keys
from genmix_aug.edits.store import EditStore, MissingEditError
from genmix_aug.files import read_mark, sweep, write_whole
from genmix_aug.images import find_images, load_rgb, size_of
from genmix_aug.mixing.genmix import GenMix
from genmix_aug.seeding import hash_seed

MARK = "genmix_export.json"


class Exported(NamedTuple):
    """What a tree holds: originals, augmented images, and originals without any.

    `written` counts the files, of either kind, that were not there before; `unaugmented` the
    originals whose every edit was rejected by screening.
    """

    originals: int
    augmented: int
    unaugmented: int
    written: int


def export(
    images: Path | str,
    store: EditStore,
    out: Path | str,
    prompts: Sequence[str],
    per_image: int,
    fingerprint: str,
    genmix: GenMix,
    copies: int = 1,
    seed: int = 0,
    edit_seed: int = 0,
    image_format: str = "png",
    replace_spaces: bool = False,
    square_px: int = 0,
    progress: bool = False,
) -> Exported:
    """Writes a tree of the layout of `images`: originals, and `copies` GenMix images of each.

    `a/b.jpg` is copied byte for byte; beside it come `a/b_genmix1.png` … `a/b_genmixM.png`. Each
    copy takes another accepted edit of its image while they last, and draws the rest (side,
    fractal) from `hash_seed(seed, copy, image_digest(image))`: names and order of the files decide
    nothing. May be stopped at any moment and run again: files that are there and whole stay. A
    file `genmix_export.json` in `out` keeps exports of other settings apart.

    Args:
        images: folder of originals; hidden files and what is no image are left out.
        store: holds the edits, made with the same `prompts`, `per_image`, `fingerprint` and
            `edit_seed` (the `seed` of `plan_edits`).
        out: folder to write; new, empty, or that of an export to go on with.
        genmix: joins them; with a blend width of None the seam fits each image's size.
        copies: GenMix images of each original. A larger number adds to what is there; with 0
            the originals alone are copied (and no edit is needed).
        seed: of the draws.
        image_format: of the GenMix images, png or jpeg (quality 95, 4:4:4).
        replace_spaces: whether white space in names becomes `_`.
        square_px: as the edits were made with: the copies are squares of this side; originals
            are copied as they are all the same.
        progress: whether to show a progress bar.

    Raises:
        ValueError: a value out of range, `out` within `images` or around it, or in use for
            something else, two files that would be written to one name, an image narrower than
            the seam (all of these before anything is written), or one that cannot be read.
        MissingEditError: an edit has not been made yet; says which command makes it.
        OSError: the disk is full or not writable; what is there stays good.
    """
    folder, out = Path(images), Path(out)
    if copies < 0:
        raise ValueError(f"the number of copies must be 0 or more, not {copies}")
    if copies and per_image < 1:
        raise ValueError(f"the number of edits of each image must be at least 1, not {per_image}")
    if image_format not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ValueError(f"unknown image format {image_format!r}: choose from {known}")
    paths = find_images(folder)
    _check_apart(folder, out)
    layout = _layout(folder, paths, copies, SUFFIXES[image_format], replace_spaces)
    settings = {
        "images": str(folder.resolve()),
        "prompts": sorted(prompts),
        "per_image": per_image,
        "editor": fingerprint,
        "edit_seed": edit_seed,
        "draw_seed": seed,
        "image_format": image_format,
        "replace_spaces": replace_spaces,
        "square_px": square_px,
        **_genmix_settings(genmix),
    }
    sweep(out)
    mark = _checked_mark(out, settings, copies)
    if copies:
        check_sizes(genmix, paths, square_px)
    for place in {out / target.parent for _, target, _ in layout}:
        sweep(place)

    def draw(path: Path, wanted: Sequence[int]) -> dict[int, Tensor]:
        """These copies of an image; none where all of its edits were rejected."""
        image = load_rgb(path, square_px)
        digest = image_digest(image)
        planned = (prompts, per_image, edit_seed)
        try:
            keys = served_keys(store, digest, *planned, fingerprint)
        except MissingEditError as error:
            command = edit_command(str(folder), store, *planned, square_px)
            raise MissingEditError(
                f"{path} lacks an edit by {fingerprint}: run `{command}` with that editor"
            ) from error
        if not keys:
            return {}
        start = hash_seed("which edit", seed, digest)
        edited = [store.read(keys[(start + copy) % len(keys)]) for copy in wanted]
        seeds = [hash_seed(seed, copy, digest) for copy in wanted]
        mixed = genmix(image.expand(len(wanted), -1, -1, -1), torch.stack(edited), seeds)
        return dict(zip(wanted, mixed, strict=True))

    augmented = unaugmented = written = 0
    for path, target, names in tqdm(
        layout, "exporting", unit="image", disable=None if progress else True
    ):
        data = path.read_bytes()
        # The original is written last: where it stands, its copies were made of these bytes.
        same = _content(out / target) == data
        places = {copy: out / name for copy, name in enumerate(names, start=1)}
        todo = [copy for copy in places if not (same and is_whole(_content(places[copy])))]
        made = draw(path, todo) if todo else {}
        if mark and (made or not same):
            write_whole(out / MARK, mark)
            mark = b""
        for copy in todo:
            if copy in made:
                write_whole(places[copy], encode(made[copy], image_format))
            else:
                places[copy].unlink(missing_ok=True)
        if not same:
            write_whole(out / target, data)
        augmented += copies - len(todo) + len(made)
        unaugmented += bool(todo) and not made
        written += len(made) + (not same)
    return Exported(len(paths), augmented, unaugmented, written)


def check_sizes(genmix: GenMix, paths: Sequence[Path], square_px: int = 0) -> None:
    """ValueError naming the first image that is narrower than the seam."""
    if genmix.blend_width is None:
        return
    for path in paths:
        height, width = (square_px, square_px) if square_px else size_of(path)
        try:
            genmix.check_size(height, width)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _content(path: Path) -> bytes:
    """A file's bytes, none where there is no such file."""
    return path.read_bytes() if path.is_file() else b""


def _layout(
    folder: Path, paths: Sequence[Path], copies: int, suffix: str, replace_spaces: bool
) -> list[tuple[Path, Path, list[Path]]]:
    """Each original, its place in the export and those of its copies; no two the same."""
    owners: dict[Path, Path] = {}

    def claim(place: Path, owner: Path) -> None:
        other = owners.setdefault(place, owner)
        if other != owner:
            raise ValueError(
                f"{folder / other} and {folder / owner} would both be written to {place}: "
                "rename one of them"
            )

    layout = []
    for path in paths:
        name = path.relative_to(folder)
        target = Path(re.sub(r"\s", "_", str(name))) if replace_spaces else name
        # Folders too, outermost first: two classes must not become one.
        for place, owner in zip(target.parents[::-1], name.parents[::-1], strict=True):
            claim(place, owner)
        claim(target, name)
        stem = f"{target.stem}_genmix"
        places = [target.with_name(f"{stem}{copy}{suffix}") for copy in range(1, copies + 1)]
        layout.append((path, target, places))
    for path, _, places in layout:
        for place in places:
            claim(place, path.relative_to(folder))
    return layout


def _check_apart(folder: Path, out: Path) -> None:
    inner, outer = out.resolve(), folder.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise ValueError(
            f"the export {out} and the images {folder} must not lie within one another: name a "
            "folder elsewhere"
        )


def _genmix_settings(genmix: GenMix) -> dict[str, Any]:
    """Everything that decides what it gives, the fractals by a hash of them."""
    settings = {
        field.name: getattr(genmix, field.name)
        for field in fields(genmix)
        if field.init and field.name != "fractals"
    }
    digest = blake2b(repr([*genmix.fractals.shape]).encode(), digest_size=10)
    for picture in genmix.fractals:
        digest.update(picture.to(torch.uint8).contiguous().cpu().numpy().data)
    return {**settings, "fractals": digest.hexdigest()}


def _checked_mark(out: Path, settings: dict[str, Any], copies: int) -> bytes:
    """What is to be noted in the folder, nothing where it stands there already.

    Raises:
        ValueError: the folder is in use for something else.
    """
    wanted = json.loads(json.dumps({**settings, "copies": copies}))  # tuples become lists
    path = out / MARK
    if (found := read_mark(path)) is not None:
        for key in wanted:
            old, new = found.get(key), wanted[key]
            grows = key == "copies" and isinstance(old, int) and old <= new
            if old != new and not grows:
                raise ValueError(
                    f"{out} holds an export of other settings ({key} was {old!r}, is now {new!r}): "
                    "name another folder"
                )
        if found == wanted:
            return b""
    elif out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no export: name an empty or new folder")
    return (json.dumps(wanted, indent=1) + "\n").encode()
