"""Augmentations of the training images. A new one is one file and one line here."""

from collections.abc import Callable

from uda.augment.base import Augmentation
from uda.augment.genmix import GenMixAugmentation
from uda.augment.none import NoAugmentation

AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {
    "none": NoAugmentation,
    "genmix": GenMixAugmentation,
}
