"""No augmentation but the crops and flips that every run has."""

from __future__ import annotations

from uda.augment.base import Augmentation


class NoAugmentation(Augmentation):
    """No augmentation: the images as they are."""

    name = "none"
    title = "None"
