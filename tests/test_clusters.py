import numpy as np
from sklearn.datasets import make_blobs

from uda.clusters import best_num_clusters, candidates, tsne


def test_candidates_follow_the_released_multiples():
    assert candidates(15, 1000) == [3, 7, 11, 15, 22, 30, 37, 45]
    assert candidates(2, 1000) == [2, 3, 4, 5, 6]  # at least 2, each once
    assert candidates(15, 12) == [3, 7, 11]  # fewer than the samples
    assert candidates(1, 2) == []


def test_the_true_number_of_blobs_wins():
    points, _ = make_blobs(300, centers=6, cluster_std=0.3, random_state=3)
    assert best_num_clusters(points.astype(np.float32), [3, 6, 9, 12]) == 6


def test_identical_points_have_no_best():
    assert best_num_clusters(np.zeros((10, 2), np.float32), [2, 3]) is None


def test_tsne_takes_a_third_of_a_large_set():
    points = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    assert tsne(points).shape == (60, 2)
    assert tsne(points, max_samples=50).shape == (20, 2)
