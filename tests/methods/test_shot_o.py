"""SHOT-O against naive loops over its formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.banks import random_bank
from sklearn.cluster import KMeans

from uda.config import CONFIGS, AdaptConfig, read_yaml
from uda.methods import METHODS, shot_o
from uda.methods.base import Batch


def naive_higher(values):
    """Return which values lie above the cut with the least sum of squares within both parts."""
    distinct = sorted(set(values))
    best, best_cut = math.inf, None
    for cut in distinct[:-1]:
        within = 0.0
        for part in ([v for v in values if v <= cut], [v for v in values if v > cut]):
            mean = sum(part) / len(part)
            within += sum((v - mean) ** 2 for v in part)
        if within < best:
            best, best_cut = within, cut
    return [best_cut is not None and v > best_cut for v in values]


def naive_labels(features, probabilities):
    """Return SHOT's pseudo-labels with the open-set split, sample by sample in NumPy."""
    count, num_classes = probabilities.shape
    entropy = [
        -sum(p * math.log(p + 1e-5) for p in row) / math.log(num_classes) for row in probabilities
    ]
    known = [i for i, higher in enumerate(naive_higher(entropy)) if not higher]
    extended = np.concatenate([features, np.ones((count, 1))], axis=1)
    unit = [row / np.linalg.norm(row) for row in extended]
    present = {int(np.argmax(probabilities[i])) for i in known}
    centroids = {
        k: sum(probabilities[i][k] * unit[i] for i in known)
        / sum(probabilities[i][k] for i in known)
        for k in present
    }
    for _ in range(2):
        labels = {}
        for i in known:
            labels[i] = max(
                sorted(centroids),
                key=lambda k: unit[i] @ centroids[k] / np.linalg.norm(centroids[k]),
            )
        centroids = {
            k: np.mean([unit[i] for i in known if labels[i] == k], axis=0)
            for k in set(labels.values())
        }
    return [labels.get(i, num_classes) for i in range(count)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("vary", [False, True])
def test_pseudo_labels_equal_a_loop(seed, spread, vary):
    bank = random_bank(seed=seed, spread=spread, num_private=0, scale=0.25)
    lengths = torch.logspace(-2, 1, 60)[:, None] if vary else 1.0  # short ones feel the 1 of [f, 1]
    features = lengths * bank.features
    labels = shot_o.pseudo_labels(features, bank.probabilities).label.tolist()
    assert labels == naive_labels(features.double().numpy(), bank.probabilities.double().numpy())
    assert 0 < labels.count(4) < len(labels)


@pytest.mark.parametrize("count", [2, 3, 7, 40, 101])
def test_the_higher_cluster_lies_above_the_best_cut(count):
    values = torch.rand(count, generator=torch.Generator().manual_seed(count)) ** 3
    values[0] = values[-1]  # a tie
    assert shot_o.higher_cluster(values).tolist() == naive_higher(values.double().tolist())


def test_the_higher_cluster_is_no_worse_than_scikit_learns():
    values = torch.rand(500, generator=torch.Generator().manual_seed(0))
    higher = shot_o.higher_cluster(values)
    within = sum(
        float((part - part.mean()).square().sum()) for part in (values[higher], values[~higher])
    )
    fitted = KMeans(2, n_init=10, random_state=0).fit(values[:, None].numpy())
    # scikit-learn stops a tolerance above the minimum.
    assert fitted.inertia_ * 0.999 < within <= fitted.inertia_


@pytest.mark.parametrize("values", [[0.3], [0.3] * 9, [0.0, 0.0]])
def test_nothing_is_higher_among_equal_values(values):
    assert not shot_o.higher_cluster(torch.tensor(values)).any()


def test_the_larger_of_two_values_is_higher():
    assert shot_o.higher_cluster(torch.tensor([0.4, 0.1, 0.1])).tolist() == [True, False, False]


def test_a_class_that_is_never_the_most_probable_labels_no_sample():
    bank = random_bank(spread=1.0, num_private=0, scale=0.25)
    probabilities = bank.probabilities.clone()
    probabilities[:, 2] = 0  # never the most probable
    labels = shot_o.centroid_labels(bank.features, probabilities)
    assert 2 not in labels.tolist()


def test_a_class_without_samples_after_the_first_round_gets_none_back():
    # Class 1 is the most probable of the first sample, but all samples at 0° are nearer to centroid
    # 0, and the sample at 120° to centroid 2. It then points away from both centroids that are
    # left: even a centroid of length 0 for the empty class would be nearer.
    degrees = torch.tensor([0.0] * 10 + [120.0] + [230.0] * 5).deg2rad()
    features = 100 * torch.stack([degrees.cos(), degrees.sin()], dim=1)
    probabilities = torch.tensor(
        [[0.45, 0.55, 0.0]] + [[0.8, 0.2, 0.0]] * 9 + [[0.4, 0.3, 0.3]] + [[0.0, 0.0, 1.0]] * 5
    )
    labels = shot_o.centroid_labels(features, probabilities)
    assert labels.tolist() == [0] * 10 + [2] * 6


def naive_losses(logits, labels):
    num_classes = len(logits[0])
    rows = [np.exp(row) / np.exp(row).sum() for row in logits]
    known = [i for i, label in enumerate(labels) if label < num_classes]
    if not known:
        return 0.0, 0.0, 0.0

    def entropy(row):
        return -sum(p * math.log(p + 1e-5) for p in row)

    ce = -sum(math.log(rows[i][labels[i]]) for i in known) / len(known)
    return ce, sum(entropy(rows[i]) for i in known) / len(known), -entropy(np.mean(rows, axis=0))


@pytest.mark.parametrize(
    "labels", [[0, 3, 1, 3, 2], [3, 3, 3, 3, 3], [2, 1, 0, 0, 2], [3, 3, 1, 3, 3]]
)
def test_losses_equal_a_loop(labels):
    logits = 2 * torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    parts = shot_o.losses(logits, torch.tensor(labels))
    expected = naive_losses(logits.double().numpy(), labels)
    assert [float(part) for part in parts] == pytest.approx(expected, abs=1e-5)


def test_the_method_weighs_the_first_loss():
    logits, label = torch.randn(6, 4), torch.tensor([0, 4, 1, 2, 4, 3])
    state = shot_o.ShotOState(torch.cat([label.new_zeros(3), label]), torch.zeros(9))
    batch = Batch(torch.zeros(6, 8), logits, torch.arange(3, 9))
    parts = METHODS["shot_o"](open_set=True, ce_weight=0.5).loss(batch, state)
    ce, entropy, diversity = shot_o.losses(logits, label)
    assert float(sum(parts.values())) == pytest.approx(float(0.5 * ce + entropy + diversity))


def test_a_batch_without_a_known_sample_has_no_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    sum(shot_o.losses(logits, torch.full((4,), 3))).backward()
    assert torch.equal(logits.grad, torch.zeros(4, 3))


def test_a_batch_without_a_known_sample_has_no_losses():
    state = shot_o.ShotOState(torch.tensor([3, 3, 3, 0]), torch.zeros(4))
    method = METHODS["shot_o"](open_set=True)
    without = Batch(torch.zeros(2, 8), torch.randn(2, 3), torch.tensor([0, 2]))
    assert method.loss(without, state) == {}
    assert method.loss(replace(without, index=torch.tensor([0, 3])), state)


def test_unknown_logits_get_their_gradient_from_diversity_alone():
    logits = torch.randn(4, 3, requires_grad=True)
    ce, entropy, diversity = shot_o.losses(logits, torch.tensor([0, 3, 1, 3]))
    (gradient,) = torch.autograd.grad(ce + entropy, logits, retain_graph=True)
    assert torch.equal(gradient[[1, 3]], torch.zeros(2, 3))
    (all_,) = torch.autograd.grad(diversity, logits)
    assert all_.abs().amin(dim=1).gt(0).all()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("num_classes", [1, 4])
def test_a_handful_of_samples_and_a_single_class_work(count, num_classes):
    bank = random_bank(count=count, num_classes=num_classes, num_private=0, scale=0.25)
    method = METHODS["shot_o"](open_set=True)
    label = method.refresh(bank, 0).label
    assert label.shape == (count,)
    assert (label < num_classes).any()
    if count == 1 or num_classes == 1:
        assert (label < num_classes).all()
        assert (method.predict(bank).label < num_classes).all()


def test_the_configuration_has_the_published_rate_and_epochs():
    settings = AdaptConfig(**read_yaml(CONFIGS / "methods" / "shot_o.yaml")["adapt"])
    assert (settings.method, settings.rate, settings.epochs) == ("shot_o", 0.01, 15)
