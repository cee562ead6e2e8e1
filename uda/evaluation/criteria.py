"""Choosing without labels: which epoch to keep, and above which entropy a sample is unknown.

Criteria see features and probabilities alone. How good their choices are needs labels, and is asked
in `uda.evaluation.evaluate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uda.methods.unknown import higher_cluster

MAX_ROWS = 8_000  # a larger target is sampled (seeded) for the neighbourhood density
TEMPERATURE = 0.05
BLOCK = 1_024
EPSILON = 1e-12


def entropies(probabilities: Tensor) -> Tensor:
    """Return the entropy [N], in nats, of ``probabilities`` [N, K]."""
    return -(probabilities * (probabilities + EPSILON).log()).sum(dim=1)


def negative_entropy(probabilities: Tensor) -> float:
    """Return minus the mean entropy of ``probabilities`` [N, K], in nats.

    It is high where the model is sure of each sample (Morerio et al., arXiv 1711.10288).
    """
    return -float(entropies(probabilities).mean())


def information(probabilities: Tensor) -> float:
    """Return the entropy of the mean of ``probabilities`` [N, K] less their mean entropy, in nats.

    It is high where the model is sure of each sample and of many classes (Shi and Sha, arXiv
    1206.6438).
    """
    return float(entropies(probabilities.mean(dim=0, keepdim=True))) + negative_entropy(
        probabilities
    )


def neighbourhood_density(probabilities: Tensor) -> float:
    """Return SND (Saito et al., arXiv 2108.10860): how many near neighbours the samples have.

    It is the mean entropy, in nats, of each sample's softmax over the cosines of its
    ``probabilities`` [N, K] and all others', at temperature 0.05; 0 for fewer than two samples.
    """
    if len(probabilities) < 2:
        return 0.0
    if len(probabilities) > MAX_ROWS:
        chosen = np.random.default_rng(0).permutation(len(probabilities))[:MAX_ROWS]
        probabilities = probabilities[torch.from_numpy(np.sort(chosen))]
    unit, total = F.normalize(probabilities, dim=1), 0.0
    for start in range(0, len(unit), BLOCK):
        cosines = unit[start : start + BLOCK] @ unit.T / TEMPERATURE
        rows = torch.arange(len(cosines))
        cosines[rows, rows + start] = -math.inf
        total += float(entropies(cosines.softmax(dim=1)).sum())
    return total / len(unit)


# Each chooses the epoch of its highest value.
CRITERIA: dict[str, Callable[[Tensor], float]] = {
    "entropy": negative_entropy,
    "information": information,
    "snd": neighbourhood_density,
}


def best_epoch(values: Sequence[float]) -> int:
    """Return the epoch (from 1) of the highest of ``values``, the earliest of equals.

    ``values`` has a value for each epoch of adaptation. Raises ValueError without any.
    """
    if not values:
        raise ValueError("no epoch of adaptation to choose from")
    return 1 + int(np.argmax(values))


def mixture_threshold(score: np.ndarray) -> float:
    """Return where the two components of a Gaussian mixture on ``score`` [N] are equally likely.

    The threshold lies between their means (minimum error thresholding: Kittler and Illingworth
    1986).
    """
    from sklearn.mixture import GaussianMixture

    if len(score) < 2 or np.ptp(score) == 0:
        return float(score.max(initial=0.0))
    mixture = GaussianMixture(2, random_state=0, tol=1e-6, max_iter=1_000).fit(score[:, None])
    order = np.argsort(mixture.means_[:, 0])
    low, high = mixture.means_[order, 0]
    grid = np.linspace(low, high, 1_001)
    likely_high = mixture.predict_proba(grid[:, None])[:, order[1]] >= 0.5
    return float(grid[int(np.argmax(likely_high))]) if likely_high.any() else float(high)


def two_means_threshold(score: np.ndarray) -> float:
    """Return the highest ``score`` [N] of the lower of the two k-means clusters.

    As in SHOT-O (arXiv 2002.08546); the same cut as Otsu's of 1979.
    """
    values = torch.from_numpy(score)
    return float(values[~higher_cluster(values)].max()) if len(values) else 0.0


# Each chooses a threshold of a score in [0, 1]; a sample above it is unknown.
THRESHOLDS: dict[str, Callable[[np.ndarray], float]] = {
    "mixture": mixture_threshold,
    "two-means": two_means_threshold,
}
