"""Eq. 3 and 4 of GenMix as pure functions on tensors, separate and fused for speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from genmix_aug.mixing.masks import Box, ramp, seam, side_is_horizontal

PAPER_FRACTAL_WEIGHT = 0.20

Setting = TypeVar("Setting")
Fractals = Tensor | Sequence[Tensor]  # [C, H, W] for all images; [B, C, H, W] or a list, for each


def _check_pair(first: Tensor, second: Tensor, names: str) -> None:
    if first.dtype != second.dtype:
        raise ValueError(f"{names} differ in dtype: {first.dtype} and {second.dtype}")
    if not (first.dtype == torch.uint8 or first.is_floating_point()):
        raise ValueError(f"{names} must be uint8 or floating point, not {first.dtype}")
    if first.shape[-3:] != second.shape[-3:]:
        raise ValueError(f"{names} differ in shape: {[*first.shape]} and {[*second.shape]}")
    if first.device != second.device:
        raise ValueError(f"{names} are on different devices: {first.device} and {second.device}")


def _check_weight(weight: float) -> None:
    if not 0 <= weight <= 1:
        raise ValueError(f"the fractal weight must be in [0, 1], not {weight}")


def _check_images(original: Tensor, edited: Tensor, fractal: Fractals, weight: float) -> int:
    """Refuse what the fused functions cannot take; return the number of images."""
    if original.shape != edited.shape or original.ndim not in (3, 4):
        raise ValueError(
            "original and edited must be alike, [C, H, W] or [B, C, H, W], "
            f"not {[*original.shape]} and {[*edited.shape]}"
        )
    _check_pair(original, edited, "original and edited")
    for each in [fractal] if isinstance(fractal, Tensor) else fractal:
        _check_pair(original, each, "original and fractal")
    _check_weight(weight)
    count = len(original) if original.ndim == 4 else 1
    if not (isinstance(fractal, Tensor) and fractal.ndim == 3) and len(fractal) != count:
        raise ValueError(f"{len(fractal)} fractals for {count} images")
    return count


def _check_count(settings: Sequence[object], count: int, name: str) -> None:
    if len(settings) != count:
        raise ValueError(f"{len(settings)} {name} for {count} images")


def _as_dtype(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.round().clamp(0, 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)


def concatenate(original: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """Return the hybrid image of Eq. 3: mask * edited + (1 - mask) * original.

    Args:
        original: [..., C, H, W], uint8 or floating point.
        edited: Its edit, of the same shape and dtype.
        mask: Floating point [H, W] in [0, 1], or any shape that broadcasts to the images.

    Returns:
        A tensor like `original`; uint8 is rounded to the nearest level.

    Raises:
        ValueError: The images differ in shape, dtype or device, or are of an integer type.
    """
    _check_pair(original, edited, "original and edited")
    mask = mask.to(original.device)
    work = torch.promote_types(mask.dtype, torch.promote_types(original.dtype, torch.float32))
    mixed = mask.to(work) * edited.to(work) + (1 - mask.to(work)) * original.to(work)
    return _as_dtype(mixed, original.dtype)


def blend(hybrid: Tensor, fractal: Tensor, weight: float = PAPER_FRACTAL_WEIGHT) -> Tensor:
    """Return the result of Eq. 4: (1 - weight) * hybrid + weight * fractal.

    Args:
        hybrid: [..., C, H, W], uint8 or floating point.
        fractal: Of the same shape and dtype; a single one, [C, H, W], serves a whole batch.
        weight: Of the fractal, in [0, 1]; the paper's is 0.20.

    Returns:
        A tensor like `hybrid`; uint8 is rounded to the nearest level.

    Raises:
        ValueError: Shapes, dtypes or devices differ, or the weight is out of range.
    """
    _check_pair(hybrid, fractal, "hybrid and fractal")
    _check_weight(weight)
    work = torch.promote_types(hybrid.dtype, torch.float32)
    # Eq. 4 in a single kernel.
    return _as_dtype(torch.lerp(hybrid.to(work), fractal.to(work), weight), hybrid.dtype)


def mix_seam(
    original: Tensor,
    edited: Tensor,
    fractal: Fractals,
    side: str | Sequence[str],
    blend_width: int = 20,
    fractal_weight: float = PAPER_FRACTAL_WEIGHT,
) -> Tensor:
    """Apply Eq. 3 with `smooth_mask(H, W, side, blend_width)`, then Eq. 4, in a single pass.

    Outside the seam the mask is 0 or 1, so either image goes straight into the blend; only the
    seam is weighted by the mask. Within a grey level of `blend(concatenate(...))`.
    An image's result does not depend on the others in its batch.

    Args:
        original: uint8 or floating point [C, H, W] or [B, C, H, W].
        edited: Its edit, of the same shape and dtype.
        fractal: [C, H, W] for all images; or a fractal for each, as a batch or as a list, which
            need not be copied together; of the images' dtype.
        side: Where the edited image shows: for all images, or a list with a side for each.
        blend_width: Width of the seam in px.
        fractal_weight: In [0, 1]; at 0 the fractal is not read.

    Returns:
        A new tensor of the shape and dtype of `original`.

    Raises:
        ValueError: Shapes, dtypes, devices, sides, blend width or weight that do not fit.
    """
    count = _check_images(original, edited, fractal, fractal_weight)
    sides = [side] * count if isinstance(side, str) else list(side)
    _check_count(sides, count, "sides")
    if _is_bytes(original):

        def join(first: Bytes, second: Bytes, noise: Bytes, this: str, out: Bytes) -> None:
            _seam_bytes(first, second, noise, this, blend_width, fractal_weight, out)

        return _each(join, original, edited, fractal, sides)
    hybrid = _seam_any(_batch(original), _batch(edited), sides, blend_width)
    return _finish(hybrid.reshape(original.shape), fractal, fractal_weight)


def mix_box(
    original: Tensor,
    edited: Tensor,
    fractal: Fractals,
    box: Box | Sequence[Box],
    fractal_weight: float = PAPER_FRACTAL_WEIGHT,
) -> Tensor:
    """Apply Eq. 3 with `box_mask(H, W, box)`, then Eq. 4: the edit in a box of the original.

    As `mix_seam`, with a box for all images or a list with a box for each. A box may be empty or
    the whole image.

    Raises:
        ValueError: As `mix_seam`, or a box that reaches out of the image.
    """
    count = _check_images(original, edited, fractal, fractal_weight)
    boxes = [box] * count if isinstance(box, Box) else list(box)
    _check_count(boxes, count, "boxes")
    height, width = original.shape[-2:]
    for top, bottom, left, right in boxes:
        if min(top, left) < 0 or bottom > height or right > width:
            raise ValueError(
                f"rows {top} to {bottom} and columns {left} to {right} reach out of an image of "
                f"{height} by {width} px"
            )
    if _is_bytes(original):

        def join(first: Bytes, second: Bytes, noise: Bytes, this: Box, out: Bytes) -> None:
            _box_bytes(first, second, noise, this, fractal_weight, out)

        return _each(join, original, edited, fractal, boxes)
    hybrid = _box_any(_batch(original), _batch(edited), boxes)
    return _finish(hybrid.reshape(original.shape), fractal, fractal_weight)


def mix_constant(
    original: Tensor,
    edited: Tensor,
    fractal: Fractals,
    share: float | Sequence[float],
    fractal_weight: float = PAPER_FRACTAL_WEIGHT,
) -> Tensor:
    """Apply Eq. 3 with a constant mask, then Eq. 4: Mixup (arXiv 1710.09412) of two images.

    As `mix_seam`, with the edit's share in [0, 1] for all images or a list with a share for each.

    Raises:
        ValueError: As `mix_seam`, or a share out of range.
    """
    count = _check_images(original, edited, fractal, fractal_weight)
    shares = [float(share)] * count if isinstance(share, int | float) else list(share)
    _check_count(shares, count, "shares")
    if not all(0 <= value <= 1 for value in shares):
        raise ValueError(f"the edit's share must be in [0, 1], not {shares}")
    if _is_bytes(original):

        def join(first: Bytes, second: Bytes, noise: Bytes, this: float, out: Bytes) -> None:
            _weigh_bytes(_rows(first), _rows(second), this, _rows(out))
            _weigh_bytes(_rows(out), _rows(noise), fractal_weight, _rows(out))

        return _each(join, original, edited, fractal, shares)
    mask = torch.tensor(shares, device=original.device)[:, None, None, None]
    hybrid = concatenate(_batch(original), _batch(edited), mask)
    return _finish(hybrid.reshape(original.shape), fractal, fractal_weight)


def _batch(images: Tensor) -> Tensor:
    return images if images.ndim == 4 else images[None]


def _finish(hybrid: Tensor, fractal: Fractals, weight: float) -> Tensor:
    """Return the result of Eq. 4, which may overwrite the hybrid."""
    if weight == 0:
        return hybrid
    fractal = fractal if isinstance(fractal, Tensor) else torch.stack(list(fractal))
    fractal = fractal[0] if fractal.ndim > hybrid.ndim else fractal
    if hybrid.is_floating_point():
        return hybrid.lerp_(fractal, weight)
    return blend(hybrid, fractal, weight)


def _seam_any(original: Tensor, edited: Tensor, sides: list[str], blend_width: int) -> Tensor:
    """Return the hybrid of Eq. 3 of [B, C, H, W] of any dtype on any device."""
    hybrid = original.clone(memory_format=torch.contiguous_format)
    for side, rows in _groups(sides, original.device):
        horizontal = side_is_horizontal(side)
        length = original.shape[-1 if horizontal else -2]
        start, stop = seam(length, blend_width)
        first = side in ("left", "top")
        ahead = (rows, slice(None), slice(None)) if horizontal else (rows, slice(None))
        visible = (*ahead, slice(0, start) if first else slice(stop, length))
        hybrid[visible] = edited[visible]
        if stop > start:
            profile = ramp(length, blend_width)
            mask = (profile.flip(0) if first else profile)[start:stop]
            mask = mask if horizontal else mask[:, None]
            middle = (*ahead, slice(start, stop))
            hybrid[middle] = concatenate(original[middle], edited[middle], mask)
    return hybrid


def _groups(sides: list[str], device: torch.device) -> list[tuple[str, slice | Tensor]]:
    """Return the images of each side, as indices into the batch: few launches for an accelerator.

    In main memory, where launches cost little, slices of single images save copies.
    """
    if len(set(sides)) == 1:
        return [(sides[0], slice(None))]
    if device.type == "cpu":
        return [(side, slice(number, number + 1)) for number, side in enumerate(sides)]
    rows_of: dict[str, list[int]] = {}
    for number, side in enumerate(sides):
        rows_of.setdefault(side, []).append(number)
    return [(side, torch.tensor(rows, device=device)) for side, rows in rows_of.items()]


def _box_any(original: Tensor, edited: Tensor, boxes: list[Box]) -> Tensor:
    """Return the hybrid of Eq. 3 of [B, C, H, W] on any device, all boxes at once."""
    height, width = original.shape[-2:]
    edges = torch.tensor(boxes, device=original.device).reshape(-1, 4, 1)
    down, across = (torch.arange(length, device=original.device) for length in (height, width))
    rows = (edges[:, 0] <= down) & (down < edges[:, 1])
    columns = (edges[:, 2] <= across) & (across < edges[:, 3])
    return torch.where(rows[:, None, :, None] & columns[:, None, None, :], edited, original)


# uint8 images in main memory: OpenCV's saturating SIMD on slices of [C, H, W].

Bytes = np.ndarray


def _is_bytes(images: Tensor) -> bool:
    return images.dtype == torch.uint8 and images.device.type == "cpu"


def _each(
    join: Callable[[Bytes, Bytes, Bytes, Setting, Bytes], None],
    original: Tensor,
    edited: Tensor,
    fractal: Fractals,
    settings: list[Setting],
) -> Tensor:
    """Call `join(original, edited, fractal, setting, out)` for each image, as arrays [C, H, W]."""
    result = torch.empty(original.shape, dtype=torch.uint8)
    first, second, out = (
        _batch(images).contiguous().numpy() for images in (original, edited, result)
    )
    fractals = _batch(fractal) if isinstance(fractal, Tensor) else fractal
    noises = [each.contiguous().numpy() for each in fractals]
    for number, setting in enumerate(settings):
        noise = noises[number if len(noises) > 1 else 0]
        join(first[number], second[number], noise, setting, out[number])
    return result


def _rows(image: Bytes) -> Bytes:
    """Return a contiguous [C, H, W] as [C, H * W], to OpenCV a picture of a single channel."""
    return image.reshape(len(image), -1)


def _weigh_bytes(first: Bytes, second: Bytes, weight: float, out: Bytes) -> None:
    """Write (1 - weight) * first + weight * second of 2-D arrays, rounded, into `out`."""
    if weight == 0:
        if out is not first:
            np.copyto(out, first)
    elif out.size:
        cv2.addWeighted(first, 1 - weight, second, weight, 0, dst=out)


def _seam_bytes(
    original: Bytes,
    edited: Bytes,
    fractal: Bytes,
    side: str,
    blend_width: int,
    weight: float,
    out: Bytes,
) -> None:
    height, width = original.shape[1:]
    along_width = side_is_horizontal(side)
    length, step = (width, 1) if along_width else (height, width)
    start, stop = (edge * step for edge in seam(length, blend_width))
    # Both cuts become cuts between columns: rows of pixels, or whole planes as rows.
    columns = length * step
    first, last = (edited, original) if side in ("left", "top") else (original, edited)
    head, tail, noise, target = (
        image.reshape(-1, columns) for image in (first, last, fractal, out)
    )
    _weigh_bytes(head[:, :start], noise[:, :start], weight, target[:, :start])
    _weigh_bytes(tail[:, stop:], noise[:, stop:], weight, target[:, stop:])
    if stop > start:
        falling, rising = _seam_weights(length, blend_width, step)
        middle = slice(start, stop)
        mixed = head[:, middle] * (falling * np.float32(1 - weight))
        mixed += tail[:, middle] * (rising * np.float32(1 - weight))
        mixed += noise[:, middle] * np.float32(weight)
        mixed += np.float32(0.5)
        target[:, middle] = mixed


@lru_cache(maxsize=64)
def _seam_weights(length: int, blend_width: int, step: int) -> tuple[Bytes, Bytes]:
    """Return both images' weights in the seam, float32, each repeated `step` times."""
    start, stop = seam(length, blend_width)
    rising = ramp(length, blend_width)[start:stop].repeat_interleave(step).numpy()
    return 1 - rising, rising


def _box_bytes(
    original: Bytes, edited: Bytes, fractal: Bytes, box: Box, weight: float, out: Bytes
) -> None:
    height, width = original.shape[1:]
    if box == (0, height, 0, width):
        _weigh_bytes(_rows(edited), _rows(fractal), weight, _rows(out))
        return
    _weigh_bytes(_rows(original), _rows(fractal), weight, _rows(out))
    inside = (slice(box.top, box.bottom), slice(box.left, box.right))
    for plane, noise, target in zip(edited, fractal, out, strict=True):
        _weigh_bytes(plane[inside], noise[inside], weight, target[inside])
