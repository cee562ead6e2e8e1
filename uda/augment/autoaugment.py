"""AutoAugment as a training augmentation: a learnt policy's pairs of operations."""

from __future__ import annotations

from uda.augment.each_image import GREY, EachImage

POLICIES = ("imagenet", "cifar10", "svhn")


class AutoAugmentation(EachImage):
    """AutoAugment (arXiv 1805.09501), of every image drawn.

    Each image goes through a random pair of operations out of the 25 pairs that do best on a
    dataset, each operation with its chance and strength. ``policy`` is imagenet, cifar10 or svhn;
    Raises ValueError naming another.
    """

    name = "autoaugment"
    title = "AutoAugment"

    def __init__(self, *, policy: str = "imagenet") -> None:
        if policy not in POLICIES:
            raise ValueError(
                f"augment.options.autoaugment.policy: {policy!r} is not one of "
                f"{', '.join(POLICIES)}"
            )
        from torchvision.transforms import v2  # takes a second to import

        self.transform = v2.AutoAugment(v2.AutoAugmentPolicy(policy), fill=[GREY] * 3)
