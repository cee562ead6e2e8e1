"""Guided-AP: saliency by the gradient, against the released code's and naive renderings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.looks import FixedLook, MadeLook

from uda.augment.guided_ap import GuidedAPAugmentation, guiding_gradient
from uda.augment.guided_sr import GuidedSRAugmentation, blend_in_a_cycle, guiding_saliency
from uda.augment.saliency import gradient_saliency, normalised


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "guided_ap.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_guided_ap_is_the_released_code(golden):
    gradient = golden["gradient"].float()
    torch.testing.assert_close(guiding_gradient(gradient), golden["saliency"], atol=1e-7, rtol=1e-4)
    images = torch.rand((5, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    augmentation = GuidedAPAugmentation(probability=1.0)
    mixed, shares = augmentation.batch_by_look(images, torch.eye(5), 0, FixedLook(gradient))
    partners, mask = golden["partner"], golden["mask"].float()[:, None]
    torch.testing.assert_close(
        mixed, mask * images + (1 - mask) * images[partners], atol=1e-3, rtol=0
    )
    torch.testing.assert_close(shares.diagonal(), golden["share"], atol=1e-5, rtol=0)
    assert shares.fill_diagonal_(0).argmax(1).tolist() == partners.tolist()


def test_the_scale_of_a_gradient_does_not_matter():
    """A confident network's gradients are so small that their squares are 0."""
    gradient = torch.rand((2, 3, 9, 7), generator=torch.Generator().manual_seed(0)) - 0.5
    expected = guiding_gradient(gradient)
    for scale in (1e-30, 1e-3, 1e30):
        torch.testing.assert_close(guiding_gradient(gradient * scale), expected)
    plain = guiding_gradient(torch.zeros(2, 3, 9, 7))
    torch.testing.assert_close(plain, torch.full((2, 9, 7), 1 / 63))


def test_gradient_saliency_is_the_root_of_the_mean_square():
    gradient = torch.rand((2, 3, 5, 4), generator=torch.Generator().manual_seed(0)) - 0.5
    maps = gradient_saliency(gradient)
    for k in range(2):
        values = [
            [float((gradient[k, :, y, x] ** 2).mean()) ** 0.5 for x in range(4)] for y in range(5)
        ]
        expected = torch.tensor(values)
        torch.testing.assert_close(maps[k], expected / expected.max())


def test_pixels_that_are_salient_in_neither_are_halved(images, targets):
    saliency = torch.zeros(5, 23, 18)
    saliency[:, 3:9, 2] = torch.arange(1.0, 6.0)[:, None]
    mixed, _ = blend_in_a_cycle(images, targets, normalised(saliency))
    assert torch.isfinite(mixed).all()
    assert torch.isin(mixed[0, 0, 20, 10], (images[0, 0, 20, 10] + images[1:, 0, 20, 10]) / 2)


def test_guided_sr_mixes_in_the_same_way(images, targets):
    ours = blend_in_a_cycle(images, targets, guiding_saliency(images))
    theirs = GuidedSRAugmentation(probability=1.0).batch(images, targets, 0)
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_a_share_of_the_batches_is_looked_at(images, targets):
    look, augmentation = MadeLook(), GuidedAPAugmentation()
    for seed in range(100):
        mixed, _ = augmentation.batch_by_look(images, targets, seed, look)
        assert (mixed is images) == (len(look.seen) == 0)
        look.seen.clear() if mixed is images else look.seen.pop()
    counts = [augmentation.batch_by_look(images, targets, s, look)[0] is images for s in range(200)]
    assert sum(counts) == pytest.approx(40, abs=18)
    assert look.seen == ["gradient"] * (200 - sum(counts))
