"""Co-Mixup: its objective against the released code's, its solver against all labellings."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.looks import FixedLook, MadeLook

from uda.augment.comixup import (
    CoMixupAugmentation,
    _pairs_shown,
    _repelled,
    compatibility,
    salient_places,
    show,
)
from uda.augment.expansions import cheapest_labels, labels_energy


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "comixup.npz") as file:
        return {name: file[name] for name in file.files}


def case_of(golden, case):
    """Return the augmentation with a case's options, its costs c and its compatibility A."""
    options = {
        "omega": float(golden[f"c{case}_omega"]),
        "eta": float(golden[f"c{case}_eta"]),
        "threshold": float(golden[f"c{case}_thres"]),
        "rounds": int(golden[f"c{case}_niter"]),
    }
    saliency = golden["saliency"].astype(np.float64)
    saliency = saliency / saliency.sum(axis=(1, 2), keepdims=True)
    prior = options["eta"] / 16 * np.log(golden[f"c{case}_dirichlet"].astype(np.float64) + 1e-8)
    near = compatibility(golden["position"].astype(np.int64), options["omega"])
    return CoMixupAugmentation(**options), -saliency - prior[:, None, None], near


def crowded_objective(augmentation, shares, costs):
    """The objective in which only what exceeds the threshold counts, as the golden file has it."""
    counts = shares.sum(axis=(1, 2))
    total = counts.sum(axis=0)
    others = total - counts
    every = (total**2).sum() - (counts**2).sum()
    crowded = (counts * others * (others > 16 * augmentation.threshold)).sum()
    return augmentation.objective(shares, costs) + augmentation.gamma / 16 * (crowded - every)


@pytest.mark.parametrize("case", range(3))
def test_compatibility_and_objectives_are_the_released_ones(golden, case):
    augmentation, costs, near = case_of(golden, case)
    np.testing.assert_allclose(near, golden[f"c{case}_A"], atol=1e-7)
    shares = golden[f"c{case}_z"].astype(np.float64)
    expected = float(golden[f"c{case}_objective"])
    assert augmentation.objective(shares, costs) == pytest.approx(expected, abs=1e-5)
    expected = float(golden[f"c{case}_objective_thres"])
    assert crowded_objective(augmentation, shares, costs) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("case", range(3))
def test_objectives_are_as_low_as_the_released(golden, case):
    """From the same start. Local optima differ, by more than this from one start to the next."""
    augmentation, costs, near = case_of(golden, case)
    shares = augmentation.solve(costs, near, golden[f"c{case}_init"].astype(np.int64))
    released = golden[f"c{case}_z"].astype(np.float64)
    ours, theirs = (augmentation.objective(each, costs) for each in (shares, released))
    assert ours <= theirs + 1e-9
    ours, theirs = (crowded_objective(augmentation, z, costs) for z in (shares, released))
    assert ours <= theirs + 0.05 * abs(theirs)
    if case == 2:
        np.testing.assert_allclose(shares, released, atol=1e-6)


def test_images_and_targets_are_the_released_ones(golden):
    shares = torch.from_numpy(golden["c0_z"])
    images = torch.from_numpy(golden["images"])
    expected = torch.from_numpy(golden["c0_mixed"]).float()
    torch.testing.assert_close(show(images, shares), expected, atol=1e-3, rtol=0)
    targets = shares.mean(dim=(1, 2)) @ torch.from_numpy(golden["targets"])
    torch.testing.assert_close(targets, torch.from_numpy(golden["c0_target"]))


def every_labelling(costs, smoothness):
    count = costs.shape[2]
    cells = itertools.product(range(count), repeat=costs.shape[0] * costs.shape[1])
    return min(
        labels_energy(np.array(labels).reshape(costs.shape[:2]), costs, smoothness)
        for labels in cells
    )


@pytest.mark.parametrize("seed", range(6))
def test_labels_of_two_kinds_are_the_cheapest(seed):
    """An expansion can reach any labelling of two labels from a labelling of one."""
    rng = np.random.default_rng(seed)
    costs, smoothness = rng.normal(size=(3, 3, 2)), rng.random() * (1 - np.eye(2))
    labels = cheapest_labels(costs, smoothness)
    least = every_labelling(costs, smoothness)
    assert labels_energy(labels, costs, smoothness) == pytest.approx(least, abs=0.05)


