"""Augmentations of the training images. A new one is one file and one line here."""

from uda.augment.genmix import GenMixAugmentation
from uda.augment.none import NoAugmentation

AUGMENTATIONS = {
    "none": NoAugmentation,
    "genmix": GenMixAugmentation,
}
