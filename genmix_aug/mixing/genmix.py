"""GenMix (arXiv 2412.02366): an edited half, a smooth seam and a fractal, drawn by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import index
from typing import Any, NamedTuple, overload

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from genmix_aug.images import from_picture, to_picture
from genmix_aug.mixing.masks import (
    SIDES,
    Box,
    blend_width_for,
    box_mask,
    cutmix_box,
    seam,
    side_is_horizontal,
    smooth_mask,
)
from genmix_aug.mixing.mix import (
    PAPER_FRACTAL_WEIGHT,
    blend,
    concatenate,
    mix_box,
    mix_constant,
    mix_seam,
)
from genmix_aug.seeding import hash_seed, unit_draw

JOINS = ("seam", "cutmix", "mixup", "edited", "original")
HARD_CUT = -1  # as a blend width: no seam at all
# How far floats may lie outside [0, 1]: half precision and resizing round.
RANGE_SLACK = 1e-3


class Draws(NamedTuple):
    """What was drawn for each image of a batch, whether its join needs it or not."""

    sides: list[str]
    fractals: list[int]  # indices into the fractals
    shares: list[float]  # of the edit, in [0, 1): CutMix's and Mixup's lambda
    centres: list[tuple[float, float]]  # of CutMix's box, down and across, in [0, 1)


def resize_fractals(fractals: Tensor, height: int, width: int) -> Tensor:
    """Return fractals uint8 [F, 3, h, w] at another size, [F, 3, height, width], antialiased."""
    if fractals.shape[-2:] == (height, width):
        return fractals
    # Bytes are resized several times faster than floats, but in main memory only, and wrongly
    # where the result is 1 px wide.
    as_bytes = fractals.device.type == "cpu" and width > 1
    source = fractals if as_bytes else fractals.float()
    resized = interpolate(source, (height, width), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8) if source is not fractals else resized


@dataclass(frozen=True)
class GenMix:
    """Joins originals and their edits: draw the parameters first, then apply `mix`.

    The defaults are the paper's. Its Tables 10 to 12 vary `join`, `fractal_weight` and `sides`.

    Args:
        fractals: uint8 [F, 3, S, S]; those drawn are resized to the images where sizes differ
            (see `at_size`).
        blend_width: Of the seam, in px at the images' size; None, or 0, scales the paper's 20 px of
            512 to the shorter side of the images (`blend_width_for`); -1 is no seam, a hard cut.
            (In `genmix_aug.mixing.mix` and `genmix_aug.mixing.masks`, which take px as they are,
            that is 0.)
        fractal_weight: Of the fractal in Eq. 4, in [0, 1]; 0 leaves the fractal out.
        sides: Where the edited image may show; drawn with equal chances.
        join: What replaces Eq. 3. "seam": the paper's. "cutmix": the edit fills a box
            of the original, its area and centre drawn (`cutmix_box`). "mixup": share * edit +
            (1 - share) * original, the share drawn from Beta(1, 1). "edited" and "original": that
            image alone.

    Raises:
        ValueError: No fractals or of another shape, an unknown side or join, a weight or width
            out of range.
    """

    fractals: Tensor = field(repr=False, compare=False)
    blend_width: int | None = None
    fractal_weight: float = PAPER_FRACTAL_WEIGHT
    sides: tuple[str, ...] = SIDES
    join: str = "seam"
    _looked_at: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shape = [*self.fractals.shape]
        if self.fractals.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[0] < 1:
            raise ValueError(f"fractals must be uint8 [F, 3, S, S], not {shape}")
        if isinstance(self.sides, str):
            raise ValueError(f"sides must be a tuple of names, not the text {self.sides!r}")
        unknown = set(self.sides) - set(SIDES)
        if unknown or not self.sides:
            raise ValueError(f"sides must be among {', '.join(SIDES)}, not {self.sides}")
        if not 0 <= self.fractal_weight <= 1:
            raise ValueError(f"fractal_weight must be in [0, 1], not {self.fractal_weight}")
        if self.blend_width == 0:  # as configurations say it
            object.__setattr__(self, "blend_width", None)
        if self.blend_width is not None and self.blend_width < HARD_CUT:
            raise ValueError(
                f"blend_width must be px, 0 (the paper's, scaled) or {HARD_CUT} (a hard cut), "
                f"not {self.blend_width}"
            )
        if self.join not in JOINS:
            raise ValueError(f"join must be one of {', '.join(JOINS)}, not {self.join!r}")

    def at_size(self, height: int, width: int) -> GenMix:
        """Return the same with all fractals resized once, for images of equal size."""
        return replace(self, fractals=resize_fractals(self.fractals, height, width))

    def check_size(self, height: int, width: int) -> None:
        """Refuse images of a size, in px, that is narrower than the seam at some side.

        Raises:
            ValueError: The seam does not fit.
        """
        if self.join == "seam" and self.blend_width is not None:
            for side in self.sides:
                length = width if side_is_horizontal(side) else height
                seam(length, self._seam_px(height, width))

    def draw(self, seeds: Sequence[int]) -> Draws:
        """Draw the parameters for each seed, from that seed alone."""
        count = len(self.fractals)
        return Draws(
            sides=[self.sides[hash_seed("side", seed) % len(self.sides)] for seed in seeds],
            fractals=[hash_seed("fractal", seed) % count for seed in seeds],
            shares=[unit_draw("share", seed) for seed in seeds],
            centres=[(unit_draw("down", seed), unit_draw("across", seed)) for seed in seeds],
        )

    @overload
    def __call__(self, original: Tensor, edited: Tensor, seeds: int | Sequence[int]) -> Tensor: ...
    @overload
    def __call__(self, original: Image.Image, edited: Image.Image, seeds: int) -> Image.Image: ...
    @overload
    def __call__(
        self, original: list[Image.Image], edited: list[Image.Image], seeds: Sequence[int]
    ) -> list[Image.Image]: ...

    def __call__(
        self,
        original: Tensor | Image.Image | list[Image.Image],
        edited: Tensor | Image.Image | list[Image.Image],
        seeds: int | Sequence[int],
    ) -> Tensor | Image.Image | list[Image.Image]:
        """Return GenMix images of originals and their edits, of the same type as these.

        Each image depends on its original, edit and seed only.

        Args:
            original: A tensor [3, H, W] or [B, 3, H, W] on any device, uint8 or floating point in
                [0, 1]; or a Pillow image; or a list of them, of any sizes.
            edited: The same of the edits.
            seeds: An int for a single image, a sequence for a batch or list; NumPy's integers and
                integer tensors do too.

        Returns:
            As `original`: the same type, shape, dtype and device. Pillow images are of mode RGB.

        Raises:
            ValueError: Shapes, dtypes or devices that do not fit, floating point outside [0, 1] (on
                a GPU the first images alone are looked at), or seeds that are no whole numbers
                or not as many as images.
        """
        seeds = _as_ints(seeds)
        if isinstance(original, Tensor) and isinstance(edited, Tensor):
            mixed = self._apply(original, edited, seeds)
            # torchvision's tv_tensors.Image keeps its type.
            return mixed if type(original) is Tensor else mixed.as_subclass(type(original))
        if isinstance(original, Image.Image) and isinstance(edited, Image.Image):
            pixels = from_picture(original), from_picture(edited)
            return to_picture(self._apply(*pixels, seeds))
        if isinstance(original, list) and isinstance(edited, list) and not isinstance(seeds, int):
            if not len(original) == len(edited) == len(seeds):
                raise ValueError(
                    f"{len(original)} originals, {len(edited)} edits and {len(seeds)} seeds"
                )
            together = zip(original, edited, seeds, strict=True)
            return [self(first, second, seed) for first, second, seed in together]
        raise ValueError(
            "original and edited must both be tensors, Pillow images, or lists of Pillow images "
            f"with a seed each, not {type(original).__name__} and {type(edited).__name__}"
        )

    def stages(self, original: Tensor, edited: Tensor, seed: int) -> dict[str, Tensor]:
        """Return each step for an image, in order: original, edited, mask, hybrid, fractal, result.

        Args:
            original: [3, H, W], uint8 or floating point in [0, 1].
            edited: Its edit, of the same shape and dtype.
            seed: As of a call.

        Returns:
            Like `original`, except mask: float32 [H, W], 1 where the edit shows.
        """
        seeds = _as_ints(seed)
        _check_images(original, edited, seeds)
        self._check_range(original, edited)
        draws = self.draw([seed])
        mask = self._mask(draws, *original.shape[-2:]).to(original.device)
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

    def _apply(self, original: Tensor, edited: Tensor, seeds: int | Sequence[int]) -> Tensor:
        _check_images(original, edited, seeds)
        self._check_range(original, edited)
        draws = self.draw([seeds] if isinstance(seeds, int) else seeds)
        height, width = original.shape[-2:]
        weight = self.fractal_weight
        # Without weight the fractal is not read: any image will do.
        fractals = self._chosen(draws.fractals, original) if weight > 0 else original
        if self.join == "seam":
            seam_px = self._seam_px(height, width)
            return mix_seam(original, edited, fractals, draws.sides, seam_px, weight)
        if self.join == "mixup":
            return mix_constant(original, edited, fractals, draws.shares, weight)
        return mix_box(original, edited, fractals, self._boxes(draws, height, width), weight)

    def _check_range(self, original: Tensor, edited: Tensor) -> None:
        """Refuse floating point outside [0, 1]; on a device the first batch stands for all.

        To look at a value makes an accelerator stop and wait, and those who forget to scale their
        images forget it in every batch.
        """
        device = original.device.type
        fits = original.dtype == edited.dtype and original.device == edited.device
        if not (fits and original.is_floating_point() and original.numel() and edited.numel()):
            return  # what does not fit is refused where the two meet
        if device == "cpu" or device not in {*self._looked_at, "meta"}:
            _check_range(original, edited)
            self._looked_at.add(device)

    def _seam_px(self, height: int, width: int) -> int:
        """Return the seam's width for images of this size, in px."""
        if self.blend_width is None:
            return blend_width_for(min(height, width))
        return max(self.blend_width, 0)

    def _boxes(self, draws: Draws, height: int, width: int) -> list[Box]:
        """Return the box that the edit fills in each image; it may be empty or the whole image."""
        if self.join == "cutmix":
            drawn = zip(draws.shares, draws.centres, strict=True)
            return [cutmix_box(height, width, share, centre) for share, centre in drawn]
        bottom = height if self.join == "edited" else 0
        return [Box(0, bottom, 0, width)] * len(draws.sides)

    def _mask(self, draws: Draws, height: int, width: int) -> Tensor:
        """Return the mask of the first image drawn for, float32 [height, width]."""
        if self.join == "seam":
            return smooth_mask(height, width, draws.sides[0], self._seam_px(height, width))
        if self.join == "mixup":
            return torch.full((height, width), draws.shares[0])
        return box_mask(height, width, self._boxes(draws, height, width)[0])

    def _chosen(self, indices: list[int], like: Tensor) -> Tensor | list[Tensor]:
        """Return the fractals of these indices, of the images' size, dtype and device."""
        fits = self.fractals.shape[-2:] == like.shape[-2:]
        if fits and like.dtype == torch.uint8 and like.device == self.fractals.device:
            return [self.fractals[index] for index in indices]  # views: nothing is copied
        chosen = resize_fractals(self.fractals[indices], *like.shape[-2:]).to(like.device)
        return chosen.to(like.dtype) / 255 if like.is_floating_point() else chosen


