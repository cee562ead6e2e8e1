"""Eq. 3 and 4 of GenMix as pure functions on tensors, one by one and fused for speed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from genmix_aug.masks import ramp, seam, side_is_horizontal

PAPER_FRACTAL_WEIGHT = 0.20


def _check_pair(first: Tensor, second: Tensor, names: str) -> None:
    if first.dtype != second.dtype:
        raise ValueError(f"{names} differ in dtype: {first.dtype} and {second.dtype}")
    if not (first.dtype == torch.uint8 or first.is_floating_point()):
        raise ValueError(f"{names} must be uint8 or floating point, not {first.dtype}")
    if first.shape[-3:] != second.shape[-3:]:
        raise ValueError(f"{names} differ in shape: {[*first.shape]} and {[*second.shape]}")


def _check_weight(weight: float) -> None:
    if not 0 <= weight <= 1:
        raise ValueError(f"the fractal weight must be in [0, 1], not {weight}")


def _as_dtype(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.round().clamp(0, 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)


def concatenate(original: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """The hybrid image of Eq. 3: mask * edited + (1 - mask) * original.

    Args:
        original, edited: [..., C, H, W], uint8 or floating point, of one shape and dtype.
        mask: floating point [H, W] in [0, 1], or any shape that broadcasts to the images.

    Returns:
        A tensor like `original`; uint8 is rounded to the nearest level.

    Raises:
        ValueError: the images differ in shape or dtype, or are of an integer type.
    """
    _check_pair(original, edited, "original and edited")
    mask = mask.to(original.device)
    work = torch.promote_types(mask.dtype, torch.float32)
    mixed = mask.to(work) * edited.to(work) + (1 - mask.to(work)) * original.to(work)
    return _as_dtype(mixed, original.dtype)


def blend(hybrid: Tensor, fractal: Tensor, weight: float = PAPER_FRACTAL_WEIGHT) -> Tensor:
    """The result of Eq. 4: (1 - weight) * hybrid + weight * fractal.

    Args:
        hybrid, fractal: [..., C, H, W], uint8 or floating point, of one shape and dtype; one
            fractal [C, H, W] serves a whole batch.
        weight: of the fractal, in [0, 1]; the paper's is 0.20.

    Returns:
        A tensor like `hybrid`; uint8 is rounded to the nearest level.

    Raises:
        ValueError: shapes or dtypes differ, or the weight is out of range.
    """
    _check_pair(hybrid, fractal, "hybrid and fractal")
    _check_weight(weight)
    work = torch.promote_types(hybrid.dtype, torch.float32)
    mixed = (1 - weight) * hybrid.to(work) + weight * fractal.to(work)
    return _as_dtype(mixed, hybrid.dtype)


def mix(
    original: Tensor,
    edited: Tensor,
    fractal: Tensor,
    side: str | Sequence[str],
    blend_width: int = 20,
    fractal_weight: float = PAPER_FRACTAL_WEIGHT,
) -> Tensor:
    """Eq. 3 with `smooth_mask(H, W, side, blend_width)`, then Eq. 4, in one pass.

    Outside the seam the mask is 0 or 1, so one of the two images goes straight into the blend;
    only the seam is weighted by the mask. Within one grey level of `blend(concatenate(...))`.

    Args:
        original, edited: uint8 or floating point [C, H, W] or [B, C, H, W].
        fractal: [C, H, W] for all images, or one for each, of the images' dtype.
        side: where the edited image shows, for all images or a list of one for each.
        blend_width: px of the seam.
        fractal_weight: in [0, 1].

    Returns:
        A new tensor of the shape and dtype of `original`.

    Raises:
        ValueError: shapes, dtypes, sides, blend width or weight that do not fit.
    """
    if original.shape != edited.shape or original.ndim not in (3, 4):
        raise ValueError(
            "original and edited must be alike, [C, H, W] or [B, C, H, W], "
            f"not {[*original.shape]} and {[*edited.shape]}"
        )
    _check_pair(original, edited, "original and edited")
    _check_pair(original, fractal, "original and fractal")
    _check_weight(fractal_weight)
    batch = original.ndim == 4
    count = original.shape[0] if batch else 1
    sides = [side] * count if isinstance(side, str) else list(side)
    if len(sides) != count:
        raise ValueError(f"{len(sides)} sides for {count} images")
    if fractal.ndim == 4 and fractal.shape[0] != count:
        raise ValueError(f"{fractal.shape[0]} fractals for {count} images")

    result = torch.empty_like(original, memory_format=torch.contiguous_format)
    pair = (original, edited) if batch else (original[None], edited[None])
    fractals = fractal if fractal.ndim == 4 else fractal[None].expand(count, -1, -1, -1)
    results = result if batch else result[None]
    in_memory = original.device.type == "cpu"
    fused = _mix_bytes if original.dtype == torch.uint8 and in_memory else _mix_any
    for index, this_side in enumerate(sides):
        fused(
            pair[0][index],
            pair[1][index],
            fractals[index],
            this_side,
            blend_width,
            fractal_weight,
            results[index],
        )
    return result


def _mix_any(
    original: Tensor,
    edited: Tensor,
    fractal: Tensor,
    side: str,
    blend_width: int,
    weight: float,
    out: Tensor,
) -> None:
    """One image [C, H, W] of any dtype on any device, by slices."""
    dim = -1 if side_is_horizontal(side) else -2
    length = original.shape[dim]
    start, stop = seam(length, blend_width)
    first, last = (edited, original) if side in ("left", "top") else (original, edited)
    out.narrow(dim, 0, start).copy_(first.narrow(dim, 0, start))
    out.narrow(dim, stop, length - stop).copy_(last.narrow(dim, stop, length - stop))
    if stop > start:
        rising = ramp(length, blend_width)[start:stop].to(original.device)
        rising = rising if dim == -1 else rising[:, None]
        before, after = (part.narrow(dim, start, stop - start) for part in (first, last))
        out.narrow(dim, start, stop - start).copy_(concatenate(before, after, rising))
    if weight > 0:
        out.copy_(blend(out, fractal, weight))


def _mix_bytes(
    original: Tensor,
    edited: Tensor,
    fractal: Tensor,
    side: str,
    blend_width: int,
    weight: float,
    out: Tensor,
) -> None:
    """One uint8 image [C, H, W] in main memory: OpenCV's saturating SIMD on slices."""
    height, width = original.shape[-2:]
    along_width = side_is_horizontal(side)
    length, step = (width, 1) if along_width else (height, width)
    start, stop = (edge * step for edge in seam(length, blend_width))

    # Both cuts become cuts between columns: rows of pixels, or whole planes as rows.
    columns = width if along_width else height * width

    def flat(image: Tensor) -> np.ndarray:
        return image.contiguous().numpy().reshape(-1, columns)

    first, last = (edited, original) if side in ("left", "top") else (original, edited)
    head, tail, noise, target = flat(first), flat(last), flat(fractal), flat(out)
    parts = [(slice(0, start), head)] if start else []
    parts += [(slice(stop, columns), tail)] if stop < columns else []
    for columns_of, source in parts:
        cv2.addWeighted(
            source[:, columns_of],
            1 - weight,
            noise[:, columns_of],
            weight,
            0,
            dst=target[:, columns_of],
        )
    if stop > start:
        rising = ramp(length, blend_width)[start // step : stop // step].repeat_interleave(step)
        amount = rising.numpy()
        middle = slice(start, stop)
        hybrid = head[:, middle] * (1 - amount) + tail[:, middle] * amount
        mixed = hybrid * np.float32(1 - weight) + noise[:, middle] * np.float32(weight)
        target[:, middle] = (mixed + np.float32(0.5)).astype(np.uint8)
