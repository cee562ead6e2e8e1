"""OVANet (Saito and Saenko, arXiv 2104.03344): for each class, whether a picture is of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from uda.methods.base import Bank, Batch, check_share, check_weight
from uda.methods.joint import JointMethod, make_unit_rows
from uda.methods.losses import soft_cross_entropy

EPSILON = 1e-8


def is_class(open_logits: Tensor) -> Tensor:
    """Return the probability [B, K] of each class against its complement.

    ``open_logits`` [B, 2K]: "is not c" in column c, "is c" in column K + c.
    """
    is_not, is_it = open_logits.chunk(2, dim=1)
    return (is_it - is_not).sigmoid()


def open_set_loss(open_logits: Tensor, targets: Tensor) -> Tensor:
    """Return ½ (L_pos + L_neg) of a source batch.

    Of the classes that a picture is not of, the one that it is taken for most counts alone (hard
    negative).

    Args:
        open_logits: [B, 2K], as of `is_class`.
        targets: [B, K], soft: classes without mass are negative.
    """
    probability = is_class(open_logits)
    positive = -(targets * (probability + EPSILON).log()).sum(dim=1).mean()
    against = -(1 - probability + EPSILON).log()
    negative = torch.where(targets > 0, 0.0, against).amax(dim=1).mean()
    return (positive + negative) / 2


def open_entropy(open_logits: Tensor) -> Tensor:
    """Return the entropy of each class against its complement, mean over batch and classes."""
    is_it = is_class(open_logits)
    is_not = 1 - is_it
    entropy = is_it * (is_it + EPSILON).log() + is_not * (is_not + EPSILON).log()
    return -entropy.mean()


class OvaNet(JointMethod):
    """OVANet: L = cross-entropy + ½ (L_pos + L_neg) + ``entropy_weight`` · L_ent (its eq. 1 to 4).

    A picture is unknown where the one-vs-all classifier of its most probable class says that it is
    not of it. Faithful to the released code but for one thing: rows are made unit after each step,
    and not before the next, so evaluation sees unit rows.

    Args:
        open_set: False (PDA) rejects nothing at test time; the released code goes on rejecting.
        entropy_weight: λ.
        threshold: Unknown is what has a higher probability of not being of its class.
    """

    name = "ovanet"
    title = "OVANet"
    own_score = True

    def __init__(
        self, *, open_set: bool, entropy_weight: float = 0.1, threshold: float = 0.5
    ) -> None:
        super().__init__(open_set=open_set)
        check_weight("ovanet.entropy_weight", entropy_weight)
        check_share("ovanet.threshold", threshold)
        self.entropy_weight = entropy_weight
        self.threshold = threshold if open_set else None

    def make_heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        """Return C2 [2K, D], of unit rows."""
        layer = nn.Linear(num_features, 2 * num_classes, bias=False)
        make_unit_rows(layer)
        return {"open": layer}

    @property
    def _open(self) -> nn.Linear:
        layer = self.heads["open"]
        assert isinstance(layer, nn.Linear)
        return layer

    def joint_loss(self, source: Batch, target: Batch, state: Any) -> dict[str, Tensor]:
        """Return the three losses, weighted."""
        assert source.targets is not None
        return {
            "ce": soft_cross_entropy(source.logits, source.targets),
            "open": open_set_loss(self._open(source.features), source.targets),
            "entropy": self.entropy_weight * open_entropy(self._open(target.features)),
        }

    def after_step(self, source: Batch, target: Batch) -> None:
        """Give the one-vs-all rows unit norm."""
        super().after_step(source, target)
        make_unit_rows(self._open)

    @torch.no_grad()
    def unknown_score(self, bank: Bank) -> Tensor:
        """Return the probability [N] of not being of the most probable class."""
        label = bank.probabilities.argmax(dim=1)
        return 1 - is_class(self._open(bank.features)).gather(1, label[:, None])[:, 0]
