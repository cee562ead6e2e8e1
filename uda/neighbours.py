"""Nearest neighbours over a bank of unit-norm features."""

from __future__ import annotations

from torch import Tensor


def nearest(queries: Tensor, bank: Tensor, count: int) -> Tensor:
    """Indices [B, count] of the rows of ``bank`` [N, D] nearest by cosine to ``queries`` [B, D].

    Both have unit rows; nearest first. ValueError where the bank holds fewer than ``count``.
    """
    if len(bank) < count:
        raise ValueError(f"{count} neighbours asked of a bank of {len(bank)}")
    return (queries @ bank.T).topk(count, dim=1).indices
