"""How augmentations look at the network that is trained on what they make."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from torch import Tensor

from uda.augment.base import Augmentation


class Look(ABC):
    """What the network, as its weights are now, sees in a batch.

    Looking changes nothing of the training: the network is in eval mode meanwhile, so that each
    image is seen by itself and no statistics move, and no gradient reaches a weight.
    """

    @property
    @abstractmethod
    def mean_colour(self) -> Tensor:
        """The colour [3] in [0, 1] that is 0 to the network, once it has normalised the images."""

    @abstractmethod
    def gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient [B, 3, H, W] of the sum of the cross-entropies by the images.

        Args:
            images: [B, 3, H, W] in [0, 1].
            targets: Soft, [B, K].
        """

    @abstractmethod
    def class_maps(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return where each image shows its most probable class, [B, h, w].

        These are class activation maps (arXiv 1512.04150), whose mean over the positions is the
        class's logit. Raises ValueError for networks that do not average their last maps.

        Args:
            images: [B, 3, H, W] in [0, 1].
            targets: Soft, [B, K]; the largest of a row names the class.
        """


class LookingAugmentation(Augmentation):
    """An augmentation that mixes a batch by what the network sees in it.

    A batch is mixed with ``probability``; otherwise it stays as it is, and nothing is looked at.
    Raises ValueError for a probability outside 0 to 1.
    """

    looks = True
    mixes_batches = True

    def __init__(self, probability: float) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(
                f"augment.options.{self.name}.probability: {probability} is not in 0 to 1"
            )
        self.probability = probability

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Not to be called: without a network there is nothing to look at."""
        raise NotImplementedError(f"{self.name} looks at the network: call batch_by_look")

    def batch_by_look(
        self, images: Tensor, targets: Tensor, seed: int, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return images and soft targets, mixed across the batch with ``probability``."""
        rng = np.random.default_rng(seed)
        if rng.random() >= self.probability:
            return images, targets
        return self.mix(images, targets, rng, look)

    def mix(
        self, images: Tensor, targets: Tensor, rng: np.random.Generator, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return a batch mixed by draws from ``rng``; the tensors are those of `batch`."""
        raise NotImplementedError
