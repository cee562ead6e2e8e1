"""RandAugment as a training augmentation: each image by a few random operations."""

from __future__ import annotations

from uda.augment.each_image import GREY, EachImage


class RandAugmentation(EachImage):
    """RandAugment (arXiv 1909.13719), of every image drawn.

    ``num_ops`` operations in turn, each drawn from fourteen, of strength ``magnitude`` of 0 to 30.
    Raises ValueError naming the option at fault.
    """

    name = "randaugment"
    title = "RandAugment"

    def __init__(self, *, num_ops: int = 2, magnitude: int = 9) -> None:
        if num_ops < 1:
            raise ValueError(f"augment.options.randaugment.num_ops: {num_ops} must be at least 1")
        if not 0 <= magnitude <= 30:
            raise ValueError(
                f"augment.options.randaugment.magnitude: {magnitude} is not in 0 to 30"
            )
        from torchvision.transforms import v2  # takes a second to import

        self.transform = v2.RandAugment(num_ops, magnitude, fill=[GREY] * 3)
