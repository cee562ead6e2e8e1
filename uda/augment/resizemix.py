"""ResizeMix as a training augmentation: a small copy of another image is pasted into each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uda.augment.base import Augmentation


class ResizeMixAugmentation(Augmentation):
    """ResizeMix (arXiv 2012.11101).

    Each image gets, at a random position, the whole image before it in the batch, reduced to a
    share τ of its height and width, drawn evenly from ``smallest`` to ``largest``; targets are
    mixed by the area, about τ². Position and τ are drawn once a batch. Raises ValueError naming the
    options at fault.
    """

    name = "resizemix"
    title = "ResizeMix"
    mixes_batches = True

    def __init__(self, *, smallest: float = 0.1, largest: float = 0.8) -> None:
        if not 0 < smallest <= largest <= 1:
            raise ValueError(
                f"augment.options.resizemix: smallest {smallest} and largest {largest} must be "
                "0 < smallest <= largest <= 1"
            )
        self.smallest = smallest
        self.largest = largest

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return each image with its partner pasted into it, and their targets mixed by area."""
        rng = np.random.default_rng(seed)
        scale = rng.uniform(self.smallest, self.largest)
        height, width = images.shape[-2:]
        tall, wide = max(1, round(scale * height)), max(1, round(scale * width))
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        small = F.interpolate(
            images.roll(1, 0), (tall, wide), mode="bilinear", antialias=True, align_corners=False
        )
        mixed = images.clone()
        mixed[..., top : top + tall, left : left + wide] = small
        share = 1 - tall * wide / (height * width)
        return mixed, torch.lerp(targets.roll(1, 0), targets, share)
