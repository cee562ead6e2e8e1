"""GenMix as a training augmentation: edits from a store, seam and fractal drawn anew each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.edit_plan import image_digest, plan_edits
from genmix_aug.edit_store import EditStore
from genmix_aug.editors.options import make_editor, parse_options
from genmix_aug.filling import Screen, fill
from genmix_aug.genmix import GenMix
from genmix_aug.mix import PAPER_FRACTAL_WEIGHT
from genmix_aug.prompts import check_prompts, parse_prompts
from genmix_aug.screening import REFERENCE_IMAGES, reference_of, screen
from genmix_aug.seeding import hash_seed
from uda.augment.fractal_pictures import fractal_identity, fractal_pictures
from uda.augment.none import NoAugmentation
from uda.model import imagenet_features

EDITS_IN_MEMORY = 4 * 2**30  # bytes
SCREENS = ("pixels", "features", "none")


class GenMixAugmentation(NoAugmentation):
    """GenMix (arXiv 2412.02366).

    ``prompts``: cross-domain, in-domain, all, or prompts separated by commas.
    ``edits_per_image``: how many edits of each image are made and stored, each under another
    prompt while there are some; every augmented draw takes one of them. ``editor`` and
    ``editor_options`` ("preset=fast,steps=30") make them; ``screening`` rejects those whose
    ``pixels`` are at fault (black, white, flat, unchanged), with ``features`` also those that
    ImageNet features no longer recognise; ``none`` accepts all. ``join``, ``sides`` and
    ``fractal_weight`` are those of `genmix_aug.genmix.GenMix`. ``blend_width`` in pixels of the
    decoded size; 0 scales the paper's 20 in 512. ``num_fractals`` are drawn, unless a folder of
    ``fractals`` is named. Raises ValueError naming the option at fault.
    """

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
            self.genmix = GenMix(
                torch.zeros((1, 3, 1, 1), dtype=torch.uint8),  # until the images' size is known
                blend_width or None,
                fractal_weight,
                tuple(part.strip() for part in sides.split(",")),
                join,
            )
        except ValueError as error:
            raise ValueError(f"augment.options.genmix: {error}") from None
        self.edits_per_image = edits_per_image
        self.screening = screening
        self.num_fractals = num_fractals
        self.fractals = fractals

    @property
    def identity(self) -> dict[str, str]:
        """The editor by its fingerprint, and a folder of fractals by what is in it."""
        editor = {"editor": self.editor.fingerprint, "editor_options": ""}
        return editor | fractal_identity(self.fractals)

    @property
    def wanted_edits(self) -> dict[str, Any]:
        """Editor, prompts, how many of them an image gets, and what is rejected."""
        return {
            "editor": self.editor.fingerprint,
            "prompts": self.prompts,
            "edits_per_image": self.edits_per_image,
            "screening": self.screening,
        }

    def prepare(self, images: Tensor, names: Sequence[str], store: Path, seed: int) -> None:
        """Make the edits that the store lacks, and the fractals.

        Which edits an image gets depends on its pixels alone, as `genmix edit` plans them, so
        runs of every seed share them.
        """
        digests = [image_digest(image) for image in images]
        requests = plan_edits(digests, self.prompts, self.edits_per_image)
        self.row_prompts = [prompt for _, prompt, _ in requests]
        self.store = EditStore(store)
        self.keys = fill(
            self.store,
            self.editor,
            images,
            names,
            requests,
            progress=True,
            digests=digests,
            screen=_screen(self.screening, images),
            origin={"square_px": images.shape[-1]},
        )
        # Of each image, the rows of the edits that screening accepted.
        self.rows: list[list[int]] = [[] for _ in images]
        for row, (image, _, _) in enumerate(requests):
            if self.keys[row] is not None:
                self.rows[image].append(row)
        if without := sum(not rows for rows in self.rows):
            tqdm.write(f"{without} images stay as they are: screening rejected all of their edits")
        self.edits = self._load(images) if self._fits(images) else None
        pictures = fractal_pictures(self.fractals, self.num_fractals, images.shape[-1])
        self.genmix = replace(self.genmix, fractals=pictures)

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """One of each image's edits, joined along a random seam, a random fractal blended in.

        An image without an accepted edit stays as it is.
        """
        places = [place for place, image in enumerate(ids) if self.rows[image]]
        rows = [self._row(ids[place], hash_seed("which edit", seeds[place])) for place in places]
        if not rows:
            return images
        if self.edits is not None:
            edited = self.edits[rows]
        else:
            edited = torch.stack([self._read(row) for row in rows])
        mixed = self.genmix(images[places], edited, [seeds[place] for place in places])
        if len(places) == len(ids):
            return mixed
        return images.index_copy(0, torch.tensor(places), mixed)

    def stages(self, images: Tensor, ids: Sequence[int], seed: int) -> list[dict[str, Tensor]]:
        """Original, edit, mask, hybrid, fractal and result of a few prepared images.

        Their edits are under as many prompts as there are; images without one are left out.
        """
        shown: list[dict[str, Tensor]] = []
        used: dict[str, int] = dict.fromkeys(self.prompts, 0)
        for image in ids:
            if not self.rows[image]:
                continue
            row = min(self.rows[image], key=lambda row: used[self.row_prompts[row]])
            used[self.row_prompts[row]] += 1
            own = hash_seed("stages", seed, image)
            shown.append(self.genmix.stages(images[image], self._read(row), own))
        return shown

    def _row(self, image: int, choice: int) -> int:
        """Where one of the image's accepted edits stands among the keys."""
        rows = self.rows[image]
        return rows[choice % len(rows)]

    def _read(self, row: int) -> Tensor:
        key = self.keys[row]
        assert key is not None, "rows holds those that have a key"
        return self.store.read(key)

    def _fits(self, images: Tensor) -> bool:
        return images.numel() * self.edits_per_image <= EDITS_IN_MEMORY

    def _load(self, images: Tensor) -> Tensor:
        edits = torch.zeros((len(self.keys), *images.shape[1:]), dtype=torch.uint8)
        for rows in self.rows:
            for row in rows:
                edits[row] = self._read(row)
        return edits


def _screen(screening: str, images: Tensor) -> Screen | None:
    """How edits of these images are judged."""
    if screening == "none":
        return None
    if screening == "pixels":
        return screen
    sample = images[:: -(-len(images) // REFERENCE_IMAGES)]
    features = torch.cat([imagenet_features(part) for part in sample.split(16)])
    return partial(screen, features=imagenet_features, reference=reference_of(features))
