"""Choices of C_t: clear clusters, odd inputs, and silhouettes against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score

from uda.methods import clusters
from uda.methods.clusters import (
    best_num_clusters,
    candidates,
    estimate_num_clusters,
    sample,
    silhouettes,
    spectral,
    tsne,
)


def clear_clusters(count, num_clusters, dim=20, spread=0.03, seed=0):
    """Return features [N, D] about orthogonal directions; row n is of cluster n % num_clusters."""
    rng = np.random.default_rng(seed)
    directions = np.eye(dim)[np.arange(count) % num_clusters]
    lengths = rng.uniform(1, 5, (count, 1))  # which must not matter
    return torch.tensor(lengths * (directions + spread * rng.normal(size=(count, dim)))).float()


def test_candidates_follow_the_released_multiples():
    assert candidates(15, 1000) == [3, 7, 11, 15, 22, 30, 37, 45]
    assert candidates(2, 1000) == [2, 3, 4, 5, 6]  # at least 2, each once
    assert candidates(15, 12) == [3, 7, 11]  # fewer than the samples
    assert candidates(1, 2) == []


@pytest.mark.parametrize("how", ["tsne", "features", "spectral"])
def test_clear_clusters_are_counted(how):
    features = clear_clusters(180, 6)
    assert estimate_num_clusters(features, 4, clusters=how) == 6  # 1.5 K
    assert estimate_num_clusters(features, 8, clusters=how) == 6  # 0.75 K
    assert estimate_num_clusters(features, 24, clusters=how) == 6  # 0.25 K


def test_classes_are_counted_as_clusters():
    assert estimate_num_clusters(clear_clusters(60, 6), 4, clusters="classes") == 4
    assert estimate_num_clusters(clear_clusters(3, 3), 4, clusters="classes") == 3


@pytest.mark.parametrize("how", ["features", "spectral", "classes"])
def test_a_large_set_is_sampled(how, monkeypatch):
    monkeypatch.setattr(clusters, "MAX_SAMPLES", 90)
    seen = []
    real = clusters.best_num_clusters
    monkeypatch.setattr(
        clusters,
        "best_num_clusters",
        lambda points, *how: seen.append(points) or real(points, *how),
    )
    estimate = estimate_num_clusters(clear_clusters(400, 6), 4, clusters=how)
    assert estimate == (4 if how == "classes" else 6)
    assert all(len(points) == 90 for points in seen)
    # No more clusters than the sample has points: 0.25, 0.5 and 0.75 of 100 are left.
    assert estimate_num_clusters(clear_clusters(400, 6), 100, clusters=how) in (25, 50, 75, 100)


@pytest.mark.parametrize("how", clusters.CLUSTERS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_handful_of_samples_has_no_more_clusters_than_samples(how, count):
    features = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    assert 1 <= estimate_num_clusters(features, 4, clusters=how) <= count


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_the_previous_number_is_kept_where_nothing_scores():
    features, how = torch.ones(50, 8), "features"
    assert estimate_num_clusters(features, 4, 7, how) == 7
    assert estimate_num_clusters(features, 4, 70, how) == 50  # no more than the samples
    assert estimate_num_clusters(features, 4, clusters=how) == 4


def test_an_unknown_way_to_count_is_an_error():
    with pytest.raises(ValueError, match="'umap' is not one of tsne, features, spectral, classes"):
        estimate_num_clusters(torch.ones(5, 3), 4, clusters="umap")


def test_the_true_number_of_blobs_wins():
    points, _ = make_blobs(300, centers=6, cluster_std=0.3, random_state=3)
    assert best_num_clusters(points.astype(np.float32), [3, 6, 9, 12]) == 6


def test_the_earlier_wins_a_tie(monkeypatch):
    points = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    monkeypatch.setattr(clusters, "silhouettes", lambda _, labels: [0.2, 0.5, 0.5, 0.1])
    assert best_num_clusters(points, [2, 3, 4, 5]) == 3
    monkeypatch.setattr(clusters, "silhouettes", lambda _, labels: [0.0, -0.1])
    assert best_num_clusters(points, [2, 3]) is None  # zero is not positive


def test_no_number_of_clusters_fits_identical_points():
    assert best_num_clusters(np.zeros((10, 2), np.float32), [2, 3]) is None


@pytest.mark.parametrize(("count", "dim"), [(7, 2), (300, 3), (601, 40)])
def test_silhouettes_are_scikit_learns(count, dim, monkeypatch):
    monkeypatch.setattr(clusters, "CHUNK", 250)  # several and a part
    rng = np.random.default_rng(count)
    points = rng.normal(size=(count, dim)).astype(np.float32)
    labels = [rng.integers(0, number, count) for number in (2, 3, 5)]
    labels[0][:2] = 0, 1
    labels.append(np.arange(count) // 2)  # pairs, and a single point where the number is odd
    expected = [silhouette_score(points, label) for label in labels]
    np.testing.assert_allclose(silhouettes(points, labels), expected, atol=1e-6)


def test_silhouettes_equal_a_loop():
    points = np.array([[0, 0], [0, 1], [4, 0], [4, 3], [9, 9]], np.float32)
    label = np.array([0, 0, 2, 2, 3])  # no point in 1, a single point in 3

    def score(i):
        far = [np.linalg.norm(points[i] - other) for other in points]
        mates = [j for j in range(5) if label[j] == label[i] and j != i]
        if not mates:
            return 0.0
        inner = np.mean([far[j] for j in mates])
        others = set(label.tolist()) - {int(label[i])}
        outer = min(np.mean([far[j] for j in range(5) if label[j] == other]) for other in others)
        return (outer - inner) / max(inner, outer)

    expected = np.mean([score(i) for i in range(5)])
    assert silhouettes(points, [label])[0] == pytest.approx(expected, abs=1e-6)
    assert silhouettes(points, [np.zeros(5, int)]) == [0.0]  # nothing to compare with
    assert silhouettes(points, []) == []


def test_spectral_embedding_is_the_dense_random_walks():
    points = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    graph = np.zeros((40, 40))
    for i in range(40):
        near = sorted((j for j in range(40) if j != i), key=lambda j: -float(points[i] @ points[j]))
        graph[i, near[:6]] = 1
    graph = np.maximum(graph, graph.T)
    values, vectors = np.linalg.eig(graph / graph.sum(axis=1, keepdims=True))
    order = np.argsort(-values.real)[:5]
    embedding = spectral(points, dim=5, neighbours=6, steps=3)
    assert embedding.shape == (40, 5)
    for ours, theirs in zip(embedding.T, vectors[:, order].real.T, strict=True):
        cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
        assert abs(cosine) == pytest.approx(1, abs=1e-3)
    plain = spectral(points, dim=5, neighbours=6, steps=0)
    np.testing.assert_allclose(embedding, plain * values.real[order] ** 3, atol=1e-4)


def test_spectral_embedding_is_the_same_again():
    points = clear_clusters(100, 6, spread=0.3).numpy()
    assert np.array_equal(spectral(points), spectral(points))
    assert spectral(points).dtype == np.float32


def test_sample_is_seeded_and_takes_each_row_once():
    points = np.arange(50, dtype=np.float32)[:, None]
    assert sample(points, 50, 10) is points
    drawn = sample(points, 49, 10)
    assert len(np.unique(drawn)) == 10
    assert np.array_equal(drawn, sample(points, 49, 10))


def test_tsne_takes_a_third_of_a_large_set():
    points = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    assert tsne(points).shape == (60, 2)
    assert tsne(points, max_samples=50).shape == (20, 2)


def test_many_dimensions_are_clustered_and_scored_as_few_are(monkeypatch):
    """The faster computation of many dimensions agrees with scikit-learn."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(12, 96))[rng.integers(12, size=400)] + rng.normal(size=(400, 96)) / 2
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    counts = [2, 5, 12, 30]
    quick = clusters.kmeans_labels(points, counts)
    scores = clusters.silhouettes(points, quick)
    monkeypatch.setattr(clusters, "FEW_DIMENSIONS", 96)
    for label, expected in zip(quick, clusters.kmeans_labels(points, counts), strict=True):
        assert np.array_equal(label, expected)
    assert scores == pytest.approx(clusters.silhouettes(points, quick), abs=1e-6)
    assert scores == pytest.approx([silhouette_score(points, label) for label in quick], abs=1e-6)


@pytest.mark.parametrize("way", ["tsne", "features", "spectral"])
@pytest.mark.parametrize("count", [4, 5, 50])
def test_identical_features_leave_the_fallback(way, count):
    """Such features crash the process in scikit-learn's t-SNE."""
    features = torch.randn(1, 12, generator=torch.Generator().manual_seed(0)).expand(count, 12)
    assert estimate_num_clusters(features, 3, None, way) == 3
    assert estimate_num_clusters(features, 3, 2, way) == 2
