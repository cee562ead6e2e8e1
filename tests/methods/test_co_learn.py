"""A frozen network's opinion against a loop, sample by sample."""

import numpy as np
import pytest
import torch

from uda.methods.co_learn import Opinion, class_centroids


def agreed_probabilities(probabilities, frozen):
    return Opinion.of(probabilities, frozen).agree(probabilities, frozen)


def draw(count, num_classes, dim=6):
    generator = torch.Generator().manual_seed(count)
    probabilities = torch.randn(count, num_classes, generator=generator).mul(2).softmax(dim=1)
    return probabilities, torch.rand(count, dim, generator=generator)


@pytest.mark.parametrize(("count", "num_classes"), [(40, 4), (7, 3), (2, 5)])
def test_agreed_probabilities_equal_a_loop(count, num_classes):
    probabilities, frozen = draw(count, num_classes)
    p, f = probabilities.double().numpy(), frozen.double().numpy()
    z = [row - f.mean(axis=0) for row in f]
    z = [row / np.linalg.norm(row) for row in z]
    cosines = np.zeros((count, num_classes))
    for k in range(num_classes):
        called = sorted((i for i in range(count) if p[i].argmax() == k), key=lambda i: -p[i, k])
        if not called:
            continue
        surest = called[: int(np.ceil(len(called) / 2))]
        centroid = np.mean([z[i] for i in surest], axis=0)
        cosines[:, k] = [row @ centroid / np.linalg.norm(centroid) for row in z]
    expected = p * np.exp(cosines / 0.1)
    expected /= expected.sum(axis=1, keepdims=True)
    agreed = agreed_probabilities(probabilities, frozen)
    np.testing.assert_allclose(agreed.numpy(), expected, rtol=1e-3, atol=1e-6)


def test_a_class_that_nothing_is_called_has_no_centroid():
    centroids = class_centroids(torch.eye(2), torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]))
    assert centroids.tolist() == [[1, 0], [0, 1], [0, 0]]


def test_other_samples_are_judged_by_the_targets_centroids():
    probabilities, frozen = draw(40, 4)
    opinion = Opinion.of(probabilities, frozen)
    whole = opinion.agree(probabilities, frozen)
    torch.testing.assert_close(opinion.agree(probabilities[:3], frozen[:3]), whole[:3])


def test_a_single_sample_keeps_its_probabilities():
    probabilities, frozen = draw(1, 3)
    torch.testing.assert_close(agreed_probabilities(probabilities, frozen), probabilities)
