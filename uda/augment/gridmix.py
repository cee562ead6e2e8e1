"""GridMix as a training augmentation: cells of a grid show another image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uda.augment.base import Augmentation
from uda.augment.masks import mix_by_mask, previous


class GridMixAugmentation(Augmentation):
    """GridMix (Baek, Bang and Shim, Pattern Recognition 2021), its mixing alone.

    Each of ``cells`` × ``cells`` cells stays with probability λ, from Beta(alpha, alpha), or shows
    the image before it in the batch; targets are mixed by the area that stayed. Cells and λ are
    drawn once a batch. The constants are this project's, as no code was published. The paper's
    second loss, over the cells, is left out: all augmentations have the same loss. Raises
    ValueError naming the option at fault.
    """

    name = "gridmix"
    title = "GridMix"
    mixes_batches = True

    def __init__(self, *, cells: int = 4, alpha: float = 1.0) -> None:
        if cells < 1:
            raise ValueError(f"augment.options.gridmix.cells: {cells} must be at least 1")
        if not alpha > 0:
            raise ValueError(f"augment.options.gridmix.alpha: {alpha} must be positive")
        self.cells = cells
        self.alpha = alpha

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return each image with cells of its partner, and targets mixed by area."""
        rng = np.random.default_rng(seed)
        share = rng.beta(self.alpha, self.alpha)
        stays = torch.from_numpy(rng.random((self.cells, self.cells)) < share)
        mask = cell_mask(stays, *images.shape[-2:])
        return mix_by_mask(images, targets, previous(images), mask[None])


def cell_mask(cells: Tensor, height: int, width: int) -> Tensor:
    """Return ``cells`` [n, n] enlarged to [height, width]; sizes of cells differ by one at most."""
    count = len(cells)
    rows = torch.arange(height) * count // height
    columns = torch.arange(width) * count // width
    return cells[rows][:, columns]
