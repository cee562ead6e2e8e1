"""k-means by faiss against scikit-learn's, and at its edges."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from uda.methods.clusters import KMEANS, estimate_num_clusters
from uda.methods.kmeans import (
    FEW_ROUNDS,
    cluster_labels,
    first_centroids,
    kmeans_centroids,
    nearest_centroid,
)


def blobs(count, number, dim, spread):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(number, dim))
    points = centres[rng.integers(number, size=count)] + spread * rng.normal(size=(count, dim))
    return points.astype(np.float32)


def inertia(points, centroids):
    return ((points[:, None] - centroids[None]) ** 2).sum(2).min(1).sum()


@pytest.mark.parametrize(("number", "dim", "spread"), [(6, 16, 0.3), (20, 64, 0.8), (9, 3, 0.2)])
def test_as_tight_as_scikit_learns(number, dim, spread):
    points = blobs(900, number, dim, spread)
    theirs = KMeans(number, random_state=0, n_init=1).fit(points).inertia_
    ours = inertia(points, kmeans_centroids(torch.from_numpy(points), number).numpy())
    assert ours <= 1.02 * theirs


def test_the_same_again_and_by_any_number_of_threads():
    points = torch.from_numpy(blobs(500, 8, 32, 0.7))
    first = kmeans_centroids(points, 8, seed=3)
    assert torch.equal(first, kmeans_centroids(points, 8, seed=3))
    assert not torch.equal(first, kmeans_centroids(points, 8, seed=4))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(first, kmeans_centroids(points, 8, seed=3))
    finally:
        torch.set_num_threads(threads)


def test_it_begins_where_it_is_told_to():
    points = torch.from_numpy(blobs(200, 4, 8, 0.1))
    start = kmeans_centroids(points, 4)
    torch.testing.assert_close(kmeans_centroids(points, 4, start=start, rounds=1), start)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_no_more_clusters_than_points(count):
    points = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    centroids = kmeans_centroids(points, count)
    assert len(centroids) == min(count, 3)
    assert torch.isfinite(centroids).all()


def test_equal_points_are_a_cluster():
    points = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
    labels = cluster_labels(points, [3])[0]
    assert len(set(labels.tolist())) == 3
    assert all(len(set(part.tolist())) == 1 for part in labels.reshape(3, 20))
    assert torch.isfinite(kmeans_centroids(torch.from_numpy(points), 7)).all()


def test_the_nearest_centroid():
    points, centroids = torch.randn(50, 6), torch.randn(7, 6)
    expected = torch.cdist(points, centroids).argmin(dim=1)
    assert torch.equal(nearest_centroid(points, centroids), expected)


@pytest.mark.parametrize("seed", [0, 5])
def test_fewer_clusters_begin_at_the_first_of_more(seed):
    points = blobs(400, 9, 24, 0.6)
    most = first_centroids(points, 40, seed)
    for count in (1, 2, 17, 39):
        assert np.array_equal(first_centroids(points, count, seed), most[:count])


def test_the_first_centroids_are_those_that_faiss_draws():
    faiss = pytest.importorskip("faiss")
    points = blobs(400, 9, 24, 0.6)
    method = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
    for count in (2, 9, 30):
        theirs = faiss.Kmeans(
            24, count, niter=10, seed=3, init_method=method,
            min_points_per_centroid=1, max_points_per_centroid=400,
        )  # fmt: skip
        theirs.train(points)
        ours = kmeans_centroids(torch.from_numpy(points), count, seed=3, rounds=10)
        assert np.array_equal(ours.numpy(), theirs.centroids)


def test_clusters_of_several_counts_are_those_of_each():
    points = blobs(300, 6, 16, 0.5)
    rows = torch.from_numpy(points)
    for count, label in zip((2, 6, 11), cluster_labels(points, [2, 6, 11]), strict=True):
        centroids = kmeans_centroids(rows, count, rounds=FEW_ROUNDS)
        assert np.array_equal(label, nearest_centroid(rows, centroids).numpy())
    assert cluster_labels(points, []) == []


@pytest.mark.parametrize("kmeans", KMEANS)
@pytest.mark.parametrize("clusters", ["features", "spectral"])
def test_both_count_the_same_clear_clusters(kmeans, clusters):
    points = torch.from_numpy(blobs(240, 6, 24, 0.05))
    assert estimate_num_clusters(points, 4, clusters=clusters, kmeans=kmeans) == 6


def test_it_is_imported_where_it_is_used():
    code = "import sys, uda.methods; assert 'faiss' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
