"""GenMix as a training augmentation: edits from a store, seam and fractal drawn anew each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.codec import SUFFIXES
from genmix_aug.digests import image_digest
from genmix_aug.editors.options import make_editor, parse_options
from genmix_aug.edits.fill import Filler, FillSettings, Originals
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore
from genmix_aug.edits.verdicts import NO_SCREEN, PIXELS
from genmix_aug.mixing.genmix import parse_settings
from genmix_aug.mixing.mix import PAPER_FRACTAL_WEIGHT
from genmix_aug.prompts import check_prompts, parse_prompts
from genmix_aug.screening.checks import REFERENCE_IMAGES, Reference, Verdict, reference_of, screen
from genmix_aug.seeding import hash_seed
from uda.augment.base import Augmentation
from uda.augment.fractal_pictures import fractal_identity, fractal_pictures
from uda.models.imagenet import imagenet_features
from uda.runs.hashing import config_hash

EDITS_IN_MEMORY = 4 * 2**30  # bytes
SCREENS = ("pixels", "features", "none")


class GenMixAugmentation(Augmentation):
    """GenMix (arXiv 2412.02366).

    A run takes the edits that its screen accepts, whoever filled the store, and by whatever screen.

    Args:
        prompts: cross-domain, in-domain, all, or prompts separated by commas.
        edits_per_image: How many edits of each image are made and stored, each under another prompt
            while they last; every augmented draw takes an edit at random.
        editor, editor_options: What makes the edits, and options such as "preset=fast,steps=30".
        screening: What rejects edits: ``pixels`` (black, white, flat, unchanged), ``features``
            (these, and what ImageNet features no longer recognise) or ``none``.
        join, sides, fractal_weight: As in `genmix_aug.mixing.genmix.GenMix`.
        blend_width: In pixels of the decoded size; 0 scales the paper's 20 in 512, -1 is a hard
            cut.
        num_fractals: How many fractals are drawn.
        fractals: A folder of pictures to take instead.

    Raises:
        ValueError: Names the option at fault.
    """

    name = "genmix"
    title = "GenMix"
    prepares = True
    copies = True

    def __init__(
        self,
        *,
        prompts: str = "cross-domain",
        edits_per_image: int = 1,
        editor: str = "filters",
        editor_options: str = "",
        screening: str = "pixels",
        join: str = "seam",
        sides: str = "left,right,top,bottom",
        fractal_weight: float = PAPER_FRACTAL_WEIGHT,
        blend_width: int = 0,
        num_fractals: int = 64,
        fractals: str = "",
    ) -> None:
        for key, count in (("edits_per_image", edits_per_image), ("num_fractals", num_fractals)):
            if count < 1:
                raise ValueError(f"augment.options.genmix.{key}: {count} must be at least 1")
        if screening not in SCREENS:
            raise ValueError(
                "augment.options.genmix.screening: "
                f"{screening!r} is not one of {', '.join(SCREENS)}"
            )
        try:
            self.prompts = parse_prompts(prompts)
            self.editor = make_editor(editor, parse_options(editor_options))
            check_prompts(self.prompts, self.editor.prompts)
            self.genmix = parse_settings(join, sides, fractal_weight, blend_width)
        except ValueError as error:
            raise ValueError(f"augment.options.genmix: {error}") from None
        self.edits_per_image = edits_per_image
        self.screening = screening
        self.num_fractals = num_fractals
        self.fractals = fractals

    @property
    def identity(self) -> dict[str, str]:
        """The editor's fingerprint, and a hash of the folder of fractals."""
        editor = {"editor": self.editor.fingerprint, "editor_options": ""}
        return editor | fractal_identity(self.fractals)

    @property
    def wanted_edits(self) -> dict[str, Any]:
        """The editor, the prompts, how many of them an image gets, and what is rejected."""
        return {
            "editor": self.editor.fingerprint,
            "prompts": self.prompts,
            "edits_per_image": self.edits_per_image,
            "screening": self.screening,
        }

    def prepare(
        self,
        images: Tensor,
        names: Sequence[str],
        store: Path,
        seed: int,
        device: torch.device | None = None,
    ) -> dict[str, Any]:
        """Make the edits that the store lacks, and the fractals.

        Which edits an image gets depends on its pixels alone, as `genmix edit` plans them, so
        runs of every seed share them. The editor works on ``device`` unless its options name
        another, and frees its memory.

        Returns:
            What the run's configuration does not say: ``edits``, a hash of the edits that are
            trained on, and ``jpeg``, how many of them lossy JPEG files hold.

        Raises:
            ValueError: The seam does not fit the images or a fractal cannot be read; before any
                edit is made.
        """
        try:
            self.genmix.check_size(*images.shape[-2:])
            pictures = fractal_pictures(self.fractals, self.num_fractals, images.shape[-1])
        except ValueError as error:
            raise ValueError(f"augment.options.genmix: {error}") from None
        self.genmix = replace(self.genmix, fractals=pictures)
        self.store = EditStore(store)
        self._fill(images, names, device)
        if without := sum(not rows for rows in self.rows):
            tqdm.write(f"{without} images stay as they are: screening rejected all of their edits")
        self.edits = self._load(images) if self._fits(images) else None
        return self._summary()

    def _fill(self, images: Tensor, names: Sequence[str], device: torch.device | None) -> None:
        """Make the missing edits; set a row's key and prompt, and each image's accepted rows."""
        fingerprint, side = self.editor.fingerprint, images.shape[-1]
        plan = EditPlan(self.prompts, self.edits_per_image, fingerprint, square_px=side)
        digests = [image_digest(image) for image in images]
        requests = plan.requests(digests)
        originals = Originals(images, names, digests, {"square_px": plan.square_px})
        settings = _fill_settings(self.screening, originals)
        if device is not None and device.type in ("cpu", "cuda"):
            self.editor.prefer_device(str(device))
        try:
            self.keys = Filler(self.store, self.editor, originals, requests, settings).fill()
        finally:
            self.editor.release()
        self.row_prompts = [request.prompt for request in requests]
        self.rows: list[list[int]] = [[] for _ in images]
        for row, request in enumerate(requests):
            if self.keys[row] is not None:
                self.rows[request.image].append(row)

    def _summary(self) -> dict[str, Any]:
        """Return what the log says of the edits; print what their configuration does not say."""
        files: list[str] = []  # the name is the key
        jpeg = kept = 0
        for key in self.keys:
            served = self.store.find(key) if key else None
            path = served or (self.store.find_rejected(key) if key else None)
            files.append(path.name if path else "")
            jpeg += path is not None and path.suffix == SUFFIXES["jpeg"]
            kept += key is not None and served is None
        if jpeg:
            tqdm.write(
                f"{jpeg} of {len(files)} edits in {self.store.root} are JPEG: a run on PNG files "
                "of the same edits sees slightly other pixels"
            )
        if kept:
            tqdm.write(
                f"{kept} edits that {self.store.root} keeps as rejected are trained on: "
                f"augment.options.genmix.screening {self.screening} accepts them"
            )
        return {"edits": config_hash({"files": files}), "jpeg": jpeg}

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Join each image with an edit of it along a random seam, and blend in a fractal.

        An image without an accepted edit stays as it is.
        """
        edited_at = [number for number, image in enumerate(ids) if self.rows[image]]
        rows = [self._row(ids[k], hash_seed("which edit", seeds[k])) for k in edited_at]
        if not rows:
            return images
        if self.edits is not None:
            edited = self.edits[rows]
        else:
            edited = torch.stack([self._read(row) for row in rows])
        mixed = self.genmix(images[edited_at], edited, [seeds[k] for k in edited_at])
        if len(edited_at) == len(ids):
            return mixed
        return images.index_copy(0, torch.tensor(edited_at), mixed)

    def stages(
        self, images: Tensor, ids: Sequence[int], seed: int
    ) -> tuple[list[str], list[dict[str, Tensor]]]:
        """Return prompts and, by name, the stages of a few prepared images.

        The stages are original, edited, mask, hybrid, fractal and result. The edits are under as
        many prompts as possible; images without an edit are left out.
        """
        prompts: list[str] = []
        stages: list[dict[str, Tensor]] = []
        used: dict[str, int] = dict.fromkeys(self.prompts, 0)
        for image in ids:
            if not self.rows[image]:
                continue
            row = min(self.rows[image], key=lambda row: used[self.row_prompts[row]])
            used[self.row_prompts[row]] += 1
            drawn = hash_seed("stages", seed, image)
            prompts.append(self.row_prompts[row])
            stages.append(self.genmix.stages(images[image], self._read(row), drawn))
        return prompts, stages

    def _row(self, image: int, choice: int) -> int:
        """Return the row, among the keys, of an accepted edit of the image."""
        rows = self.rows[image]
        return rows[choice % len(rows)]

    def _read(self, row: int) -> Tensor:
        key = self.keys[row]
        assert key is not None, "rows holds those that have a key"
        return self.store.read_any(key)

    def _fits(self, images: Tensor) -> bool:
        return images.numel() * self.edits_per_image <= EDITS_IN_MEMORY

    def _load(self, images: Tensor) -> Tensor:
        edits = torch.zeros((len(self.keys), *images.shape[1:]), dtype=torch.uint8)
        for rows in self.rows:
            for row in rows:
                edits[row] = self._read(row)
        return edits


def _fill_settings(screening: str, originals: Originals) -> FillSettings:
    """Return how edits of these images are judged, and the name under which verdicts are kept.

    The limit of similarity is that of these images, so they are part of the name.
    """
    if screening == "none":
        return FillSettings(judged_by=NO_SCREEN, progress=True)
    if screening == "pixels":
        return FillSettings(screen=screen, judged_by=PIXELS, progress=True)
    count = len(originals.digests)
    sample = range(0, count, -(-count // REFERENCE_IMAGES))

    @cache  # computed when the first edit is to be judged
    def reference() -> Reference:
        parts = torch.stack([originals.images[number] for number in sample]).split(16)
        return reference_of(torch.cat([imagenet_features(part) for part in parts]))

    def judge(images: Tensor, edits: Tensor) -> list[Verdict]:
        return screen(images, edits, imagenet_features, reference())

    digests = [originals.digests[number] for number in sample]
    name = f"features {config_hash({'reference': digests})}"
    return FillSettings(screen=judge, judged_by=name, progress=True)
