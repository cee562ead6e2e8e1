"""What only those know who know the target's labels: a ceiling for losses, and no method.

The one file whose results training may see although they come from the target's labels, and only
where the configuration says `oracle`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from uda.data.items import Item
from uda.data.pixels import labels_of
from uda.data.scenarios import ClassSplit


def oracle_neighbours(items: Sequence[Item], split: ClassSplit, count: int, seed: int) -> Tensor:
    """Return the rows int64 [N, ``count``] of random other images of each image's true class.

    Where a class has fewer others some are drawn twice, and an image without any is its only
    neighbour.

    Raises:
        ValueError: An image has no label.
    """
    labels = labels_of(items, split.number)
    if (labels < 0).any():
        raise ValueError(
            f"adapt.neighbours: oracle reads the target's labels, and {int((labels < 0).sum())} of "
            f"its {len(labels)} pictures have none; use frozen or bank"
        )
    rng = np.random.default_rng(seed)
    near = np.empty((len(labels), count), dtype=np.int64)
    for row, label in enumerate(labels):
        others = np.flatnonzero(labels == label)
        others = others[others != row] if len(others) > 1 else others
        near[row] = rng.choice(others, count, replace=len(others) < count)
    return torch.from_numpy(near)
