"""Mixup, CutMix and transforms of single images: the same as torchvision's by the same seed."""

import pytest
import torch
from torchvision.transforms import v2

from uda.augment import AUGMENTATIONS
from uda.augment.base import seeded


def drawn_lambda(alpha, seed):
    torch.manual_seed(seed)
    return float(torch.distributions.Beta(torch.tensor([alpha]), torch.tensor([alpha])).sample())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mixup_is_the_formula(images, targets, layout):
    images = images.to(memory_format=layout)
    mixed, mixed_targets = AUGMENTATIONS["mixup"](alpha=0.4).batch(images, targets, 3)
    share = drawn_lambda(0.4, 3)
    for k in range(5):
        torch.testing.assert_close(mixed[k], share * images[k] + (1 - share) * images[k - 1])
        torch.testing.assert_close(
            mixed_targets[k], share * targets[k] + (1 - share) * targets[k - 1]
        )


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_pastes_a_box_and_mixes_targets_by_its_area(images, targets, seed):
    mixed, mixed_targets = AUGMENTATIONS["cutmix"]().batch(images, targets, seed)
    kept = (mixed == images).all(1)  # [B, H, W]
    pasted = (mixed == images.roll(1, 0)).all(1)
    assert (kept | pasted).all()
    assert (pasted == pasted[:1]).all(), "the whole batch has the same box"
    rows, columns = pasted[0].any(1).nonzero()[:, 0], pasted[0].any(0).nonzero()[:, 0]
    area = 0
    if len(rows):
        box = pasted[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all(), "and it is a box"
        area = box.numel()
    share = 1 - area / (23 * 18)
    torch.testing.assert_close(mixed_targets, share * targets + (1 - share) * targets.roll(1, 0))


GREY = [128] * 3
TRANSFORMS = {
    "randaugment": ({"num_ops": 3, "magnitude": 20}, v2.RandAugment(3, 20, fill=GREY)),
    "autoaugment": (
        {"policy": "cifar10"},
        v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, fill=GREY),
    ),
    "trivialaugment": ({}, v2.TrivialAugmentWide()),
    "augmix": ({"severity": 5}, v2.AugMix(severity=5, all_ops=False)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_image_is_torchvisions_by_its_seed(name):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 21, 16), dtype=torch.uint8, generator=generator)
    options, transform = TRANSFORMS[name]
    seeds = [4, 9, 4, 2**62, 0, 7]
    results = AUGMENTATIONS[name](**options).images(images, list(range(6)), seeds)
    assert results.shape == images.shape
    for image, result, seed in zip(images, results, seeds, strict=True):
        torch.manual_seed(seed)
        assert torch.equal(transform(image), result)
    assert not torch.equal(results, images)


def test_a_seed_is_forgotten_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(1):
        torch.rand(3, device="none")
    assert torch.equal(torch.get_rng_state(), state)
