"""k-means by faiss, which is imported where it is needed. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROUNDS = 25  # as in the released code of GLC; faiss stops where nothing changes any more
FEW_ROUNDS = 10  # within 1 % of the inertia of 25: enough to compare numbers of clusters


def kmeans_centroids(
    points: Tensor,
    count: int,
    seed: int = 0,
    start: Tensor | None = None,
    rounds: int = ROUNDS,
) -> Tensor:
    """Return the centroids [C, d] of k-means of ``points`` [M, d]; C = min(``count``, M).

    It runs on the CPU, in as many threads as torch has, in float32.

    Args:
        points: On any device, where the result is, too.
        count: Clusters.
        seed: Of the points that it begins with.
        start: [C, d], centroids to begin with instead.
        rounds: At most.
    """
    import faiss

    rows = np.ascontiguousarray(points.detach().float().cpu().numpy())
    first = first_centroids(rows, count, seed) if start is None else start.float().cpu().numpy()
    faiss.omp_set_num_threads(torch.get_num_threads())
    kmeans = faiss.Kmeans(
        rows.shape[1],
        min(count, len(rows)),
        niter=rounds,
        seed=seed,
        min_points_per_centroid=1,  # or it warns of few
        max_points_per_centroid=len(rows),  # all; it would take 256
    )
    kmeans.train(rows, init_centroids=first)
    return torch.from_numpy(kmeans.centroids).to(points)


def first_centroids(points: NDArray[np.float32], count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return k-means++'s [C, d] of ``points`` [M, d]; C = min(``count``, M).

    They are drawn one after the other: those of a smaller count are the first of them.
    """
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    centroids = np.empty((min(count, len(points)), points.shape[1]), dtype=np.float32)
    kind = faiss.ClusteringInitialization  # type: ignore[attr-defined]
    drawing = kind(points.shape[1], len(centroids))
    drawing.method = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
    drawing.seed = seed + 1  # as faiss.Kmeans draws them
    drawing.init_centroids(len(points), faiss.swig_ptr(points), faiss.swig_ptr(centroids))
    return centroids


def nearest_centroid(points: Tensor, centroids: Tensor) -> Tensor:
    """Return the number int64 [M] of the nearest of ``centroids`` [C, d] to each of ``points``."""
    # |x - c|² without |x|², which is the same for every centroid, halved and negated.
    return torch.addmm(centroids.square().sum(dim=1) / -2, points, centroids.T).argmax(dim=1)


def cluster_labels(points: NDArray[np.float32], counts: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return each count's clusters [M], from 0, of ``points`` [M, d] by `FEW_ROUNDS` of k-means."""
    if not counts:
        return []
    points = np.ascontiguousarray(points)
    rows = torch.from_numpy(points)
    # k-means++ costs as much as the rounds, so its centroids are drawn once for all counts.
    start = torch.from_numpy(first_centroids(points, max(counts)))
    labels = []
    for count in counts:
        centroids = kmeans_centroids(rows, count, start=start[:count], rounds=FEW_ROUNDS)
        labels.append(nearest_centroid(rows, centroids).numpy())
    return labels
