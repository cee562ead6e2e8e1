"""TrivialAugment as a training augmentation: a random operation for each image."""

from __future__ import annotations

from uda.augment.each_image import EachImage


class TrivialAugmentation(EachImage):
    """TrivialAugment (arXiv 2103.10158), its wide space, of every image drawn.

    A random operation of fourteen with a random strength of ``num_magnitude_bins``, both drawn
    evenly. Raises ValueError naming the option at fault.
    """

    name = "trivialaugment"
    title = "TrivialAugment"

    def __init__(self, *, num_magnitude_bins: int = 31) -> None:
        if num_magnitude_bins < 2:
            raise ValueError(
                "augment.options.trivialaugment.num_magnitude_bins: "
                f"{num_magnitude_bins} must be at least 2"
            )
        from torchvision.transforms import v2  # takes a second to import

        self.transform = v2.TrivialAugmentWide(num_magnitude_bins)
