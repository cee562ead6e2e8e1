"""How many clusters the target's features fall into (LEAD's C_t). Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)


def tsne(unit_features: NDArray[np.float32], max_samples: int = 20_000) -> NDArray[np.float32]:
    """2-D t-SNE [M, 2] of ``unit_features`` [N, D], as the released LEAD does it.

    M = N, or a seeded random third of the rows where N exceeds ``max_samples`` (VisDA's case).
    """
    count = len(unit_features)
    if count > max_samples:
        rows = np.random.default_rng(0).choice(count, count // 3, replace=False)
        unit_features = unit_features[rows]
    perplexity = min(30.0, (len(unit_features) - 1) / 3)
    embedding = TSNE(2, init="pca", random_state=0, perplexity=perplexity)
    return embedding.fit_transform(unit_features)


def candidates(
    num_classes: int, num_samples: int, multiples: Sequence[float] = MULTIPLES
) -> list[int]:
    """Cluster counts to try, each once: int(K · multiple), at least 2, fewer than the samples."""
    counts = (max(int(num_classes * multiple), 2) for multiple in multiples)
    return list(dict.fromkeys(count for count in counts if count < num_samples))


def best_num_clusters(points: NDArray[np.float32], counts: Sequence[int]) -> int | None:
    """The one of ``counts`` whose k-means of ``points`` [N, d] has the best silhouette.

    The earlier on a tie; None where no silhouette is positive.
    """
    best, best_score = None, 0.0
    distinct = len(np.unique(points, axis=0))
    for count in counts:
        if count > distinct:
            continue  # k-means cannot make them
        score = silhouette_score(points, KMeans(count, random_state=0).fit_predict(points))
        if score > best_score:
            best, best_score = count, float(score)
    return best
