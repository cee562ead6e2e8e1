"""PixMix as a training augmentation: each image mixed with fractals and with copies of itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uda.augment.fractal_pictures import FractalMixing

TINY = 1e-37  # keeps powers of black finite, as in the released code


class PixMixAugmentation(FractalMixing):
    """PixMix (arXiv 2112.05135), of every image drawn.

    It begins with the image x or an operation on it, evenly, and mixes that 0 to ``rounds`` times
    (evenly) with an operation on x or with a fractal, evenly, by `add` or `multiply`, evenly, with
    `weights` of ``beta``, cutting off at 0 and 1. An image's rounds share a fractal. Operations:
    autocontrast, equalize, posterize, rotate, solarize, shears and translations, of strengths up to
    ``severity`` of 10. ``num_fractals`` are drawn (as GenMix's; the paper's mixing set is 14
    thousand), unless a folder of ``fractals`` is named. Raises ValueError naming the option at
    fault.
    """

    name = "pixmix"
    title = "PixMix"

    def __init__(
        self,
        *,
        rounds: int = 4,
        beta: float = 3.0,
        severity: int = 3,
        num_fractals: int = 64,
        fractals: str = "",
    ) -> None:
        where = "augment.options.pixmix"
        if rounds < 0:
            raise ValueError(f"{where}.rounds: {rounds} must not be negative")
        if not beta > 0:
            raise ValueError(f"{where}.beta: {beta} must be positive")
        if not 1 <= severity <= 10:
            raise ValueError(f"{where}.severity: {severity} is not in 1 to 10")
        super().__init__(num_fractals, fractals)
        self.rounds = rounds
        self.beta = beta
        self.severity = severity

    def mix_image(self, image: Tensor, seed: int) -> Tensor:
        """Return ``image`` mixed by its seed."""
        from uda.augment.pixmix_operations import operate  # torchvision takes a second to import

        rng = np.random.default_rng(seed)
        fractal = self.mixing_set[rng.integers(len(self.mixing_set))]
        plain = image.float() / 255

        def operated() -> Tensor:
            return operate(image, self.severity, rng).float() / 255

        mixed = operated() if rng.random() < 0.5 else plain
        for _ in range(rng.integers(self.rounds + 1)):
            other = operated() if rng.random() < 0.5 else fractal
            join = add if rng.random() < 0.5 else multiply
            mixed = join(mixed, other, *weights(self.beta, rng)).clamp(0, 1)
        return (mixed * 255).round().to(torch.uint8)


def weights(beta: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return weights a of the image and b of what is mixed in; the image outweighs it.

    Evenly, a is from Beta(beta, 1) and b from Beta(1, beta), or a is 1 plus, and b minus, a draw
    from Beta(1, beta) each.
    """
    if rng.random() < 0.5:
        return rng.beta(beta, 1), rng.beta(1, beta)
    return 1 + rng.beta(1, beta), -rng.beta(1, beta)


def add(image: Tensor, other: Tensor, a: float, b: float) -> Tensor:
    """Return (a (2x − 1) + b (2y − 1) + 1) / 2 of x, y in [0, 1]: a x + b y on a scale [−1, 1]."""
    return (a * (2 * image - 1) + b * (2 * other - 1) + 1) / 2


def multiply(image: Tensor, other: Tensor, a: float, b: float) -> Tensor:
    """Return (2x)^a (2y)^b / 2 of x, y in [0, 1]: x^a y^b on a scale [0, 2]."""
    return (2 * image) ** a * (2 * other).clamp_min(TINY) ** b / 2
