"""PuzzleMix's transport: salient blocks move to where the mask shows them."""

from __future__ import annotations

import torch
from torch import Tensor


def transport_plan(saliency: Tensor, mask: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the place int64 [B, m²] that each block goes to, and whether it gets it, bool.

    Block p goes to q at the cost ε |p − q|² / (m − 1)² − S[p] · [mask q > 0]. In each of m rounds a
    block takes its cheapest place, the first of equals, a place keeps the cheapest of its blocks,
    and the others' cost of it grows by 1 (PuzzleMix, arXiv 2009.06962).

    Args:
        saliency: S, each map of sum 1, [B, m, m].
        mask: The image's share, [B, m, m].
        epsilon: ε.
    """
    count, side = saliency.shape[:2]
    number = side * side
    block = torch.arange(number, device=saliency.device)
    rows, columns = block // side, block % side
    squared = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    far = epsilon * squared / max(side - 1, 1) ** 2
    is_shown = (mask.reshape(count, 1, number) > 0).to(saliency)
    cost = (far - saliency.reshape(count, number, 1) * is_shown).flatten(0, 1)  # [B m², m²]
    all_blocks = torch.arange(len(cost), device=cost.device)
    # The places of all images in a row, so that one table holds every place's best.
    offset = (all_blocks // number) * number
    place = cost.argmin(dim=1)
    wins = torch.ones_like(place, dtype=torch.bool)
    for last in range(side - 1, -1, -1):
        price = cost[all_blocks, place]
        seat = offset + place
        best = torch.full_like(price, torch.inf).scatter_reduce(0, seat, price, "amin")
        tied = torch.where(price == best[seat], all_blocks, len(cost))
        winner = torch.full_like(seat, len(cost)).scatter_reduce(0, seat, tied, "amin")
        wins = winner[seat] == all_blocks
        if not last:
            break
        losers = (~wins).nonzero()[:, 0]
        if not len(losers):
            break
        cost[losers, place[losers]] += 1
        place[losers] = cost[losers].argmin(dim=1)
    return place.view(count, number), wins.view(count, number)


def move_blocks(images: Tensor, place: Tensor, wins: Tensor, empty: Tensor) -> Tensor:
    """Return ``images`` [B, 3, H, W] with their blocks moved as `transport_plan` says.

    Args:
        images: H and W are multiples of m.
        place: [B, m²].
        wins: [B, m²].
        empty: The colour [3] of places that no block gets.
    """
    count, colours, height, width = images.shape
    side = round(place.shape[1] ** 0.5)
    tall, wide = height // side, width // side
    blocks = images.reshape(count, colours, side, tall, side, wide).permute(0, 2, 4, 1, 3, 5)
    blocks = blocks.reshape(count, side * side, colours, tall, wide)
    moved = empty.to(images).view(1, 1, colours, 1, 1).expand_as(blocks).clone()
    image, block = wins.nonzero(as_tuple=True)
    moved[image, place[image, block]] = blocks[image, block]
    moved = moved.view(count, side, side, colours, tall, wide).permute(0, 3, 1, 4, 2, 5)
    layout = torch.channels_last if _is_channels_last(images) else torch.contiguous_format
    return moved.reshape(images.shape).contiguous(memory_format=layout)


def _is_channels_last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
