"""Nearest neighbours over a bank of unit-norm features."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 1_024  # queries whose cosines to the whole bank are held at once


def nearest(queries: Tensor, bank: Tensor, count: int) -> Tensor:
    """Indices [B, count] of the rows of ``bank`` [N, D] nearest by cosine to ``queries`` [B, D].

    Both have unit rows; nearest first. ValueError where the bank holds fewer than ``count``.
    """
    if len(bank) < count:
        raise ValueError(
            f"{count} neighbours asked of a bank of {len(bank)} images: lower the method's option "
            "`neighbours`, or give more images"
        )
    found = [(some @ bank.T).topk(count, dim=1).indices for some in queries.split(CHUNK)]
    return torch.cat(found)
