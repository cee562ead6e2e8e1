"""SnapMix as a training augmentation: CutMix, with targets by what the boxes show the network."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from uda.augment.look import Look, LookingAugmentation
from uda.augment.masks import previous
from uda.augment.saliency import normalised

Box = tuple[int, int, int, int]  # top, left, bottom, right, in px


class SnapMixAugmentation(LookingAugmentation):
    """SnapMix (arXiv 2012.04846).

    A box of each image shows a box of its partner, the image before it in the batch, which is
    resized to fit. Both boxes are drawn by themselves, once a batch: a share 1 − λ of the area, λ
    from Beta(alpha, alpha), around a point drawn evenly, cut off at the border. The targets are
    ρ y + ρ' y' with ρ = 1 − Σ M over the box that is lost, ρ' = Σ M' over the box that is shown: M
    is the image's class activation map of its class, less its minimum, divided by its sum
    (`semantic_maps`). The two need not add up to 1, and of a pair of one class they are added, as
    in the paper; the released code then doubles them. A batch is mixed with ``probability``. Raises
    ValueError naming the option at fault.
    """

    name = "snapmix"
    title = "SnapMix"

    def __init__(self, *, alpha: float = 5.0, probability: float = 1.0) -> None:
        super().__init__(probability)
        if not alpha > 0:
            raise ValueError(f"augment.options.snapmix.alpha: {alpha} must be positive")
        self.alpha = alpha

    def mix(
        self, images: Tensor, targets: Tensor, rng: np.random.Generator, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return each image with a box of its partner, and targets by the maps in the boxes."""
        height, width = images.shape[-2:]
        lost, shown = (
            draw_box(height, width, rng.beta(self.alpha, self.alpha), rng) for _ in range(2)
        )
        if _is_empty(lost) or _is_empty(shown):
            return images, targets
        maps = semantic_maps(look.class_maps(images, targets), height, width)
        return paste(images, targets, maps, previous(images), lost, shown)


def draw_box(height: int, width: int, share: float, rng: np.random.Generator) -> Box:
    """Return a box of 1 − ``share`` of the area, around an even point, cut off at the border."""
    side = math.sqrt(1 - share)
    tall, wide = int(side * height), int(side * width)
    down, across = int(rng.integers(height)), int(rng.integers(width))
    top, left = max(down - tall // 2, 0), max(across - wide // 2, 0)
    return top, left, min(down + tall // 2, height), min(across + wide // 2, width)


def semantic_maps(maps: Tensor, height: int, width: int) -> Tensor:
    """Return ``maps`` [B, h, w] enlarged to the images' size, each from 0 on and of sum 1.

    An even map becomes 1 / HW everywhere, so that its sums are areas: the small maps are lowered
    first, as enlarging an even one otherwise leaves its rounding errors.
    """
    raised = maps.float() - maps.float().amin(dim=(1, 2), keepdim=True)
    large = F.interpolate(raised[:, None], (height, width), mode="bilinear", align_corners=False)
    large = large[:, 0]
    return normalised(large - large.amin(dim=(1, 2), keepdim=True))


def paste(
    images: Tensor, targets: Tensor, maps: Tensor, partners: Tensor, lost: Box, shown: Box
) -> tuple[Tensor, Tensor]:
    """Return images whose box ``lost`` shows their partners' box ``shown``, and their targets.

    Args:
        images: [B, 3, H, W].
        targets: [B, K].
        maps: `semantic_maps`, [B, H, W].
        partners: int64 [B], rows of the batch.
        lost, shown: Not empty.
    """
    top, left, bottom, right = lost
    patch = F.interpolate(
        _inside(images, shown)[partners],
        (bottom - top, right - left),
        mode="bilinear",
        align_corners=True,
    )
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = patch
    kept = 1 - _inside(maps, lost).sum(dim=(1, 2))
    gained = _inside(maps, shown).sum(dim=(1, 2))[partners]
    kept, gained = kept[:, None].to(targets), gained[:, None].to(targets)
    return mixed, kept * targets + gained * targets[partners]


def _inside(pixels: Tensor, box: Box) -> Tensor:
    top, left, bottom, right = box
    return pixels[..., top:bottom, left:right]


def _is_empty(box: Box) -> bool:
    top, left, bottom, right = box
    return top >= bottom or left >= right
