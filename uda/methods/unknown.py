"""How unknown a sample is, and the decision that it is unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_EPSILON = 1e-5


@dataclass(frozen=True)
class Prediction:
    """``label`` int64 [N] in 0..K, where K is unknown; ``unknown_score`` [N], high for unknown."""

    label: Tensor
    unknown_score: Tensor


def normalised_entropy(probabilities: Tensor) -> Tensor:
    """Entropy [N] of ``probabilities`` [N, K] over log K: 0 for certain, 1 for uniform."""
    if probabilities.shape[1] == 1:  # a single class leaves nothing to be unsure of
        return probabilities.new_zeros(len(probabilities))
    entropy = -(probabilities * (probabilities + LOG_EPSILON).log()).sum(dim=1)
    return entropy / math.log(probabilities.shape[1])


def predict_by_entropy(probabilities: Tensor, threshold: float | None) -> Prediction:
    """The most probable class, or unknown (K) where the entropy over log K exceeds ``threshold``.

    ``threshold`` None rejects nothing (PDA).
    """
    score = normalised_entropy(probabilities)
    label = probabilities.argmax(dim=1)
    if threshold is not None:
        label = torch.where(score > threshold, probabilities.shape[1], label)
    return Prediction(label, score)


def higher_cluster(values: Tensor) -> Tensor:
    """Bool [N]: which of ``values`` [N] are in the higher of their two k-means clusters.

    In one dimension the clusters are two runs of the sorted values, so trying every cut
    finds the best pair: no start to draw, and equal values stay together. None is higher where all
    are equal.
    """
    if len(values) < 2:
        return torch.zeros_like(values, dtype=torch.bool)
    ordered = values.double().sort().values
    sums, total = ordered.cumsum(0)[:-1], ordered.sum()
    below = torch.arange(1, len(ordered), dtype=torch.double, device=values.device)
    above = len(ordered) - below
    # Least variance within is most variance between, here times N.
    between = below * above / len(ordered) * (sums / below - (total - sums) / above) ** 2
    return values > ordered[between.argmax()]
