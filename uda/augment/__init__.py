"""Augmentations of the training images. A new augmentation is a file and a line here."""

from uda.augment.augmix import AugMixAugmentation
from uda.augment.autoaugment import AutoAugmentation
from uda.augment.base import Augmentation
from uda.augment.comixup import CoMixupAugmentation
from uda.augment.composed import names_in
from uda.augment.cutmix import CutMixAugmentation
from uda.augment.fast_autoaugment import FastAutoAugmentation
from uda.augment.fmix import FMixAugmentation
from uda.augment.genmix import GenMixAugmentation
from uda.augment.gridmix import GridMixAugmentation
from uda.augment.guided_ap import GuidedAPAugmentation
from uda.augment.guided_sr import GuidedSRAugmentation
from uda.augment.ipmix import IPMixAugmentation
from uda.augment.manifold_mixup import ManifoldMixupAugmentation
from uda.augment.mixup import MixupAugmentation
from uda.augment.none import NoAugmentation
from uda.augment.pixmix import PixMixAugmentation
from uda.augment.puzzlemix import PuzzleMixAugmentation
from uda.augment.randaugment import RandAugmentation
from uda.augment.resizemix import ResizeMixAugmentation
from uda.augment.saliencymix import SaliencyMixAugmentation
from uda.augment.smoothmix import SmoothMixAugmentation
from uda.augment.snapmix import SnapMixAugmentation
from uda.augment.trivialaugment import TrivialAugmentation
from uda.augment.yoco import YOCOAugmentation

AUGMENTATIONS: dict[str, type[Augmentation]] = {
    augmentation.name: augmentation
    for augmentation in (
        NoAugmentation,
        GenMixAugmentation,
        MixupAugmentation,
        ManifoldMixupAugmentation,
        CutMixAugmentation,
        ResizeMixAugmentation,
        FMixAugmentation,
        SmoothMixAugmentation,
        GridMixAugmentation,
        SaliencyMixAugmentation,
        GuidedSRAugmentation,
        GuidedAPAugmentation,
        SnapMixAugmentation,
        PuzzleMixAugmentation,
        CoMixupAugmentation,
        RandAugmentation,
        AutoAugmentation,
        FastAutoAugmentation,
        TrivialAugmentation,
        YOCOAugmentation,
        AugMixAugmentation,
        PixMixAugmentation,
        IPMixAugmentation,
    )
}


# What configurations no longer may name, and what to do about it.
REMOVED = {
    "guidedmixup": "its saliency map was not the authors'; name guided_sr, which has theirs",
}


def title_of_augmentation(name: str) -> str:
    """Return the title of the augmentation ``name`` in tables: ``GenMix + RandAugment``.

    Of an unknown name it is the name.
    """
    parts = names_in(name)
    return " + ".join(
        AUGMENTATIONS[part].title if part in AUGMENTATIONS else part for part in parts
    )
