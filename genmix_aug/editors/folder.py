"""The editor `folder`: edits that another tool made, or a person."""

from __future__ import annotations

import functools
import os
from hashlib import blake2b
from pathlib import Path

from PIL import Image
from torch import Tensor

from genmix_aug.digests import file_digest, image_digest
from genmix_aug.editors.base import SingleImageEditor
from genmix_aug.editors.filters.editor import FilterEditor
from genmix_aug.images import find_images, from_picture, images_below, load_rgb, to_picture
from genmix_aug.seeding import hash_seed

VERSION = 1  # raise it whenever the same folders give another edit: it is part of every key
INSTEAD = ("", "filters")


class FolderEditor(SingleImageEditor):
    """Serves edits that lie in a folder.

    The edits of `originals/a/b.png` are the pictures in `edits/a/b/`, whatever their names;
    prompt and seed draw one of them, and it is scaled to the image's size. Images are known by
    their pixels.

    Args:
        originals: Folder of the images that there are edits of.
        edits: Folder of the edits.
        square_px: Originals are read as squares of this side, as by `genmix edit --square-px` or at
            `images.decode_px`; 0 as they are.
        instead: filters makes the edits of images that have none here; otherwise they are refused.

    Raises:
        ValueError: A folder does not exist or holds no edit of any original, or `instead` is
            another.
    """

    def __init__(
        self, *, originals: str = "", edits: str = "", square_px: int = 0, instead: str = ""
    ) -> None:
        if instead not in INSTEAD:
            raise ValueError(f"instead: {instead!r} is not filters, or empty to refuse")
        for name, folder in (("originals", originals), ("edits", edits)):
            if not os.path.isdir(os.path.expanduser(folder)):
                raise ValueError(f"{name}: {folder!r} is no folder; the editor folder needs both")
        self.originals, self.edits = (Path(os.path.expanduser(f)) for f in (originals, edits))
        self.square_px = square_px
        self._instead = FilterEditor() if instead else None

    @functools.cached_property
    def files(self) -> dict[str, list[tuple[str, Path]]]:
        """The edits of each image, by its digest: what each holds, as a hash, by which they are
        sorted, and its file."""
        files = {}
        for path in find_images(self.originals):
            below = self.edits / path.relative_to(self.originals).with_suffix("")
            if below.is_dir() and (edits := images_below(below)):
                digest = _digest_of_original(path, self.square_px, path.stat().st_mtime_ns)
                hashed = [(file_digest(edit), edit) for edit in edits]
                files[digest] = sorted(hashed, key=lambda pair: pair[0])
        if not files:
            raise ValueError(
                f"edits: {self.edits} has no picture for any in {self.originals}; the edits of "
                "a/b.png are the pictures in a/b/"
            )
        return files

    @functools.cached_property
    def fingerprint(self) -> str:
        """The kind and version, a hash of all edits, and what makes those that are missing."""
        digest = blake2b(digest_size=8)
        for image, edits in sorted(self.files.items()):
            digest.update(f"{image} {[edit for edit, _ in edits]}".encode())
        instead = f" {self._instead.fingerprint}" if self._instead else ""
        return f"folder-v{VERSION} {digest.hexdigest()}{instead}"

    @property
    def prompts(self) -> tuple[str, ...]:
        """Those of the editor `instead`; without it prompts only draw."""
        return self._instead.prompts if self._instead else ()

    def edit_image(self, image: Tensor, prompt: str, seed: int) -> Tensor:
        """Return one of the edits of an image uint8 [3, H, W].

        Raises:
            ValueError: It has none, where there is no editor instead; or a file cannot be read.
        """
        edits = self.files.get(image_digest(image))
        if edits is None:
            if self._instead is None:
                raise ValueError(
                    f"an image of {image.shape[2]} x {image.shape[1]} px has no edit in "
                    f"{self.edits}: add one, give square_px if images are read as squares, or let "
                    "others be made: instead=filters"
                )
            return self._instead.edit_image(image, prompt, seed)
        _, path = edits[hash_seed("folder", prompt, seed) % len(edits)]
        edit = to_picture(load_rgb(path))
        size = (image.shape[2], image.shape[1])
        if edit.size != size:
            edit = edit.resize(size, Image.Resampling.LANCZOS)
        return from_picture(edit).to(image.device)


@functools.cache  # in a process: a sweep asks for every run
def _digest_of_original(path: Path, square_px: int, mtime_ns: int) -> str:
    return image_digest(load_rgb(path, square_px))
