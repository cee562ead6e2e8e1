"""How many clusters the target's features fall into (LEAD's C_t). Pure functions.

scikit-learn, which takes a second to import, is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from uda.methods.geometry import nearest
from uda.methods.kmeans import cluster_labels

MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)
CLUSTERS = ("tsne", "features", "spectral", "classes")
KMEANS = ("faiss", "scikit-learn")
MAX_SAMPLES = 8_000  # of the features and the spectral space; more only cost time
FEW_DIMENSIONS = 64
CHUNK = 512  # rows of the distance matrix in memory at once


def estimate_num_clusters(
    features: Tensor,
    num_source_classes: int,
    previous: int | None = None,
    clusters: str = "features",
    multiples: Sequence[float] = MULTIPLES,
    kmeans: str = "faiss",
) -> int:
    """Return C_t, the number of target clusters, at least 1 and at most N.

    It is that of the ``multiples`` of K whose k-means has the best silhouette, or ``previous`` (at
    first K) where no silhouette is positive.

    Args:
        features: [N, D].
        num_source_classes: K.
        previous: The last estimate, if any.
        clusters: An entry of `CLUSTERS`: "classes" is K itself. The others name where k-means is
            done: the released code's 2-D "tsne", the unit-norm "features" or their "spectral" map
            (the last two of at most `MAX_SAMPLES` seeded random rows).
        multiples: Multiples of K to try.
        kmeans: An entry of `KMEANS`: what clusters "features" and "spectral". "tsne" is always
            scikit-learn's, as released.

    Raises:
        ValueError: ``clusters`` is not in `CLUSTERS`.
    """
    if clusters not in CLUSTERS:
        raise ValueError(f"clusters: {clusters!r} is not one of {', '.join(CLUSTERS)}")
    if clusters == "classes":
        return min(num_source_classes, len(features))
    fallback = min(previous or num_source_classes, len(features))
    if not candidates(num_source_classes, len(features), multiples):
        return fallback
    points = F.normalize(features.detach().float(), dim=1).cpu().numpy()
    if (points == points[0]).all():
        return fallback  # a collapsed network; scikit-learn's t-SNE would crash
    if clusters == "tsne":
        points, kmeans = tsne(points), "scikit-learn"
    else:
        points = sample(points, MAX_SAMPLES, MAX_SAMPLES)
        points = spectral(points) if clusters == "spectral" else points
    counts = candidates(num_source_classes, len(points), multiples)
    return best_num_clusters(points, counts, kmeans) or fallback


def sample(
    points: NDArray[np.float32], max_samples: int, sampled: int, seed: int = 0
) -> NDArray[np.float32]:
    """Return ``points`` [N, d], or ``sampled`` seeded random rows where N > ``max_samples``."""
    if len(points) <= max_samples:
        return points
    return points[np.random.default_rng(seed).choice(len(points), sampled, replace=False)]


def tsne(unit_features: NDArray[np.float32], max_samples: int = 20_000) -> NDArray[np.float32]:
    """Return the 2-D t-SNE [M, 2] of ``unit_features`` [N, D], as the released LEAD computes it.

    M = N, or a seeded random third of the rows where N exceeds ``max_samples`` (VisDA's case).
    """
    from sklearn.manifold import TSNE

    rows = sample(unit_features, max_samples, len(unit_features) // 3)
    perplexity = min(30.0, (len(rows) - 1) / 3)
    return TSNE(2, init="pca", random_state=0, perplexity=perplexity).fit_transform(rows)


def spectral(
    unit_features: NDArray[np.float32], dim: int = 48, neighbours: int = 15, steps: int = 2
) -> NDArray[np.float32]:
    """Return the diffusion map [N, d] of the graph of nearest ``neighbours``.

    Its columns are λ^``steps`` · ψ for the d = min(``dim``, N - 1) largest eigenvalues λ and
    eigenvectors ψ of the graph's random walk (Coifman and Lafon, 2006). ``unit_features`` is [N, D]
    with N ≥ 2.
    """
    from scipy.sparse import csr_array, dia_array
    from scipy.sparse.linalg import eigsh

    count = len(unit_features)
    rows = torch.from_numpy(unit_features)
    near = nearest(rows, rows, min(neighbours + 1, count)).numpy()
    source = np.repeat(np.arange(count), near.shape[1])
    other = source != near.ravel()
    ends = source[other], near.ravel()[other]
    directed = csr_array((np.ones(len(ends[0])), ends), shape=(count, count))
    graph = directed.maximum(directed.T)
    scale = 1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel())
    scaling = dia_array((scale[None], [0]), shape=(count, count))
    # The walk has the eigenvalues of the symmetric scaling · graph · scaling, and its eigenvectors
    # times the scale.
    values, vectors = eigsh(
        scaling @ graph @ scaling,
        k=min(dim, count - 1),
        which="LA",
        v0=np.random.default_rng(0).normal(size=count),
        tol=1e-4,
    )
    # Without λ every direction would count alike, and the silhouette would be best for as many
    # clusters as dimensions.
    points = vectors * scale[:, None] * np.maximum(values, 0) ** steps
    return np.ascontiguousarray(points[:, ::-1], dtype=np.float32)


def candidates(
    num_classes: int, num_samples: int, multiples: Sequence[float] = MULTIPLES
) -> list[int]:
    """Return the distinct counts int(K · multiple) to try, at least 2 and below ``num_samples``."""
    counts = (max(int(num_classes * multiple), 2) for multiple in multiples)
    return list(dict.fromkeys(count for count in counts if count < num_samples))


def best_num_clusters(
    points: NDArray[np.float32], counts: Sequence[int], kmeans: str = "faiss"
) -> int | None:
    """Return the entry of ``counts`` whose k-means of ``points`` [N, d] has the best silhouette.

    Of equals it is the first; None where no silhouette is positive. ``kmeans`` is an entry of
    `KMEANS`.
    """
    distinct = len({row.tobytes() for row in points + 0.0})  # + 0: -0 equals 0
    counts = [count for count in counts if count <= distinct]  # k-means cannot make more
    labels: Sequence[NDArray[np.integer]] = (
        cluster_labels(points, counts) if kmeans == "faiss" else kmeans_labels(points, counts)
    )
    best, best_score = None, 0.0
    for count, score in zip(counts, silhouettes(points, labels), strict=True):
        if score > best_score:
            best, best_score = count, score
    return best


def kmeans_labels(points: NDArray[np.float32], counts: Sequence[int]) -> list[NDArray[np.int32]]:
    """Return the clusters [N] of ``points`` [N, d] by scikit-learn's k-means into ``counts``."""
    from sklearn.cluster import KMeans, kmeans_plusplus

    if points.shape[1] <= FEW_DIMENSIONS:
        return [KMeans(count, random_state=0).fit_predict(points) for count in counts]
    # The same first centres as KMeans draws by itself: it converts the points for each of them.
    double = points.astype(np.float64)
    first = [kmeans_plusplus(double, count, random_state=0)[0] for count in counts]
    return [
        KMeans(len(start), init=start.astype(np.float32), n_init=1).fit_predict(points)
        for start in first
    ]


def silhouettes(points: NDArray[np.float32], labels: Sequence[NDArray[np.integer]]) -> list[float]:
    """Return the mean silhouette in [-1, 1] of ``points`` [N, d] under each of ``labels``.

    Each of ``labels`` is [N], from 0. A point's silhouette is (b - a) / max(a, b) with a the mean
    Euclidean distance to the rest of its cluster and b that to the nearest other cluster; 0 for a
    point alone in its cluster (Rousseeuw, 1987).
    """
    # Distances cost most, so each pair's is computed once for all labellings, some rows at a time.
    # Sums over clusters are products with the indicator columns of all clusters, side by side.
    if not labels:
        return []
    numbers = [torch.from_numpy(label).long() for label in labels]
    members = [F.one_hot(number).float() for number in numbers]
    sizes = [member.sum(dim=0) for member in members]
    widths = [len(size) for size in sizes]
    side_by_side = torch.cat(members, dim=1)
    sums = torch.zeros_like(side_by_side)
    distances_of = _far_distances if points.shape[1] > FEW_DIMENSIONS else _near_distances
    for start in range(0, len(points), CHUNK):
        stop = min(start + CHUNK, len(points))
        distances = distances_of(points[start:stop], points[start:])
        distances.fill_diagonal_(0)  # a point to itself, without rounding
        sums[start:stop].addmm_(distances, side_by_side[start:])
        sums[stop:].addmm_(distances[:, stop - start :].T, side_by_side[start:stop])
    parts = zip(sums.split(widths, dim=1), numbers, sizes, strict=True)
    return [_silhouette_sum(part, number, size) / len(points) for part, number, size in parts]


def _near_distances(rows: NDArray[np.float32], points: NDArray[np.float32]) -> Tensor:
    """Return distances [n, N] of ``rows`` [n, d] to ``points`` [N, d], computed in float64."""
    from sklearn.metrics import euclidean_distances

    return torch.from_numpy(euclidean_distances(rows, points)).float()


def _far_distances(rows: NDArray[np.float32], points: NDArray[np.float32]) -> Tensor:
    """Return distances [n, N] of ``rows`` [n, d] to ``points`` [N, d], computed in float32.

    Good enough for points far from each other, as they are in many dimensions.
    """
    first, second = torch.from_numpy(rows), torch.from_numpy(points)
    squares = first.square().sum(1)[:, None] + second.square().sum(1)
    return squares.addmm_(first, second.T, alpha=-2).clamp_min_(0).sqrt_()


def _silhouette_sum(sums: Tensor, label: Tensor, sizes: Tensor) -> float:
    """Return the summed silhouettes of points in clusters ``label`` int64 [n].

    ``sums`` [n, C] are the points' summed distances to each cluster, ``sizes`` [C] its points.
    """
    here = label[:, None]
    inner = sums.gather(1, here)[:, 0] / (sizes[label] - 1).clamp(min=1)
    means = (sums / sizes).masked_fill_(sizes == 0, torch.inf).scatter_(1, here, torch.inf)
    outer = means.amin(dim=1)
    larger = torch.maximum(inner, outer)
    counts = (sizes[label] > 1) & (larger > 0) & outer.isfinite()
    return float(torch.where(counts, (outer - inner) / larger, 0).double().sum())
