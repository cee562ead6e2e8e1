"""YOCO as a training augmentation: each half of an image is transformed by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from uda.augment.autoaugment import AutoAugmentation
from uda.augment.each_image import EachImage
from uda.augment.fast_autoaugment import FastAutoAugmentation
from uda.augment.randaugment import RandAugmentation
from uda.augment.trivialaugment import TrivialAugmentation

BASES: dict[str, type[EachImage]] = {
    base.name: base
    for base in (RandAugmentation, AutoAugmentation, FastAutoAugmentation, TrivialAugmentation)
}


class YOCOAugmentation(EachImage):
    """You Only Cut Once (arXiv 2201.12078), of every image drawn.

    The image is cut through the middle, evenly across or down; ``base``, an augmentation with its
    default options, transforms each half by other draws, and the halves are joined again. The
    cut comes before the crop, so that it need not be in the middle of what the network sees. Raises
    ValueError naming an unknown base.
    """

    name = "yoco"
    title = "YOCO"

    def __init__(self, *, base: str = "randaugment") -> None:
        if base not in BASES:
            raise ValueError(
                f"augment.options.yoco.base: {base!r} is not one of {', '.join(BASES)}"
            )
        self.base = BASES[base]().transform
        self.transform = self._transform_halves

    def _transform_halves(self, image: Tensor) -> Tensor:
        """Return ``image`` [3, H, W] with both halves transformed."""
        dim = 2 if torch.rand(()) > 0.5 else 1
        middle = image.shape[dim] // 2
        halves = [
            image.narrow(dim, 0, middle),
            image.narrow(dim, middle, image.shape[dim] - middle),
        ]
        return torch.cat([self.base(half) for half in halves if half.numel()], dim)
