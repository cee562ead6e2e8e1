"""SnapMix: boxes, maps and targets, against the released code's and naive renderings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.looks import FixedLook, MadeLook
from torch.nn import functional as F

from uda.augment.snapmix import SnapMixAugmentation, draw_box, paste, semantic_maps


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "snapmix.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="module")
def maps(golden):
    """The class maps of the released code's features, and enlarged."""
    labels = golden["labels"]
    weight, bias = golden["fc_weight"][labels], golden["fc_bias"][labels]
    return torch.einsum("bchw,bc->bhw", golden["feature_maps"].relu(), weight) + bias[:, None, None]


def test_maps_are_the_released_ones(golden, maps):
    torch.testing.assert_close(semantic_maps(maps, 32, 32), golden["spm"], atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("case", range(3))
def test_boxes_and_targets_are_the_released_ones(golden, maps, case):
    images = golden["images_uint8"].float() / 255
    # There x runs along the third axis of the images: the rows.
    lost, shown = (tuple(golden[f"c{case}_box_{k}"].tolist()) for k in "ab")
    partners, labels = golden[f"c{case}_partner"], golden["labels"]
    targets = torch.arange(4).view(4, 1) == torch.arange(4)  # a class for each image
    spm = semantic_maps(maps, 32, 32)
    mixed, weights = paste(images, targets.float(), spm, partners, lost, shown)
    torch.testing.assert_close(mixed, golden[f"c{case}_mixed"].float(), atol=1e-3, rtol=0)
    for k in range(4):
        own, other = float(golden[f"c{case}_rho_a"][k]), float(golden[f"c{case}_rho_b"][k])
        partner = int(partners[k])
        if labels[k] == labels[partner]:  # both hold the sum: the released loss is twice ours
            assert own == other == pytest.approx(float(weights[k].sum()), abs=1e-5)
        else:
            assert float(weights[k, k]) == pytest.approx(own, abs=1e-5)
            assert float(weights[k, partner]) == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_snapmix_is_the_formula(images, targets, seed):
    maps = torch.rand((5, 3, 2), generator=torch.Generator().manual_seed(seed))
    mixed, mixed_targets = SnapMixAugmentation().batch_by_look(
        images, targets, seed, FixedLook(maps=maps)
    )
    rng = np.random.default_rng(seed)
    rng.random()
    lost, shown = (draw_box(23, 18, rng.beta(5, 5), rng) for _ in range(2))
    for k in range(5):
        large = [
            F.interpolate(maps[[i]][:, None], (23, 18), mode="bilinear")[0, 0] for i in (k, k - 1)
        ]
        large = [(each - each.min()) / (each - each.min()).sum() for each in large]
        expected = images[k].clone()
        cut = images[k - 1][None, :, shown[0] : shown[2], shown[1] : shown[3]]
        size = (lost[2] - lost[0], lost[3] - lost[1])
        expected[:, lost[0] : lost[2], lost[1] : lost[3]] = F.interpolate(
            cut, size, mode="bilinear", align_corners=True
        )[0]
        torch.testing.assert_close(mixed[k], expected)
        kept = 1 - large[0][lost[0] : lost[2], lost[1] : lost[3]].sum()
        gained = large[1][shown[0] : shown[2], shown[1] : shown[3]].sum()
        torch.testing.assert_close(mixed_targets[k], kept * targets[k] + gained * targets[k - 1])


def test_boxes_have_the_drawn_share_or_are_cut_off_at_the_border():
    rng = np.random.default_rng(0)
    whole = 0
    for _ in range(200):
        top, left, bottom, right = draw_box(23, 18, 0.6, rng)
        assert 0 <= top <= bottom <= 23
        assert 0 <= left <= right <= 18
        assert bottom - top <= 14  # √0.4 · 23
        assert right - left <= 11
        whole += (bottom - top, right - left) == (14, 10)
    assert whole > 10


def test_even_maps_count_areas(images, targets):
    """A network whose last maps are a single position sees nothing in particular."""
    maps = semantic_maps(torch.full((5, 1, 1), -3.0), 23, 18)
    torch.testing.assert_close(maps, torch.full((5, 23, 18), 1 / (23 * 18)))
    box = (2, 3, 12, 9)
    partners = torch.arange(5).roll(1)
    mixed, mixed_targets = paste(images, targets, maps, partners, box, box)
    share = 1 - 60 / (23 * 18)
    torch.testing.assert_close(mixed_targets, share * targets + (1 - share) * targets.roll(1, 0))
    torch.testing.assert_close(mixed[:, :, 2:12, 3:9], images.roll(1, 0)[:, :, 2:12, 3:9])


def test_an_empty_box_leaves_the_batch():
    images, targets = torch.rand(2, 3, 1, 1), torch.eye(2)
    for seed in range(5):
        mixed, same = SnapMixAugmentation().batch_by_look(images, targets, seed, MadeLook())
        assert mixed is images
        assert same is targets
