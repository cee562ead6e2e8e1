"""GenMix (arXiv 2412.02366): an edited half, a smooth seam and a fractal, drawn by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from genmix_aug.masks import SIDES, blend_width_for, smooth_mask
from genmix_aug.mix import PAPER_FRACTAL_WEIGHT, blend, concatenate, mix
from genmix_aug.seeding import hash_seed

__all__ = ["Draws", "GenMix", "blend_width_for", "resize_fractals"]


class Draws(NamedTuple):
    """What was drawn for each image of a batch: the side, and an index into the fractals."""

    sides: list[str]
    fractals: list[int]


def resize_fractals(fractals: Tensor, height: int, width: int) -> Tensor:
    """Fractals uint8 [F, 3, h, w] at another size, uint8 [F, 3, height, width], antialiased."""
    if fractals.shape[-2:] == (height, width):
        return fractals
    resized = interpolate(fractals.float(), (height, width), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class GenMix:
    """Joins originals and their edits: draw the parameters first, then apply `mix`.

    Args:
        fractals: uint8 [F, 3, S, S]; those drawn are resized to the images where sizes differ
            (see `at_size`).
        blend_width: px of the seam at the size of the images; `blend_width_for` scales the
            paper's 20 px of 512.
        fractal_weight: of the fractal in Eq. 4, in [0, 1].
        sides: where the edited image may show; drawn alike.

    Raises:
        ValueError: no fractals or of another shape, an unknown side, a weight out of range.
    """

    fractals: Tensor = field(repr=False, compare=False)
    blend_width: int = 20
    fractal_weight: float = PAPER_FRACTAL_WEIGHT
    sides: tuple[str, ...] = SIDES

    def __post_init__(self) -> None:
        shape = [*self.fractals.shape]
        if self.fractals.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[0] < 1:
            raise ValueError(f"fractals must be uint8 [F, 3, S, S], not {shape}")
        unknown = set(self.sides) - set(SIDES)
        if unknown or not self.sides:
            raise ValueError(f"sides must be among {', '.join(SIDES)}, not {self.sides}")
        if not 0 <= self.fractal_weight <= 1:
            raise ValueError(f"fractal_weight must be in [0, 1], not {self.fractal_weight}")
        if self.blend_width < 0:
            raise ValueError(f"blend_width must be 0 or more, not {self.blend_width}")

    def at_size(self, height: int, width: int) -> GenMix:
        """The same with all fractals resized once, for images that are all of one size."""
        resized = resize_fractals(self.fractals, height, width)
        return GenMix(resized, self.blend_width, self.fractal_weight, self.sides)

    def draw(self, seeds: Sequence[int]) -> Draws:
        """A side and a fractal for each seed, from that seed alone."""
        sides = [self.sides[hash_seed("side", seed) % len(self.sides)] for seed in seeds]
        count = len(self.fractals)
        return Draws(sides, [hash_seed("fractal", seed) % count for seed in seeds])

    def __call__(self, original: Tensor, edited: Tensor, seeds: Sequence[int]) -> Tensor:
        """GenMix images uint8 [B, 3, H, W] of originals and edits uint8 [B, 3, H, W].

        Each image depends on its own original, edit and seed only.

        Raises:
            ValueError: shapes or dtypes that do not fit, or not one seed for each image.
        """
        _check_batch(original, edited, seeds)
        draws = self.draw(seeds)
        fractals = self._chosen(draws.fractals, original)
        return mix(original, edited, fractals, draws.sides, self.blend_width, self.fractal_weight)

    def stages(self, original: Tensor, edited: Tensor, seed: int) -> dict[str, Tensor]:
        """Each step for one image, in order: original, edited, mask, hybrid, fractal, result.

        Args:
            original, edited: uint8 [3, H, W].

        Returns:
            uint8 [3, H, W] each, except mask: float32 [H, W].
        """
        _check_batch(original[None], edited[None], [seed])
        draws = self.draw([seed])
        height, width = original.shape[-2:]
        mask = smooth_mask(height, width, draws.sides[0], self.blend_width)
        hybrid = concatenate(original, edited, mask)
        fractal = self._chosen(draws.fractals, original)[0]
        return {
            "original": original,
            "edited": edited,
            "mask": mask,
            "hybrid": hybrid,
            "fractal": fractal,
            "result": blend(hybrid, fractal, self.fractal_weight),
        }

    def _chosen(self, indices: list[int], like: Tensor) -> Tensor:
        chosen = self.fractals[indices]
        return resize_fractals(chosen, like.shape[-2], like.shape[-1]).to(like.device)


def _check_batch(original: Tensor, edited: Tensor, seeds: Sequence[int]) -> None:
    for name, images in (("original", original), ("edited", edited)):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"{name} must be uint8 [B, 3, H, W], not {images.dtype} {[*images.shape]}"
            )
    if len(seeds) != len(original):
        raise ValueError(f"{len(seeds)} seeds for {len(original)} images")
