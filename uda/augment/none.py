"""No augmentation but the crops and flips that every run has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uda.model import Classifier


class NoAugmentation:
    """Leaves everything as it is: what others change, they override."""

    copies = False
    every_image = False

    @property
    def identity(self) -> Mapping[str, str]:
        """Nothing: the options say it all."""
        return {}

    @property
    def wanted_edits(self) -> Mapping[str, Any]:
        """Nothing: it stores none."""
        return {}

    def prepare(
        self,
        images: Tensor,
        names: Sequence[str],
        store: Path,
        seed: int,
        device: torch.device | None = None,
    ) -> Mapping[str, Any]:
        """Nothing to prepare."""
        return {}

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """The images as they are."""
        return images

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The batch as it is."""
        return images, targets

    def within(self, model: Classifier, batch_size: int, seed: int) -> AbstractContextManager[None]:
        """Nothing: the network computes what it computes."""
        return nullcontext()
