"""PuzzleMix: costs, cuts and transport, against the released code's and naive renderings."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.looks import FixedLook, MadeLook

from uda.augment.cuts import energy, least_energy_levels
from uda.augment.puzzlemix import (
    PuzzleMixAugmentation,
    grid_costs,
    grids_of,
    prior_costs,
)
from uda.augment.saliency import normalised
from uda.augment.transport import move_blocks, transport_plan

CASES = range(7)
WITH_TRANSPORT = (1, 2, 3, 6)


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "puzzlemix.npz") as file:
        return {name: file[name] for name in file.files}


def pooled(golden, size):
    """Return the golden saliency of size × size blocks, each map of sum 1."""
    saliency = torch.from_numpy(golden["saliency"]).double()
    return normalised(torch.nn.functional.adaptive_avg_pool2d(saliency[:, None], size)[:, 0])


def costs_of(golden, case):
    images = torch.from_numpy(golden["image_uint8"]).double() / 255
    size = int(golden[f"c{case}_block_num"])
    partners = torch.from_numpy(golden["partner"])
    return grid_costs(images, pooled(golden, size), partners, 1.2, 0.5, 4)


def energy_terms(golden, case):
    """Return the costs of each level, and of neighbours, as NumPy arrays."""
    own, other, down, right = (part.numpy() for part in costs_of(golden, case))
    levels, size = int(golden[f"c{case}_n_labels"]), int(golden[f"c{case}_block_num"])
    z = np.linspace(0, 1, levels)
    prior = 0.2 / size**2 * prior_costs(levels, float(golden[f"c{case}_alpha"]))
    return z * other[..., None] + (1 - z) * own[..., None] + prior, down, right


@pytest.mark.parametrize("case", CASES)
def test_costs_are_the_released_ones(golden, case):
    own, other, down, right = (part.numpy() for part in costs_of(golden, case))
    unit = 1.2 / (16 * own.shape[1])
    for ours, name in ((own, "unary_a"), (other, "unary_b")):
        np.testing.assert_allclose(ours, golden[f"c{case}_{name}"], atol=2e-7)
    for ours, name in ((down, "pair_down"), (right, "pair_right")):
        np.testing.assert_allclose(ours - unit, golden[f"c{case}_{name}"], atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_no_energy_is_higher_than_the_released(golden, case):
    terms = energy_terms(golden, case)
    steps = terms[0].shape[3] - 1
    levels = least_energy_levels(*terms)
    released = np.rint(golden[f"c{case}_mask"] * steps).astype(np.int64)
    ours, theirs = energy(levels, *terms), energy(released, *terms)
    assert (ours <= theirs + 1e-7).all()
    assert (ours > 0.997 * theirs).all(), "the released code is near the least"
    if case in (0, 1, 4, 5, 6):
        assert (levels == released).all()
        share = levels.mean(axis=(1, 2)) / steps
        np.testing.assert_allclose(share, golden[f"c{case}_ratio"], atol=1e-6)


@pytest.mark.parametrize("case", WITH_TRANSPORT)
def test_plans_are_the_released_ones(golden, case):
    mask = torch.from_numpy(golden[f"c{case}_tmask"])[:, 0].double()
    saliency = pooled(golden, mask.shape[1])
    partner = torch.from_numpy(golden["partner"])
    for kind, shown, maps in (("a", mask, saliency), ("b", 1 - mask, saliency[partner])):
        place, wins = transport_plan(maps, shown, 0.8)
        # There a block that goes to where nothing is seen has no place.
        seen = wins & (shown.flatten(1).gather(1, place) > 0)
        used = torch.from_numpy(golden[f"c{case}_plan_{kind}_used"])
        seen[:, 0] = used[:, 0]  # of the first block the released table cannot tell
        assert torch.equal(seen, used)
        theirs = torch.from_numpy(golden[f"c{case}_plan_{kind}"]).long()
        assert torch.equal(place[used], theirs[used])


def test_a_whole_result_is_the_released_one(golden):
    """With the draws of the golden file: n 4, λ .6, and a mask that both solvers find."""
    images = torch.from_numpy(golden["image_uint8"]).float() / 255
    saliency = torch.from_numpy(golden["saliency"]).float()
    partners = torch.from_numpy(golden["partner"])
    for case, levels, pixels in ((1, 3, 4), (5, 4, 0)):
        augmentation = PuzzleMixAugmentation(levels=levels, transport_px=pixels or -1)
        share = float(golden[f"c{case}_alpha"])
        mask = augmentation._mask(images, saliency, partners, 4, share)
        own, other = images, images[partners]
        if pixels:
            empty = torch.from_numpy(golden["mean"])
            own = augmentation._moved(own, saliency, mask, empty)
            other = augmentation._moved(other, saliency[partners], 1 - mask, empty)
        mask = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
        expected = torch.from_numpy(golden[f"c{case}_mixed"]).float()
        torch.testing.assert_close(mask * own + (1 - mask) * other, expected, atol=1e-3, rtol=0)


def naive_costs(images, saliency, partners, beta, gamma, neighbourhood):
    """Return the costs of losing either, and w, by loops over blocks."""
    count, _, height, width = images.shape
    size = saliency.shape[1]
    tall, wide = height // size, width // size
    pool = [max(k for k in range(1, min(s, neighbourhood) + 1) if s % k == 0) for s in (tall, wide)]

    def strip(image, row, column, side):
        """The mean colours of the pixels along a side of a block, by pools."""
        block = image[:, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
        block = {
            "bottom": lambda b: b[:, -pool[0] :].mean(1).unflatten(1, (-1, pool[1])).mean(2),
            "top": lambda b: b[:, : pool[0]].mean(1).unflatten(1, (-1, pool[1])).mean(2),
            "right": lambda b: b[:, :, -pool[1] :].mean(2).unflatten(1, (-1, pool[0])).mean(2),
            "left": lambda b: b[:, :, : pool[1]].mean(2).unflatten(1, (-1, pool[0])).mean(2),
        }[side](block)
        return block

    own, other = saliency.clone(), saliency[partners].clone()
    seams = {"down": {}, "right": {}}
    for b in range(count):
        pair = images[b], images[partners[b]]
        for (row, column), kind in itertools.product(np.ndindex(size, size), seams):
            below = (row + 1, column) if kind == "down" else (row, column + 1)
            if max(below) == size:
                continue
            near, far = ("bottom", "top") if kind == "down" else ("right", "left")
            d = {
                (u, v): gamma
                * beta
                / (16 * size)
                * float(
                    (strip(pair[u], row, column, near) - strip(pair[v], *below, far)).abs().mean()
                )
                for u in (0, 1)
                for v in (0, 1)
            }
            other[b, row, column] += (d[0, 1] + d[0, 0]) / 2
            own[b, row, column] += (d[1, 0] + d[1, 1]) / 2
            other[(b, *below)] += (d[1, 0] + d[0, 0]) / 2
            own[(b, *below)] += (d[0, 1] + d[1, 1]) / 2
            w = (d[0, 1] + d[1, 0] - d[0, 0] - d[1, 1]) / 2 + beta / (16 * size)
            seams[kind][b, row, column] = w
    return own, other, seams


@pytest.mark.parametrize(("height", "width", "size"), [(12, 20, 4), (9, 6, 3), (14, 14, 2)])
def test_costs_are_the_formula(height, width, size):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((2, 3, height, width), generator=generator)
    saliency = normalised(torch.rand((2, size, size), generator=generator))
    partners = torch.tensor([1, 0])
    ours = grid_costs(images, saliency, partners, 1.2, 0.5, 4)
    own, other, seams = naive_costs(images, saliency, partners, 1.2, 0.5, 4)
    torch.testing.assert_close(ours.losing_own, own)
    torch.testing.assert_close(ours.losing_other, other)
    for kind in ("down", "right"):
        values = getattr(ours, kind)
        assert values.numel() == len(seams[kind])
        for at, value in seams[kind].items():
            assert float(values[at]) == pytest.approx(value, rel=1e-4)
        assert (values > 0).all()


def random_terms(size, levels, count=3, seed=0, weight=1.0):
    rng = np.random.default_rng(seed)
    costs = rng.normal(size=(count, size, size, levels))
    down, right = rng.random((count, size - 1, size)), rng.random((count, size, size - 1))
    return costs, weight * down, weight * right


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("weight", [0.3, 3.0])
def test_a_cut_is_the_least_of_all_masks(levels, weight):
    terms = random_terms(2, levels, weight=weight)
    ours = energy(least_energy_levels(*terms), *terms)
    every = itertools.product(range(levels), repeat=4)
    masks = np.array(list(every)).reshape(-1, 2, 2)
    for k in range(3):
        single = [np.repeat(term[k : k + 1], len(masks), axis=0) for term in terms]
        assert ours[k] == pytest.approx(energy(masks, *single).min(), abs=1e-6)


@pytest.mark.parametrize("size", [2, 5, 16])
def test_no_constant_mask_and_no_change_of_a_cell_is_better(size):
    terms = random_terms(size, 3, count=2, seed=size)
    levels = least_energy_levels(*terms)
    least = energy(levels, *terms)
    for level in range(3):
        assert (least <= energy(np.full_like(levels, level), *terms) + 1e-6).all()
    for row, column in itertools.islice(np.ndindex(size, size), 40):
        changed = levels.copy()
        changed[:, row, column] = (changed[:, row, column] + 1) % 3
        assert (least <= energy(changed, *terms) + 1e-6).all()


def test_without_neighbours_each_block_takes_its_cheapest_level():
    costs, down, right = random_terms(4, 4)
    levels = least_energy_levels(costs, 0 * down, 0 * right)
    assert np.array_equal(levels, costs.argmin(axis=3))


def test_a_cut_does_not_depend_on_the_rest_of_the_batch():
    terms = random_terms(8, 3, count=5)
    together = least_energy_levels(*terms)
    for k in range(5):
        assert np.array_equal(together[k], least_energy_levels(*(t[k : k + 1] for t in terms))[0])


def test_the_prior_is_binomial():
    expected = [0.3**2, 2 * 0.7 * 0.3, 0.7**2]
    np.testing.assert_allclose(prior_costs(3, 0.7), -np.log(np.array(expected) + 1e-8))
    assert np.isfinite(prior_costs(3, 0.0)).all()


def naive_plan(saliency, mask, epsilon):
    side = len(saliency)
    places = list(np.ndindex(side, side))
    cost = {
        (p, q): epsilon * ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) / (side - 1) ** 2
        - float(saliency[a]) * bool(mask[b] > 0)
        for p, a in enumerate(places)
        for q, b in enumerate(places)
    }
    count = len(places)
    for _ in range(side):
        chosen = [min(range(count), key=lambda q: (cost[p, q], q)) for p in range(count)]
        wins = [
            p == min((o for o in range(count) if chosen[o] == q), key=lambda o: (cost[o, q], o))
            for p, q in enumerate(chosen)
        ]
        for p, q in enumerate(chosen):
            if not wins[p]:
                cost[p, q] += 1
    return chosen, wins


@pytest.mark.parametrize("side", [2, 3, 5])
def test_a_plan_is_the_rounds_of_the_paper(side):
    generator = torch.Generator().manual_seed(side)
    saliency = normalised(torch.rand((4, side, side), generator=generator) ** 6)
    mask = torch.randint(0, 3, (4, side, side), generator=generator) / 2
    place, wins = transport_plan(saliency.double(), mask.double(), 0.5)
    for k in range(4):
        expected = naive_plan(saliency[k].double().numpy(), mask[k].numpy(), 0.5)
        assert place[k].tolist() == expected[0]
        assert wins[k].tolist() == expected[1]


def test_no_two_blocks_get_one_place_and_dear_moves_stay_away():
    generator = torch.Generator().manual_seed(0)
    saliency = normalised(torch.rand((8, 6, 6), generator=generator) ** 8)
    mask = torch.randint(0, 3, (8, 6, 6), generator=generator) / 2
    place, wins = transport_plan(saliency, mask, 0.1)
    assert not torch.equal(place, torch.arange(36).expand_as(place))
    assert not wins.all()
    for k in range(8):
        taken = place[k][wins[k]].tolist()
        assert len(set(taken)) == len(taken)
    place, wins = transport_plan(saliency, mask, 1e4)
    assert torch.equal(place, torch.arange(36).expand_as(place))
    assert wins.all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_blocks_move_whole_and_empty_places_are_the_mean_colour(layout):
    images = torch.rand((2, 3, 6, 8), generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=layout)
    place, wins = torch.tensor([[3, 1, 2, 0], [1, 1, 2, 3]]), torch.ones(2, 4, dtype=torch.bool)
    wins[1, 1] = False
    moved = move_blocks(images, place, wins, torch.tensor([0.1, 0.2, 0.3]))
    assert moved.is_contiguous(memory_format=layout)
    assert torch.equal(moved[0, :, 3:, 4:], images[0, :, :3, :4])
    assert torch.equal(moved[0, :, :3, :4], images[0, :, 3:, 4:])
    assert torch.equal(moved[0, :, :3, 4:], images[0, :, :3, 4:])
    assert torch.equal(moved[1, :, :3, 4:], images[1, :, :3, :4])
    assert torch.equal(moved[1, :, 3:], images[1, :, 3:])
    empty = torch.tensor([0.1, 0.2, 0.3])[:, None, None].expand(3, 3, 4)
    assert torch.equal(moved[1, :, :3, :4], empty)


def test_grids_are_those_that_divide_the_images():
    assert grids_of(64, 64) == [2, 4, 8, 16]
    assert grids_of(28, 28) == [2, 4]
    assert grids_of(64, 24) == [2, 4, 8]
    assert grids_of(21, 63) == [3, 7]
    for size in ((23, 23), (23, 18), (1, 1)):
        with pytest.raises(ValueError, match="images.crop_px: puzzlemix cannot divide"):
            grids_of(*size)


@pytest.mark.parametrize("size", [(16, 16), (21, 14), (28, 28), (6, 10)])
@pytest.mark.parametrize("pixels", [-1, 3, 4])
def test_targets_are_mixed_by_the_shares(size, pixels):
    """Of white and black images the mean of a mixed image tells the share, if none moves."""
    images = torch.zeros(2, 3, *size)
    images[0] = 1.0
    gradient = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) ** 8
    shares = set()
    for seed in range(10):
        augmentation = PuzzleMixAugmentation(beta=0.1, epsilon=1e4, transport_px=pixels)
        mixed, targets = augmentation.batch_by_look(images, torch.eye(2), seed, FixedLook(gradient))
        torch.testing.assert_close(targets[:, 0], mixed.mean(dim=(1, 2, 3)))
        torch.testing.assert_close(targets.sum(1), torch.ones(2))
        shares.add(round(float(targets[0, 0]), 3))
    assert len(shares) > 3


def test_a_part_that_the_network_needs_is_shown():
    """Each image's salient half is seen in the mixed image, if both fit."""
    gradient = torch.full((2, 3, 16, 16), 1e-3)
    gradient[0, :, :, :8] = gradient[1, :, :, 8:] = 1.0
    images = torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    augmentation = PuzzleMixAugmentation(beta=0.01, eta=0.0)
    mixed, targets = augmentation.batch_by_look(images, torch.eye(2), 0, FixedLook(gradient))
    torch.testing.assert_close(mixed[0], torch.cat([images[0, ..., :8], images[1, ..., 8:]], -1))
    torch.testing.assert_close(targets, torch.full((2, 2), 0.5))


def test_images_without_any_gradient_are_mixed_too():
    images, targets = torch.full((3, 3, 8, 8), 0.5), torch.eye(3)
    look = FixedLook(torch.zeros_like(images))
    mixed, mixed_targets = PuzzleMixAugmentation().batch_by_look(images, targets, 1, look)
    assert torch.isfinite(mixed).all()
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(3))
    alone = PuzzleMixAugmentation().batch_by_look(images[:1], targets[:1], 1, MadeLook())
    torch.testing.assert_close(alone[1], targets[:1])
    assert not math.isnan(float(alone[0].sum()))
