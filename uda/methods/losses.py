"""Losses that several methods and supervised training share."""

from __future__ import annotations

from torch import Tensor


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of ``logits`` [B, K] to soft ``targets`` [B, K]."""
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
