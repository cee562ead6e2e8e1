"""AdaBN (Li et al., arXiv 1603.04779): BatchNorm's statistics become the target's, nothing else.

What every method here that trains on batches of the target does by the way; alone it says how much
of a method's gain is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from uda.methods.base import Bank, Batch, Prediction, predict_by_entropy


class AdaBN:
    """No loss: batches pass the network, whose running means and variances follow them.

    An epoch of n batches leaves 0.9ⁿ of the source's statistics. Unknown where entropy / log K >
    ``entropy_threshold``; ``open_set`` False (PDA) rejects nothing.
    """

    trains = True
    needs_source = False
    extra_heads: tuple[str, ...] = ()

    def __init__(self, *, open_set: bool, entropy_threshold: float = 0.55) -> None:
        self.threshold = entropy_threshold if open_set else None

    def refresh(self, bank: Bank, epoch: int) -> None:
        """Nothing is kept."""

    def loss(self, target: Batch, state: Any, source: Batch | None = None) -> dict[str, Tensor]:
        """None: the loop takes no step then."""
        return {}

    def predict(self, bank: Bank) -> Prediction:
        """Labels by the highest probability, unknown by entropy."""
        return predict_by_entropy(bank.probabilities, self.threshold)

    def summary(self, state: Any) -> dict[str, Tensor]:
        """Nothing to draw."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take up."""
