"""Mixing the images of a batch by masks: what CutMix's successors have in common."""

from __future__ import annotations

import torch
from torch import Tensor


def mix_by_mask(
    images: Tensor, targets: Tensor, partners: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Return m x + (1 − m) x' of images x and partners x', and targets mixed by the mean of m.

    Args:
        images: x, [B, 3, H, W].
        targets: [B, K].
        partners: int64 [B], rows of the batch.
        mask: m in [0, 1], [B, H, W] or, shared by all, [1, H, W].
    """
    mask = mask.to(images)
    share = mask.mean(dim=(1, 2))[:, None].to(targets)
    mixed = torch.lerp(images[partners], images, mask[:, None])
    return mixed, torch.lerp(targets[partners], targets, share.expand_as(targets))


def previous(batch: Tensor) -> Tensor:
    """Return partners int64 [B]: for each row the row before, as torchvision's Mixup and CutMix do.

    Batches are shuffled, so these are random pairs.
    """
    return torch.arange(len(batch), device=batch.device).roll(1)