def _check_images(original: Tensor, edited: Tensor, seeds: int | Sequence[int]) -> None:
    for name, images in (("original", original), ("edited", edited)):
        dtype_fits = images.dtype == torch.uint8 or images.is_floating_point()
        if not dtype_fits or images.ndim not in (3, 4) or images.shape[-3] != 3:
            raise ValueError(
                f"{name} must be uint8 or floating point, [3, H, W] or [B, 3, H, W], "
                f"not {images.dtype} {[*images.shape]}"
            )
    if isinstance(seeds, int) != (original.ndim == 3):
        raise ValueError("one image [3, H, W] takes an int as its seed, a batch takes a list")
    if not isinstance(seeds, int) and len(seeds) != len(original):
        raise ValueError(f"{len(seeds)} seeds for {len(original)} images")


def _check_range(original: Tensor, edited: Tensor) -> None:
    """Refuse floating-point images that reach out of [0, 1]."""
    for name, images in (("original", original), ("edited", edited)):
        low, high = float(images.amin()), float(images.amax())
        if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):  # not the other way: NaN too
            raise ValueError(
                f"{name} must lie in [0, 1], not {low:g} to {high:g}: mix before normalising, and "
                "divide grey levels by 255"
            )


def _as_ints(seeds: Any) -> int | list[int]:
    """Return a seed, or a list of them, as plain ints.

    Raises:
        ValueError: A seed is no whole number.
    """
    try:
        if getattr(seeds, "ndim", 0) == 0 and hasattr(seeds, "__index__"):
            return index(seeds)
        return [index(seed) for seed in seeds]
    except TypeError:
        raise ValueError(f"seeds must be whole numbers, not {seeds!r}") from None


def parse_settings(join: str, sides: str, fractal_weight: float, blend_width: int) -> GenMix:
    """Return GenMix as command lines and configurations describe it, as yet without fractals.

    Args:
        sides: Names separated by commas.
        join, fractal_weight, blend_width: As in `GenMix`.

    Returns:
        With a black pixel for a fractal; `dataclasses.replace` puts the real ones in.

    Raises:
        ValueError: A value out of range.
    """
    placeholder = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    chosen = tuple(part.strip() for part in sides.split(","))
    return GenMix(placeholder, blend_width, fractal_weight, chosen, join)