@pytest.mark.parametrize("shape", [(4, 4), (2, 3), (1, 4), (3, 1), (1, 1)])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_no_expansion_lowers_the_energy(shape, count):
    rng = np.random.default_rng(count)
    costs = rng.normal(size=(*shape, count))
    smoothness = rng.random((count, count)) * (1 - np.eye(count))  # not even a metric
    smoothness = smoothness + smoothness.T
    labels = cheapest_labels(costs, smoothness)
    least = labels_energy(labels, costs, smoothness)
    assert least <= labels_energy(costs.argmin(axis=2), costs, smoothness)
    for label in range(count):
        assert least <= labels_energy(np.full(shape, label), costs, smoothness) + 1e-9
        for _ in range(100):
            moved = np.where(rng.random(shape) < rng.random(), label, labels)
            assert least <= labels_energy(moved, costs, smoothness) + 1e-9


def test_without_smoothness_each_cell_takes_its_cheapest_label():
    costs = np.random.default_rng(0).normal(size=(4, 4, 9))
    assert np.array_equal(cheapest_labels(costs, np.zeros((9, 9))), costs.argmin(axis=2))


def test_blocks_are_shared_by_halves_only_among_the_most_shown():
    shares = np.zeros((4, 4, 6))
    shares[..., 2] = 1
    assert _pairs_shown(shares) == []
    shares[0, :3] = np.eye(6)[5]
    assert _pairs_shown(shares) == [(2, 5)]
    shares[3, :2], shares[2, 0] = np.eye(6)[0], np.eye(6)[1]
    assert _pairs_shown(shares) == [(2, 5), (2, 0), (5, 0)]


def test_two_outputs_of_the_same_images_are_driven_apart():
    shares = np.zeros((3, 4, 4, 3))
    shares[0, ..., 1] = 1
    shares[1, ..., 0] = shares[2, ..., 0] = 1
    shares[1, 0] = shares[2, 1, :2] = np.eye(3)[2]
    assert _repelled(shares).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_the_most_salient_window_is_found():
    saliency = torch.zeros(2, 20, 24)
    saliency[0, 3:11, 9:17] = 1.0
    saliency[1, 12:20, 16:24] = 1.0
    assert salient_places(saliency).tolist() == [[3, 9], [12, 16]]
    assert salient_places(saliency[:, :5, :3]).shape == (2, 2)


def test_outputs_show_every_image_and_few_at_once():
    """A batch's salient parts are shared out: none is lost, and none fills everything."""
    generator = torch.Generator().manual_seed(0)
    gradient = torch.zeros(12, 3, 16, 16)
    for k in range(12):
        row, column = torch.randint(0, 4, (2,), generator=generator).tolist()
        gradient[k, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1.0
        gradient[k] += 0.02
    images = torch.rand((12, 3, 16, 16), generator=generator)
    _, targets = CoMixupAugmentation().batch_by_look(images, torch.eye(12), 0, FixedLook(gradient))
    torch.testing.assert_close(targets.sum(1), torch.ones(12))
    shown = targets.sum(0)
    assert float(shown.min()) > 0.4
    assert float(shown.max()) < 1.7
    assert ((targets > 0).sum(1) <= 6).all()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("size", [(23, 18), (5, 7), (3, 2)])
def test_odd_sizes_and_small_batches_are_mixed_block_by_block(count, size):
    images = torch.rand((count, 3, *size), generator=torch.Generator().manual_seed(0))
    targets = torch.ones(count, 1)  # a single class
    mixed, mixed_targets = CoMixupAugmentation(part=3).batch_by_look(images, targets, 2, MadeLook())
    torch.testing.assert_close(mixed_targets, targets)
    assert torch.isfinite(mixed).all()
    if count == 1:
        torch.testing.assert_close(mixed, images)


def test_parts_do_not_mix_with_each_other():
    images = torch.rand((5, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    _, targets = CoMixupAugmentation(part=3).batch_by_look(images, torch.eye(5), 0, MadeLook())
    assert not targets[:3, 3:].any()
    assert not targets[3:, :3].any()
