"""DANCE (Saito et al., arXiv 2002.07953): neighbours drawn together, entropies pushed apart."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.methods.base import Batch, check_weight
from uda.methods.joint import JointMethod
from uda.methods.losses import soft_cross_entropy
from uda.methods.unknown import entropy

TEMPERATURE = 0.05


def neighbourhood_loss(logits: Tensor, unit: Tensor, memory: Tensor, index: Tensor) -> Tensor:
    """Return the mean entropy of each sample's softmax over classes, memory and batch (eq. 4).

    Args:
        logits: [B, K], of the cosine classifier.
        unit: Unit-norm features [B, D]; the batch's similarities have a gradient on both sides.
        memory: Unit-norm features of the target [N, D], zero where a sample was not seen yet.
        index: int64 [B], the batch's rows of the memory, which count for none of the batch.
    """
    lowest = -1 / TEMPERATURE
    kept = unit @ memory.T / TEMPERATURE
    kept = kept.index_fill(1, index, lowest)
    beside = unit @ unit.T / TEMPERATURE
    beside = beside.masked_fill(torch.eye(len(unit), dtype=torch.bool, device=unit.device), lowest)
    return entropy(torch.cat([logits, kept, beside], dim=1).softmax(dim=1)).mean()


def separation_loss(probabilities: Tensor, margin: float) -> Tensor:
    """Return minus the mean distance of entropies from ρ = ½ log K, where it exceeds ``margin``.

    Nearer than that it is constant, and has no gradient (eq. 6).
    """
    rho = math.log(probabilities.shape[1]) / 2
    return -(entropy(probabilities) - rho).abs().clamp_min(margin).mean()


class Dance(JointMethod):
    """DANCE: L = cross-entropy + ``weight`` · (L_nc + L_es), with a classifier of cosines.

    As released, but that ρ is ½ log K everywhere, where some of its configurations have other
    numbers, and that only the batch's rows of the memory are made unit again after a step, which is
    the same. As there, the neighbours are those of the batch, too, which the paper does not say.

    Args:
        open_set: False (PDA) rejects nothing.
        weight: η.
        margin: m.
        momentum: Share of a sample's old feature in the memory.
        entropy_threshold: Above this entropy / log K a sample is unknown; ½ is the published ρ.
    """

    name = "dance"
    title = "DANCE"
    temperature = TEMPERATURE

    def __init__(
        self,
        *,
        open_set: bool,
        weight: float = 0.05,
        margin: float = 0.5,
        momentum: float = 0.0,
        entropy_threshold: float = 0.5,
    ) -> None:
        super().__init__(open_set=open_set, entropy_threshold=entropy_threshold)
        check_weight("dance.weight", weight)
        check_weight("dance.margin", margin)
        if not 0 <= momentum < 1:
            raise ValueError(f"adapt.options.dance.momentum: {momentum} is not in 0 to 1")
        self.weight = weight
        self.margin = margin
        self.momentum = momentum

    def joint_loss(self, source: Batch, target: Batch, state: Any) -> dict[str, Tensor]:
        """Return the three losses, weighted."""
        assert source.targets is not None
        unit = F.normalize(target.features, dim=1)
        memory = self._memory(unit)
        nearest = neighbourhood_loss(target.logits, unit, memory, target.index)
        apart = separation_loss(target.logits.softmax(dim=1), self.margin)
        return {
            "ce": soft_cross_entropy(source.logits, source.targets),
            "nc": self.weight * nearest,
            "es": self.weight * apart,
        }

    @torch.no_grad()
    def after_step(self, source: Batch, target: Batch) -> None:
        """Give the classifier unit rows, and the memory the batch's features."""
        super().after_step(source, target)
        unit = F.normalize(target.features, dim=1)
        memory = self._memory(unit)
        kept = self.momentum * memory[target.index] + (1 - self.momentum) * unit
        memory[target.index] = F.normalize(kept, dim=1)

    def _memory(self, unit: Tensor) -> Tensor:
        """Return the features of the whole target, on the device of ``unit``; zeros at first."""
        kept = self.memory.get("features")
        if kept is None:
            kept = unit.new_zeros(self.num_target, unit.shape[1])
        self.memory["features"] = kept.to(unit.device)
        return self.memory["features"]
