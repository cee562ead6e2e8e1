"""GenMix as a training augmentation: edits from a store, seam and fractal drawn anew each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from genmix_aug.edit_store import EditStore, image_digest, plan_edits
from genmix_aug.editors import EDITORS
from genmix_aug.fractals import fractals
from genmix_aug.genmix import GenMix, blend_width_for
from genmix_aug.prompts import PROMPT_SETS
from genmix_aug.seeding import hash_seed

EDITS_IN_MEMORY = 4 * 2**30  # bytes


class GenMixAugmentation:
    """GenMix (arXiv 2412.02366).

    ``prompts``: cross-domain, in-domain or all. ``edits_per_image``: how many edits of each image
    are made and stored, each under another prompt while there are some; every augmented draw takes
    one of them. ``blend_width`` in pixels of the decoded size; 0 scales the paper's 20 in 512.
    ``num_fractals``: size of the set to draw from. Raises ValueError for an unknown editor or set.
    """

    copies = True

    def __init__(
        self,
        *,
        prompts: str = "cross-domain",
        edits_per_image: int = 1,
        editor: str = "filters",
        fractal_weight: float = 0.20,
        blend_width: int = 0,
        num_fractals: int = 64,
    ) -> None:
        for key, value, known in (("prompts", prompts, PROMPT_SETS), ("editor", editor, EDITORS)):
            if value not in known:
                place = f"augment.options.genmix.{key}"
                raise ValueError(f"{place}: {value!r} is not one of {', '.join(known)}")
        for key, count in (("edits_per_image", edits_per_image), ("num_fractals", num_fractals)):
            if count < 1:
                raise ValueError(f"augment.options.genmix.{key}: {count} must be at least 1")
        self.prompts = PROMPT_SETS[prompts]
        self.edits_per_image = edits_per_image
        self.editor = EDITORS[editor]()
        self.fractal_weight = fractal_weight
        self.blend_width = blend_width
        self.num_fractals = num_fractals

    def prepare(self, images: Tensor, names: Sequence[str], store: Path, seed: int) -> None:
        """Make the edits that the store lacks, and the fractals.

        Which edits an image gets depends on its pixels alone, as `genmix edit` plans them, so
        runs of every seed share them.
        """
        digests = [image_digest(image) for image in images]
        requests = plan_edits(digests, self.prompts, self.edits_per_image)
        self.row_prompts = [prompt for _, prompt, _ in requests]
        self.store = EditStore(store)
        self.keys = self.store.fill(
            self.editor, images, names, requests, progress=True, digests=digests
        )
        self.edits = self._load(images) if self._fits(images) else None
        size = images.shape[-1]
        self.genmix = GenMix(
            fractals=fractals(self.num_fractals, size),
            blend_width=self.blend_width or blend_width_for(size),
            fractal_weight=self.fractal_weight,
        )

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """One of each image's edits, joined along a random seam, a random fractal blended in."""
        rows = [
            self._row(image, hash_seed("which edit", seed))
            for image, seed in zip(ids, seeds, strict=True)
        ]
        if self.edits is not None:
            edited = self.edits[rows]
        else:
            edited = torch.stack([self.store.read(self.keys[row]) for row in rows])
        return self.genmix(images, edited, list(seeds))

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The batch as it is: GenMix keeps labels."""
        return images, targets

    def stages(self, images: Tensor, ids: Sequence[int], seed: int) -> list[dict[str, Tensor]]:
        """Original, edit, mask, hybrid, fractal and result of a few prepared images.

        Their edits are under as many prompts as there are.
        """
        shown: list[dict[str, Tensor]] = []
        used: dict[str, int] = dict.fromkeys(self.prompts, 0)
        for image in ids:
            rows = [self._row(image, choice) for choice in range(self.edits_per_image)]
            row = min(rows, key=lambda row: used[self.row_prompts[row]])
            used[self.row_prompts[row]] += 1
            edit = self.store.read(self.keys[row])
            shown.append(self.genmix.stages(images[image], edit, hash_seed("stages", seed, image)))
        return shown

    def _row(self, image: int, choice: int) -> int:
        """Where an edit of ``image`` stands among the keys."""
        return image * self.edits_per_image + choice % self.edits_per_image

    def _fits(self, images: Tensor) -> bool:
        return images.numel() * self.edits_per_image <= EDITS_IN_MEMORY

    def _load(self, images: Tensor) -> Tensor:
        edits = torch.empty((len(self.keys), *images.shape[1:]), dtype=torch.uint8)
        for row, key in enumerate(self.keys):
            edits[row] = self.store.read(key)
        return edits
