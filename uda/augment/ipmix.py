"""IPMix as a training augmentation: chains of operations on an image and on patches of it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uda.augment.fractal_pictures import FractalMixing
from uda.augment.pixmix import add, multiply, weights


class IPMixAugmentation(FractalMixing):
    """IPMix (arXiv 2310.04780), of every image drawn.

    (1 − m) x + m Σ w_i chain_i(x), where m is from Beta(1, 1) and the weights w of the ``chains``
    from Dirichlet(1, …, 1). A chain has 0 to ``steps`` steps, evenly, and is, evenly, of
    operations on the whole image, of strengths up to ``severity`` of 10, or of patches
    (`_mix_patch`) that are mixed with a fractal, the same for all of an image's chains.

    Args:
        chains, steps: As above.
        beta: Of the weights in adding and multiplying, as PixMix's.
        severity: Of operations.
        patches: Sizes of patches in px, separated by commas; those over the image's are left out.
        all_ops: Operations include those of the corruption benchmark, as on ImageNet.
        mix_self: Half of the patches are mixed with an operation on the image instead of the
            fractal, as on ImageNet.
        num_fractals: How many fractals are drawn.
        fractals: A folder of pictures to take instead.

    Raises:
        ValueError: Names the option at fault.
    """

    name = "ipmix"
    title = "IPMix"

    def __init__(
        self,
        *,
        chains: int = 3,
        steps: int = 3,
        beta: float = 3.0,
        severity: int = 3,
        patches: str = "4,8,16,32",
        all_ops: bool = False,
        mix_self: bool = False,
        num_fractals: int = 64,
        fractals: str = "",
    ) -> None:
        where = "augment.options.ipmix"
        if chains < 1:
            raise ValueError(f"{where}.chains: {chains} must be at least 1")
        if steps < 0:
            raise ValueError(f"{where}.steps: {steps} must not be negative")
        if not beta > 0:
            raise ValueError(f"{where}.beta: {beta} must be positive")
        if not 1 <= severity <= 10:
            raise ValueError(f"{where}.severity: {severity} is not in 1 to 10")
        sizes = [part.strip() for part in patches.split(",")]
        if not all(size.isdecimal() and int(size) >= 2 for size in sizes):
            raise ValueError(f"{where}.patches: {patches!r} is not sizes from 2 px, as in 4,8,16")
        super().__init__(num_fractals, fractals)
        self.chains = chains
        self.steps = steps
        self.beta = beta
        self.severity = severity
        self.patches = [int(size) for size in sizes]
        self.all_ops = all_ops
        self.mix_self = mix_self

    def mix_image(self, image: Tensor, seed: int) -> Tensor:
        """Return ``image`` averaged with chains by its seed."""
        rng = np.random.default_rng(seed)
        fractal = self.mixing_set[rng.integers(len(self.mixing_set))]
        shares = rng.dirichlet([1.0] * self.chains)
        mixture = rng.beta(1, 1)
        mixed = torch.zeros(image.shape)
        for share in shares:
            mixed += float(share) * self._chain(image, fractal, rng)
        plain = image.float() / 255
        return (torch.lerp(plain, mixed, mixture) * 255).round().clamp(0, 255).to(torch.uint8)

    def _chain(self, image: Tensor, fractal: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the end of a chain that starts at ``image``, [3, H, W] in [0, 1]."""
        whole = rng.random() < 0.5
        count = rng.integers(self.steps + 1)
        if whole:
            for _ in range(count):
                image = self._operate(image, rng)
            return image.float() / 255
        mixed = image.float() / 255
        for _ in range(count):
            other = fractal
            if self.mix_self and rng.random() < 0.5:
                other = self._operate(image, rng).float() / 255
            mixed = self._mix_patch(mixed, other, rng)
        return mixed

    def _operate(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        # torchvision takes a second to import
        from uda.augment.pixmix_operations import IPMIX_ALL_OPERATIONS, IPMIX_OPERATIONS, operate

        operations = IPMIX_ALL_OPERATIONS if self.all_ops else IPMIX_OPERATIONS
        return operate(image, self.severity, rng, operations)

    def _mix_patch(self, image: Tensor, other: Tensor, rng: np.random.Generator) -> Tensor:
        """Return ``image`` with a patch of it mixed with the same patch of ``other``.

        Of the size p, drawn evenly from those that fit, comes the corner; evenly the patch is p × p
        or has sides drawn from 2 to p. It is mixed, evenly, by `add`, `multiply`, single pixels or
        single values (`take_some`).
        """
        height, width = image.shape[-2:]
        shorter = min(height, width)
        sizes = [size for size in self.patches if size <= shorter] or [shorter]
        px = sizes[rng.integers(len(sizes))]
        top, left = rng.integers(height - px + 1), rng.integers(width - px + 1)
        tall = wide = px
        if rng.random() < 0.5:
            tall, wide = rng.integers(min(2, px), px + 1, 2)
        patch = (slice(None), slice(top, top + tall), slice(left, left + wide))
        mixed = image.clone()
        mixed[patch] = self._join(image[patch], other[patch], rng).clamp(0, 1)
        return mixed

    def _join(self, image: Tensor, other: Tensor, rng: np.random.Generator) -> Tensor:
        way = rng.integers(4)
        if way < 2:
            return (add, multiply)[way](image, other, *weights(self.beta, rng))
        channels = 1 if way == 2 else len(image)
        return take_some(image, other, rng.random((channels, *image.shape[1:])) < rng.random())


def take_some(image: Tensor, other: Tensor, kept: NDArray[np.bool_]) -> Tensor:
    """Return ``image`` [3, H, W] where ``kept``, bool [1 or 3, H, W], is true, else ``other``."""
    return torch.where(torch.from_numpy(kept), image, other)
