"""Finds edits that failed, as prompts do now and then (GenMix, Figure 6): black, blank, lost, ….

Pixels show most failures. With a feature function, an edit also fails that is no nearer to its
original, by features, than many other originals are: it is changed past recognition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

PIXEL_REASONS = ("non-finite", "black", "white", "flat", "unchanged")
REASONS = (*PIXEL_REASONS, "unrecognisable")

Features = Callable[[Tensor], Tensor]  # uint8 [B, 3, H, W] -> float [B, D]

# Limits in grey levels, 0 to 255. The editor `filters` stays well clear of all of them: over
# EmojiHome and all fifteen prompts its edits lie 52 from black, 17 from white, and have a
# contrast of at least 13.
BLANK_MARGIN = 10.0  # mean distance from black, or from white, of a picture of next to nothing
FLAT_CONTRAST = 6.0  # noise of storage and of a faint gradient, but no drawing
# A picture scaled to 512 px and back and stored as JPEG differs by 1 to 3, finest line drawings
# and sharp photographs by up to 5; the faintest edit of `filters` differs by 8.
UNCHANGED = 5.0
# An edit is not at fault for what its original is too: a line drawing on white is nearly white.
# It failed if less than this share of the original's brightness, darkness or contrast is left.
SHARE_LEFT = 0.5

# How much of the originals' mean features is taken off before the cosine. With none of it, what
# all features have in common makes strangers alike, so swapped pictures pass; with all of it,
# what is empty (noise, blur), whose features lie near that mean, points anywhere. Half finds
# both. Caught, in %, where 2 % of the edits of `filters` but mosaic are rejected (310 pictures of
# EmojiHome, ImageNet EfficientNet-lite0), with 0, 0.5 and 1: noise 98 96 56, blur of 32 px
# 97 95 53, another picture 28 41 50, another picture under "graffiti" 50 58 60.
CENTRING = 0.5
# The share of pairs of different originals that are less alike than the limit. On Twemoji the limit
# is then 0 and rejects 0.3 % of the edits under cross-domain prompts, none to 2 % of those under
# in-domain ones, 11 % of mosaics; it catches 9 in 10 of noise and of blurs of 32 px, 1 in 4
# of swapped pictures. A limit at 0.5 would catch half of those, but reject 5 % of all good edits
# and half the mosaics.
STRANGER_QUANTILE = 0.25
# Where the originals are all alike, such as faces only, strangers are nearer to each other than
# good edits in a new style to their originals: however alike they are, the limit stays at most 0.
HIGHEST_LIMIT = 0.0
MAX_PAIRS = 500_000  # pairs of originals looked at; more do not move the quantile
REFERENCE_IMAGES = 512  # originals that say what strangers look like; more say the same


class Verdict(NamedTuple):
    """What screening says of an edit.

    `reason` is a member of `REASONS`, or "" where the edit is good. `scores`, finite and rounded to
    four digits: brightness (mean grey level), contrast (standard deviation over the pixels, root
    mean square over the channels), change (mean absolute difference from the original), all in
    grey levels, and similarity (-1 to 1) where features were compared.
    """

    reason: str
    scores: dict[str, float]


class Reference(NamedTuple):
    """What the originals say about similarity: their mean features [D], and the limit."""

    mean: Tensor
    min_similarity: float


def similarities(edits: Tensor, originals: Tensor, mean: Tensor) -> Tensor:
    """Return cosines [B] of features, row by row, after `CENTRING` of their mean is taken off.

    Args:
        edits, originals: Features [B, D].
        mean: The mean of the originals' features [D].
    """
    shift = CENTRING * mean
    return cosine_similarity(edits - shift, originals - shift, dim=1)


def reference_of(features: Tensor, quantile: float = STRANGER_QUANTILE) -> Reference:
    """Return the originals' mean features and the least similarity of an edit to its original.

    The limit is the `quantile` of the similarities of two different originals, over all pairs
    or, where they are many, over a sample of pairs that is the same each time; at most
    `HIGHEST_LIMIT`.

    Args:
        features: Of the originals [N, D], N >= 2; some hundreds will do.

    Raises:
        ValueError: Fewer than two originals, features that are not a finite [N, D], or a
            quantile outside 0 to 1.
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"the quantile of similarities must lie in 0 to 1, not {quantile}")
    _check_features(features, len(features))
    if len(features) < 2:
        raise ValueError(
            f"a limit of similarity needs at least two originals, not {len(features)}: "
            "screen without features, or give more images"
        )
    features = features.float()
    mean = features.mean(0)
    unit = normalize(features - CENTRING * mean, dim=1)
    count = len(unit)
    if count * (count - 1) // 2 <= MAX_PAIRS:
        left, right = torch.triu_indices(count, count, 1, device=unit.device)
        cosines = (unit @ unit.T)[left, right]
    else:
        generator = torch.Generator().manual_seed(0)
        left = torch.randint(0, count, (MAX_PAIRS,), generator=generator)
        right = (left + torch.randint(1, count, (MAX_PAIRS,), generator=generator)) % count
        chunks = zip(left.split(50_000), right.split(50_000), strict=True)
        cosines = torch.cat([(unit[a] * unit[b]).sum(1) for a, b in chunks])
    # Not torch.quantile, which refuses more than 16 million values.
    rank = 1 + round(quantile * (len(cosines) - 1))
    return Reference(mean, min(HIGHEST_LIMIT, float(cosines.kthvalue(rank).values)))


