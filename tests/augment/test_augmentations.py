"""Mixup, CutMix, RandAugment and its kin: torchvision's, seeded as the contract asks."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import arguments, make_dataset
from PIL import Image
from torchvision.transforms import v2

from uda.augment import AUGMENTATIONS
from uda.augment.base import seeded
from uda.cli.main import main
from uda.runs.folder import find_runs


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.rand((5, 3, 13, 10), generator=generator)


TARGETS = torch.eye(5)[:, :4] * 0.9 + 0.025  # soft; the fifth has no class of its own


def drawn_lambda(alpha, seed):
    torch.manual_seed(seed)
    return float(torch.distributions.Beta(torch.tensor([alpha]), torch.tensor([alpha])).sample())


@pytest.mark.parametrize("channels_last", [False, True])
def test_mixup_is_the_formula(images, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    given = images.to(memory_format=layout)
    mixed, targets = AUGMENTATIONS["mixup"](alpha=0.4).batch(given, TARGETS, 3)
    share = drawn_lambda(0.4, 3)
    for place in range(5):
        expected = share * images[place] + (1 - share) * images[place - 1]
        torch.testing.assert_close(mixed[place], expected)
        torch.testing.assert_close(
            targets[place], share * TARGETS[place] + (1 - share) * TARGETS[place - 1]
        )


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_shows_a_box_and_mixes_targets_by_its_area(images, seed):
    mixed, targets = AUGMENTATIONS["cutmix"]().batch(images, TARGETS, seed)
    own = (mixed == images).all(1)  # [B, H, W]
    other = (mixed == images.roll(1, 0)).all(1)
    assert (own | other).all()
    assert (other == other[:1]).all(), "one box for the whole batch"
    rows, columns = other[0].any(1).nonzero()[:, 0], other[0].any(0).nonzero()[:, 0]
    area = 0
    if len(rows):
        box = other[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all(), "and it is a box"
        area = box.numel()
    share = 1 - area / (13 * 10)
    torch.testing.assert_close(targets, share * TARGETS + (1 - share) * TARGETS.roll(1, 0))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_batches(images, name):
    augmentation = AUGMENTATIONS[name]()
    before, state = images.clone(), torch.get_rng_state()
    first = augmentation.batch(images, TARGETS, 1)
    assert torch.equal(torch.get_rng_state(), state), "draws of others do not change"
    assert torch.equal(images, before), "the batch it was given does not change"
    again, other = augmentation.batch(images, TARGETS, 1), augmentation.batch(images, TARGETS, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not augmentation.copies
    small = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert augmentation.images(small, [0, 1], [5, 6]) is small
    alone = augmentation.batch(images[:1], TARGETS[:1], 1)  # its own partner
    torch.testing.assert_close(alone[0], images[:1])
    torch.testing.assert_close(alone[1], TARGETS[:1])


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
def test_each_image_is_torchvisions_by_its_own_seed(name):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 21, 16), dtype=torch.uint8, generator=generator)
    options, plain = TRANSFORMS[name]
    augmentation = AUGMENTATIONS[name](**options)
    state, before = torch.get_rng_state(), images.clone()
    others = random.getstate(), np.random.get_state()[1].tolist()
    seeds = [4, 9, 4, 2**62, 0, 7]
    together = augmentation.images(images, list(range(6)), seeds)
    assert torch.equal(torch.get_rng_state(), state)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == others
    assert torch.equal(images, before)
    assert together.dtype == torch.uint8
    assert together.shape == images.shape
    for place in range(6):
        alone = augmentation.images(images[place : place + 1], [place], [seeds[place]])
        assert torch.equal(alone[0], together[place])
        torch.manual_seed(seeds[place])
        assert torch.equal(plain(images[place]), together[place])
    assert not torch.equal(together, images)
    assert (augmentation.every_image, augmentation.copies) == (True, False)
    targets = torch.eye(6)
    assert augmentation.batch(images, targets, 0)[1] is targets


def test_a_seed_is_forgotten_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(1):
        torch.rand(3, device="none")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("mixup", {"alpha": 0.0}, "mixup.alpha"),
        ("cutmix", {"alpha": float("nan")}, "cutmix.alpha"),
        ("randaugment", {"num_ops": 0}, "num_ops"),
        ("randaugment", {"magnitude": 31}, "magnitude"),
        ("autoaugment", {"policy": "mnist"}, "autoaugment.policy: 'mnist'.* imagenet, cifar10, sv"),
        ("trivialaugment", {"num_magnitude_bins": 1}, "num_magnitude_bins"),
        ("augmix", {"severity": 11}, "augmix.severity"),
        ("augmix", {"mixture_width": 0}, "augmix.mixture_width"),
        ("augmix", {"chain_depth": 0}, "augmix.chain_depth"),
        ("augmix", {"alpha": 0.0}, "augmix.alpha"),
    ],
)
def test_options_out_of_range_are_named(name, options, word):
    with pytest.raises(ValueError, match=word):
        AUGMENTATIONS[name](**options)


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"none", "genmix"}))
def test_training_takes_as_many_steps(tmp_path, name):
    flags = arguments(make_dataset(tmp_path / "tiny"), tmp_path / "runs", f"--augment.name={name}")
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "runs")
    last = run.metrics("train")[-1]
    assert (last["step"], last["images"]) == (6, 48)
    assert last["augmented"] == (48 if AUGMENTATIONS[name]().every_image else 0)
    assert run.config["augment"]["copies"] == 0


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_has_a_name_and_a_title_of_its_own(name):
    augmentation = AUGMENTATIONS[name]
    assert augmentation.name == name
    assert [other.title for other in AUGMENTATIONS.values()].count(augmentation.title) == 1


@pytest.mark.slow
def test_the_sheet_shows_all_of_them(tmp_path):
    pictures = make_dataset(tmp_path / "tiny").parent / "pictures" / "Plain"
    command = [sys.executable, "scripts/augmentation_sheet.py", str(pictures), "--px", "32"]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "sheet.png")],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"6 pictures, {len(AUGMENTATIONS) - 2} augmentations" in done.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000
