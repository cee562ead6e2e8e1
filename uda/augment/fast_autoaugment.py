"""Fast AutoAugment as a training augmentation: the pairs of operations that its search found.

The tables in fast_autoaugment.npz are those that the authors published (kakaobrain/fast-autoaugment
at 2424224, copyright 2019 Ildoo Kim, under the MIT licence).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uda.augment.each_image import EachImage

POLICIES = ("imagenet", "cifar10", "svhn")
TABLES = Path(__file__).with_suffix(".npz")


class FastAutoAugmentation(EachImage):
    """Fast AutoAugment (arXiv 1905.00397), of every image drawn.

    Each image goes through a random pair of operations of a table of about 500, each operation with
    its chance and strength (`uda.augment.policy_operations`). ``policy`` is imagenet, cifar10 or
    svhn: the authors' tables that were searched on parts of these datasets. Raises ValueError
    naming another.
    """

    name = "fast_autoaugment"
    title = "Fast AutoAugment"

    def __init__(self, *, policy: str = "imagenet") -> None:
        if policy not in POLICIES:
            raise ValueError(
                f"augment.options.fast_autoaugment.policy: {policy!r} is not one of "
                f"{', '.join(POLICIES)}"
            )
        with np.load(TABLES) as tables:  # each [P, 2]
            self.operations = tables[f"{policy}_operation"].tolist()
            self.chances = tables[f"{policy}_chance"].tolist()
            self.levels = tables[f"{policy}_level"].tolist()
        self.transform = self._apply_pair

    def _apply_pair(self, image: Tensor) -> Tensor:
        """Return ``image`` through a pair of operations, which torch's generator draws."""
        # torchvision takes a second to import
        from uda.augment.policy_operations import OPERATIONS, operate

        names = list(OPERATIONS)
        row = int(torch.randint(len(self.operations), ()))
        for number, chance, level in zip(
            self.operations[row], self.chances[row], self.levels[row], strict=True
        ):
            if torch.rand(()) < chance:
                image = operate(image, names[number], level)
        return image
