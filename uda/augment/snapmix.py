"""SnapMix as a training augmentation: CutMix whose targets follow what the boxes show."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uda.augment.base import Augmentation, Look
from uda.augment.masks import previous

ROUNDING = 1e-5  # a map's spread, as a share of its values, that is none
Box = tuple[int, int, int, int]  # top, left, bottom, right


class SnapMixAugmentation(Augmentation):
    """SnapMix (arXiv 2012.04846).

    Two boxes are drawn for a batch, each of the area 1 − λ with λ ~ Beta(``alpha``, ``alpha``). The
    partner's second box, resized, covers the image's first. With s the image's class map, its
    minimum taken off and of sum 1, the target is (1 − Σ s in the first box) y + (Σ s' in the
    partner's second box) y', whose weights need not sum to 1. Where both classes are the same the
    weights add up, as in the paper; the authors' code has twice that. A batch is mixed with
    ``probability``, and not if a box is empty. Raises ValueError for options out of their ranges.
    """

    name = "snapmix"
    title = "SnapMix"
    mixes_batches = True
    looks = True

    def __init__(self, *, alpha: float = 5.0, probability: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"augment.options.snapmix.alpha: {alpha} is not positive")
        if not 0 <= probability <= 1:
            raise ValueError(f"augment.options.snapmix.probability: {probability} is not in 0 to 1")
        self.alpha = alpha
        self.probability = probability

    def mix_by_look(
        self, images: Tensor, targets: Tensor, seed: int, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return images with a box of their partners in them, and their targets."""
        rng = np.random.default_rng(seed)
        if rng.random() >= self.probability:
            return images, targets
        size = (images.shape[-2], images.shape[-1])
        into, taken = (draw_box(rng, size, rng.beta(self.alpha, self.alpha)) for _ in range(2))
        if _area(into) == 0 or _area(taken) == 0:
            return images, targets
        maps = saliency_of(look.class_maps(images, targets), size)
        return paste(images, targets, maps, previous(images), into, taken)


def draw_box(rng: np.random.Generator, size: tuple[int, int], share: float) -> Box:
    """Return a box that leaves ``share`` of a picture of ``size``, less what lies outside it."""
    spans = []
    for length in size:
        half = int(length * np.sqrt(1 - share)) // 2
        centre = int(rng.integers(length))
        spans.append((max(centre - half, 0), min(centre + half, length)))
    (top, bottom), (left, right) = spans
    return top, left, bottom, right


def saliency_of(class_maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return class maps [B, h, w] at the pictures' ``size``, at least 0 and each of sum 1.

    A map that is the same everywhere becomes the share of the area.
    """
    maps = F.interpolate(class_maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    largest, least = maps.amax(dim=(1, 2), keepdim=True), maps.amin(dim=(1, 2), keepdim=True)
    is_flat = largest - least <= ROUNDING * maps.abs().amax(dim=(1, 2), keepdim=True)
    maps = torch.where(is_flat, torch.ones_like(maps), maps - least)
    return maps / maps.sum(dim=(1, 2), keepdim=True)


def paste(
    images: Tensor, targets: Tensor, maps: Tensor, partners: Tensor, into: Box, taken: Box
) -> tuple[Tensor, Tensor]:
    """Return images whose box ``into`` shows the partners' box ``taken``, and their targets."""
    top, left, bottom, right = into
    patch = _cut(images[partners], taken)
    patch = F.interpolate(patch, (bottom - top, right - left), mode="bilinear", align_corners=True)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = patch
    kept = 1 - _cut(maps, into).sum(dim=(1, 2))
    brought = _cut(maps[partners], taken).sum(dim=(1, 2))
    weighted = kept[:, None] * targets + brought[:, None] * targets[partners]
    return mixed, weighted.to(targets)


def _cut(pictures: Tensor, box: Box) -> Tensor:
    top, left, bottom, right = box
    return pictures[..., top:bottom, left:right]


def _area(box: Box) -> int:
    top, left, bottom, right = box
    return max(0, bottom - top) * max(0, right - left)
