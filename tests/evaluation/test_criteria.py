import math

import numpy as np
import pytest
import torch

from uda.evaluation import criteria as selection


def probabilities(count=30, num_classes=5, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(count, num_classes, generator=generator)).softmax(dim=1)


def naive_entropy(row):
    return -sum(p * math.log(p) for p in row if p > 0)


def test_entropy_and_information_equal_a_loop():
    rows = probabilities().double()
    mean = sum(naive_entropy(row) for row in rows.tolist()) / len(rows)
    assert selection.negative_entropy(rows) == pytest.approx(-mean)
    whole = naive_entropy(rows.mean(dim=0).tolist())
    assert selection.information(rows) == pytest.approx(whole - mean)


def test_information_is_zero_where_all_rows_have_the_same_class():
    same = torch.eye(4)[[0] * 8]
    four = torch.eye(4)[[0, 1, 2, 3] * 2]
    assert selection.negative_entropy(same) == selection.negative_entropy(four)
    assert selection.information(four) == pytest.approx(math.log(4), abs=1e-5)
    assert selection.information(same) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("block", [7, 1024])
def test_neighbourhood_density_equals_a_loop(block, monkeypatch):
    monkeypatch.setattr(selection, "BLOCK", block)
    rows = probabilities(20).double()
    unit = [row / np.linalg.norm(row) for row in rows.numpy()]
    total = 0.0
    for i, row in enumerate(unit):
        others = np.array([row @ other / 0.05 for j, other in enumerate(unit) if j != i])
        share = np.exp(others - others.max())
        total += naive_entropy(share / share.sum())
    assert selection.neighbourhood_density(rows) == pytest.approx(total / 20)
    assert selection.neighbourhood_density(rows[:1]) == 0


def test_a_large_target_is_sampled(monkeypatch):
    rows = probabilities(60)
    whole = selection.neighbourhood_density(rows)
    monkeypatch.setattr(selection, "MAX_ROWS", 30)
    part = selection.neighbourhood_density(rows)
    assert part == selection.neighbourhood_density(rows) != whole


def test_the_earliest_of_the_best_epochs_is_chosen():
    assert selection.best_epoch([1.0, 3.0, 3.0]) == 2
    with pytest.raises(ValueError, match="no epoch of adaptation"):
        selection.best_epoch([])


def test_the_mixture_threshold_lies_between_two_bumps():
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.normal(0.2, 0.05, 3000), rng.normal(0.8, 0.05, 3000)])
    assert selection.mixture_threshold(score) == pytest.approx(0.5, abs=0.02)
    # With fewer and wider unknowns the densities cross nearer to the known.
    uneven = np.concatenate([rng.normal(0.2, 0.02, 3000), rng.normal(0.8, 0.1, 3000)])
    assert 0.25 < selection.mixture_threshold(uneven) < 0.4
    assert selection.mixture_threshold(np.full(5, 0.3)) == 0.3
    assert selection.mixture_threshold(np.array([0.3])) == 0.3


def test_the_two_means_threshold_is_the_best_of_all_cuts():
    score = np.random.default_rng(1).random(50)
    ordered = np.sort(score)
    within = [len(a) * a.var() + len(b) * b.var() for a, b in cuts(ordered)]
    assert selection.two_means_threshold(score) == ordered[int(np.argmin(within))]
    assert selection.two_means_threshold(np.full(4, 0.2)) == 0.2


def cuts(ordered):
    """Return all pairs of lower and upper part."""
    return [(ordered[:i], ordered[i:]) for i in range(1, len(ordered))]