def screen(
    originals: Tensor,
    edits: Tensor,
    features: Features | None = None,
    reference: Reference | None = None,
) -> list[Verdict]:
    """Judge edits of originals; the first of `REASONS` that holds is the verdict's.

    Args:
        originals: uint8 [B, 3, H, W].
        edits: Of the same shape, uint8, or float in [0, 1] as they were before the cast to
            uint8 hides what is not finite; finite values outside are cut off.
        features: A network's features of uint8 images [B, 3, H, W], float [B, D]. Without
            them nothing is unrecognisable.
        reference: From `reference_of`, with the same feature function.

    Raises:
        ValueError: Images of another dtype or shape, features without a reference or the other
            way round, or features that are not a finite [B, D].
    """
    _check_images(originals, edits)
    if (features is None) != (reference is None):
        raise ValueError("screening takes a feature function and its reference, or neither")
    if len(edits) == 0:
        return []
    finite = edits.isfinite().flatten(1).all(1)
    before, after = originals.float(), _grey_levels(edits)
    light, was_light = after.mean((1, 2, 3)), before.mean((1, 2, 3))
    contrast, had_contrast = _contrast(after), _contrast(before)
    change = (after - before).abs().mean((1, 2, 3))
    scores = {"brightness": light, "contrast": contrast, "change": change}
    dark, was_dark = 255 - light, 255 - was_light
    faults = {
        "non-finite": ~finite,
        "black": (light < BLANK_MARGIN) & (light < SHARE_LEFT * was_light),
        "white": (dark < BLANK_MARGIN) & (dark < SHARE_LEFT * was_dark),
        "flat": (contrast < FLAT_CONTRAST) & (contrast < SHARE_LEFT * had_contrast),
        "unchanged": change < UNCHANGED,
    }
    if features is not None and reference is not None:
        mine, theirs = features(after.round().to(torch.uint8)), features(originals)
        for rows in (mine, theirs):
            _check_features(rows, len(edits), len(reference.mean))
        mean = reference.mean.to(mine.device, torch.float32)
        scores["similarity"] = similarities(mine.float(), theirs.float(), mean)
        faults["unrecognisable"] = scores["similarity"] < reference.min_similarity
    listed = {name: values.tolist() for name, values in scores.items()}
    holds = {reason: values.tolist() for reason, values in faults.items()}
    return [
        Verdict(
            next((reason for reason in REASONS if reason in holds and holds[reason][k]), ""),
            {name: round(values[k], 4) for name, values in listed.items()},
        )
        for k in range(len(edits))
    ]


def _grey_levels(images: Tensor) -> Tensor:
    """Return uint8, or float in [0, 1], as float 0 to 255; what is not finite as black."""
    if images.dtype == torch.uint8:
        return images.float()
    return images.float().nan_to_num(0, 0, 0).clamp(0, 1) * 255


def _contrast(images: Tensor) -> Tensor:
    """Return the standard deviation over the pixels, root mean square over the channels: [B]."""
    return images.flatten(2).var(2, correction=0).mean(1).sqrt()


def _check_images(originals: Tensor, edits: Tensor) -> None:
    if originals.dtype != torch.uint8 or originals.ndim != 4 or originals.shape[1] != 3:
        raise ValueError(
            f"originals must be uint8 [B, 3, H, W], not {originals.dtype} {[*originals.shape]}"
        )
    if edits.shape != originals.shape:
        raise ValueError(
            f"edits are {[*edits.shape]} where their originals are {[*originals.shape]}"
        )
    if edits.dtype != torch.uint8 and not edits.is_floating_point():
        raise ValueError(f"edits must be uint8 or float in [0, 1], not {edits.dtype}")


def _check_features(features: Tensor, rows: int, width: int | None = None) -> None:
    if features.ndim != 2 or len(features) != rows or width not in (None, features.shape[1]):
        expected = f"[{rows}, {'D' if width is None else width}]"
        raise ValueError(f"the feature function must give {expected}, not {[*features.shape]}")
    if not features.isfinite().all():
        raise ValueError("the feature function gave values that are not finite")
