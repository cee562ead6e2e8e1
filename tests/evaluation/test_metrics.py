import itertools
import math

import numpy as np
import pytest

from uda.evaluation import metrics
from uda.evaluation.metrics import (
    accuracy,
    h_score,
    open_set_scores,
    per_class_accuracy,
    top_k_accuracy,
    unknown_auroc,
)


def test_h_score_is_the_harmonic_mean():
    assert h_score(50, 100) == pytest.approx(200 / 3)
    assert h_score(40, 40) == pytest.approx(40)
    assert h_score(0, 0) == 0
    assert math.isnan(h_score(math.nan, 50))


def test_open_set_scores_of_a_hand_computed_case():
    # Two shared classes, class 2 is source-private, unknown is 3. Class 0: 1 of 2; class 1: 2 of 2
    # right; private: 3 of 4 called unknown.
    labels = np.array([0, 0, 1, 1, 3, 4, 4, 5])
    predictions = np.array([0, 2, 1, 1, 3, 3, 0, 3])
    scores = open_set_scores(labels, predictions, num_shared=2, num_source=3)
    assert scores.known_acc == pytest.approx(75)
    assert scores.unknown_acc == pytest.approx(75)
    assert scores.h_score == pytest.approx(75)
    assert scores.empty_classes == ()


def test_known_accuracy_is_a_mean_over_classes_not_images():
    labels = np.array([0] * 9 + [1] + [2])
    predictions = np.array([0] * 9 + [0] + [2])
    assert open_set_scores(labels, predictions, 2, 2).known_acc == pytest.approx(50)


def test_a_shared_class_without_a_sample_is_left_out_and_named():
    scores = open_set_scores(np.array([0, 0, 3]), np.array([0, 0, 3]), num_shared=2, num_source=3)
    assert scores.known_acc == 100
    assert scores.empty_classes == (1,)


def test_no_private_sample_leaves_h_undefined():
    scores = open_set_scores(np.array([0, 1]), np.array([0, 1]), num_shared=2, num_source=2)
    assert scores.known_acc == 100
    assert math.isnan(scores.unknown_acc)
    assert math.isnan(scores.h_score)


def test_no_shared_sample_leaves_h_undefined():
    scores = open_set_scores(np.array([2, 2]), np.array([2, 0]), num_shared=2, num_source=2)
    assert math.isnan(scores.known_acc)
    assert scores.unknown_acc == 50
    assert math.isnan(scores.h_score)


def test_no_unknown_predicted():
    scores = open_set_scores(np.array([0, 1, 2]), np.array([0, 1, 0]), 2, 2)
    assert (scores.known_acc, scores.unknown_acc, scores.h_score) == (100, 0, 0)


def test_all_called_unknown():
    scores = open_set_scores(np.array([0, 1, 2]), np.array([2, 2, 2]), 2, 2)
    assert (scores.known_acc, scores.unknown_acc, scores.h_score) == (0, 100, 0)


def test_scores_of_a_single_shared_class():
    scores = open_set_scores(np.array([0, 0, 1]), np.array([0, 1, 1]), 1, 1)
    assert scores.known_acc == 50
    assert scores.unknown_acc == 100


def test_wrong_labels_are_refused():
    with pytest.raises(ValueError, match="source-private"):
        open_set_scores(np.array([2]), np.array([2]), num_shared=2, num_source=3)
    with pytest.raises(ValueError, match="labels for"):
        open_set_scores(np.array([0, 1]), np.array([0]), 2, 2)


def test_per_class_accuracy_equals_a_loop():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 7, 200), rng.integers(0, 7, 200)
    for k, value in enumerate(per_class_accuracy(labels, predictions, 6)):
        rows = labels == k
        assert value == pytest.approx(100 * np.mean(predictions[rows] == k))


def test_accuracy():
    assert accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0])) == 75
    assert math.isnan(accuracy(np.array([], dtype=int), np.array([], dtype=int)))


def test_top_k():
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    labels = np.array([1, 0])
    assert top_k_accuracy(labels, scores, 1) == 0
    assert top_k_accuracy(labels, scores, 2) == 50
    assert top_k_accuracy(labels, scores, 5) == 100
    with pytest.raises(ValueError, match="rows"):
        top_k_accuracy(labels[:1], scores, 1)


def test_auroc():
    assert unknown_auroc(np.array([True, False, False]), np.array([0.9, 0.1, 0.5])) == 100
    assert unknown_auroc(np.array([True, False]), np.array([0.2, 0.8])) == 0
    assert math.isnan(unknown_auroc(np.array([True, True]), np.array([0.2, 0.8])))


def test_oscr_equals_a_loop_over_thresholds():
    rng = np.random.default_rng(0)
    right, unknown = rng.random(40) < 0.6, rng.random(40) < 0.4
    score = rng.integers(0, 12, 40) / 12  # with ties
    points = [(0.0, 0.0)]
    for at in sorted(set(score)):
        accepted = score <= at
        points.append(
            (
                (accepted & unknown).sum() / unknown.sum(),
                (accepted & right & ~unknown).sum() / (~unknown).sum(),
            )
        )
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    assert metrics.oscr(right, unknown, score) == pytest.approx(100 * area)
    assert math.isnan(metrics.oscr(right, np.ones(40, bool), score))


def test_oscr_of_a_perfect_classifier_is_its_closed_set_accuracy():
    unknown = np.array([0, 0, 0, 0, 1, 1], bool)
    right = np.array([1, 1, 1, 0, 0, 0], bool)
    assert metrics.oscr(right, unknown, unknown.astype(float)) == pytest.approx(75)


def test_h3_score_is_the_harmonic_mean_of_three():
    assert metrics.h3_score(30, 60, 60) == pytest.approx(45)
    assert metrics.h3_score(0, 60, 60) == 0
    assert math.isnan(metrics.h3_score(30, 60, math.nan))


def test_private_nmi():
    far = np.repeat(np.eye(3), 4, axis=0) * np.linspace(1, 5, 12)[:, None]
    labels = np.repeat([7, 8, 9], 4)
    assert metrics.private_nmi(far, labels) == pytest.approx(100)
    assert metrics.private_nmi(far, np.tile([7, 8, 9], 4)) < 50
    assert math.isnan(metrics.private_nmi(far[:0], labels[:0]))
    assert math.isnan(metrics.private_nmi(far[:2], labels[:1].repeat(2)))  # of a single class


def test_threshold_curve():
    labels, classes = np.array([0, 1, 3, 4]), np.array([0, 0, 1, 2])
    score = np.array([0.1, 0.2, 0.3, 0.9])
    low, high = metrics.threshold_curve(labels, classes, score, np.array([0.25, 0.95]), 2, 3)
    assert (low.known_acc, low.unknown_acc) == (50, 100)
    assert (high.known_acc, high.unknown_acc, high.h_score) == (50, 0, 0)
