import math

import numpy as np
import pytest

from uda.evaluation.probe import CS, Sample, chosen_c, knn_accuracy, linear_accuracy, probe


def clusters(count, spread=0.3, seed=0, classes=3, scale=1.0):
    """Return a sample of ``count`` points of each class around its own centre."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), count)
    centres = np.eye(classes, 5)
    features = (centres[labels] + spread * rng.normal(size=(len(labels), 5))) * scale
    return Sample(features.astype(np.float32), labels)


def naive_knn(train, test, k, temperature):
    right = 0
    for feature, label in zip(test.features, test.labels, strict=True):
        cosines = [
            float(feature @ other / (np.linalg.norm(feature) * np.linalg.norm(other)))
            for other in train.features
        ]
        best = sorted(range(len(cosines)), key=lambda row: -cosines[row])[:k]
        votes = {}
        for row in best:
            weight = math.exp(cosines[row] / temperature)
            votes[train.labels[row]] = votes.get(train.labels[row], 0) + weight
        right += max(votes, key=votes.get) == label
    return 100 * right / len(test.labels)


@pytest.mark.parametrize("k", [1, 5, 20, 500])
def test_nearest_neighbours_vote_as_the_formula_says(k):
    train, test = clusters(12, 0.9), clusters(9, 0.9, seed=1)
    assert knn_accuracy(train, test, k) == pytest.approx(naive_knn(train, test, k, 0.1))
    assert 40 < knn_accuracy(train, test, k) < 100


def test_the_linear_probe_does_not_depend_on_the_features_scale():
    accuracies = {
        linear_accuracy(clusters(20, 0.8, 0, scale=s), clusters(20, 0.8, 1, scale=s), 1.0)
        for s in (1.0, 1000.0)
    }
    assert len(accuracies) == 1


def test_separable_features_are_separated():
    train, test = clusters(10, 0.05), clusters(10, 0.05, seed=1)
    scores = probe(train, test, np.arange(30) % 5 == 0)
    assert (scores["linear"], scores["knn"]) == (100, 100)


def test_the_penalty_is_chosen_on_a_part_of_the_training_pictures():
    train = clusters(20, 1.5)
    choosing = np.arange(60) % 4 == 0
    accuracies = [linear_accuracy(train[~choosing], train[choosing], c) for c in CS]
    assert chosen_c(train, choosing) == CS[accuracies.index(max(accuracies))]
    assert len(set(accuracies)) > 1


def test_a_class_with_one_picture_and_a_constant_feature_do_no_harm():
    train = clusters(6, 0.3)
    train.features[:, 4] = 1
    rows = np.arange(18) < 13  # the last class has a single picture
    scores = probe(train[rows], train, np.arange(13) % 6 == 1)
    assert 50 < scores["linear"] <= 100
