"""How unknown a sample is, and the decision that it is unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_EPSILON = 1e-5


@dataclass(frozen=True)
class Prediction:
    """What a method says of each sample of the target.

    Attributes:
        label: int64 [N] in 0..K, where K is unknown.
        unknown_score: [N], high for unknown.
    """

    label: Tensor
    unknown_score: Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy [...] of ``probabilities`` [..., K] in nats."""
    return -(probabilities * (probabilities + LOG_EPSILON).log()).sum(dim=-1)


def normalised_entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy [N] of ``probabilities`` [N, K] over log K: 0 certain, 1 uniform."""
    if probabilities.shape[1] == 1:  # a single class leaves nothing to be unsure of
        return probabilities.new_zeros(len(probabilities))
    return entropy(probabilities) / math.log(probabilities.shape[1])


def predict_by_entropy(probabilities: Tensor, threshold: float | None) -> Prediction:
    """Return the most probable classes, or unknown (K) where entropy / log K exceeds ``threshold``.

    A ``threshold`` of None rejects nothing (PDA).
    """
    return predict_above(normalised_entropy(probabilities), probabilities, threshold)


def predict_above(score: Tensor, probabilities: Tensor, threshold: float | None) -> Prediction:
    """Return the most probable classes, or unknown (K) where ``score`` exceeds ``threshold``.

    Args:
        score: [N], high for unknown.
        probabilities: [N, K].
        threshold: None calls nothing unknown.
    """
    label = probabilities.argmax(dim=1)
    if threshold is not None:
        label = torch.where(score > threshold, probabilities.shape[1], label)
    return Prediction(label, score)


def higher_cluster(values: Tensor) -> Tensor:
    """Return which of ``values`` [N] are in the higher of their two k-means clusters, bool [N].

    In one dimension a cut of the sorted values separates the clusters, so trying every cut gives
    the best pair: no start is drawn, and equal values stay together. If all are equal, none is
    higher.
    """
    if len(values) < 2:
        return torch.zeros_like(values, dtype=torch.bool)
    ordered = values.double().sort().values
    sums, total = ordered.cumsum(0)[:-1], ordered.sum()
    below = torch.arange(1, len(ordered), dtype=torch.double, device=values.device)
    above = len(ordered) - below
    # The variance within clusters is least where that between them (here times N) is highest.
    between = below * above / len(ordered) * (sums / below - (total - sums) / above) ** 2
    return values > ordered[between.argmax()]
