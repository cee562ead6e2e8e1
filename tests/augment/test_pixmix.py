"""PixMix: its formulas, its operations against Pillow's, its draws."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from genmix_aug.mixing.fractal_folder import write_fractals
from genmix_aug.mixing.fractals import draw_fractals
from uda.augment import pixmix
from uda.augment.pixmix import OPERATIONS, PixMixAugmentation, add, multiply, operate, weights


@pytest.fixture
def images():
    """Smooth pictures, uint8 [6, 3, 24, 24], so that ways of interpolating hardly matter."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((6, 3, 4, 4), generator=generator) * 255
    fine = torch.nn.functional.interpolate(coarse, (24, 24), mode="bicubic", align_corners=True)
    return fine.clamp(0, 255).to(torch.uint8)


def prepared(images, **options):
    augmentation = PixMixAugmentation(num_fractals=3, **options)
    augmentation.prepare(images, ["a"] * len(images), None, seed=0)
    return augmentation


def test_each_image_depends_on_its_own_seed_alone(images):
    augmentation = prepared(images)
    before = images.clone()
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    seeds = [4, 9, 4, 2**62, 0, 7]
    together = augmentation.images(images, list(range(6)), seeds)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]
    assert torch.equal(images, before)
    assert together.dtype == torch.uint8
    assert together.shape == images.shape
    for place, seed in enumerate(seeds):
        alone = augmentation.images(images[place][None], [place], [seed])
        assert torch.equal(alone[0], together[place])
    assert not torch.equal(together, images)
    assert (augmentation.every_image, augmentation.copies) == (True, False)


@pytest.mark.parametrize("seed", range(12))
def test_the_whole_is_the_papers_algorithm(images, monkeypatch, seed):
    """With the negative for every operation, against a loop over values in NumPy."""
    monkeypatch.setattr(pixmix, "operate", lambda image, severity, rng: 255 - image)
    found = prepared(images, rounds=4, beta=3.0).images(images[:1], [0], [seed])[0]
    rng = np.random.default_rng(seed)
    fractal = draw_fractals(3, 24)[rng.integers(3)].numpy() / 255
    plain = images[0].numpy() / 255
    mixed = 1 - plain if rng.random() < 0.5 else plain
    for _ in range(rng.integers(5)):
        other = 1 - plain if rng.random() < 0.5 else fractal
        additive = rng.random() < 0.5
        if rng.random() < 0.5:
            a, b = rng.beta(3, 1), rng.beta(1, 3)
        else:
            a, b = 1 + rng.beta(1, 3), -rng.beta(1, 3)
        if additive:
            mixed = ((mixed * 2 - 1) * a + (other * 2 - 1) * b + 1) / 2
        else:
            mixed = (mixed * 2) ** a * np.maximum(other * 2, 1e-37) ** b / 2
        mixed = np.clip(mixed, 0, 1)
    # Powers in float32 round otherwise than in float64.
    assert np.abs(found.numpy() - mixed * 255).max() < 0.51


def test_no_rounds_leave_the_image_or_an_operation_on_it(images, monkeypatch):
    monkeypatch.setattr(pixmix, "operate", lambda image, severity, rng: 255 - image)
    augmentation = prepared(images, rounds=0)
    found = [augmentation.images(images[:1], [0], [seed])[0] for seed in range(20)]
    plain = sum(torch.equal(one, images[0]) for one in found)
    assert plain + sum(torch.equal(one, 255 - images[0]) for one in found) == 20
    assert 0 < plain < 20


def test_weights_are_those_of_the_paper():
    rng = np.random.default_rng(0)
    drawn = np.array([weights(3.0, rng) for _ in range(4000)])
    lower = drawn[drawn[:, 1] > 0]
    upper = drawn[drawn[:, 1] < 0]
    assert len(lower) == pytest.approx(2000, abs=120)
    assert lower.mean(axis=0) == pytest.approx([3 / 4, 1 / 4], abs=0.02)  # Beta(3, 1), Beta(1, 3)
    assert upper.mean(axis=0) == pytest.approx([1 + 1 / 4, -1 / 4], abs=0.02)
    assert lower.min() >= 0
    assert lower.max() <= 1


def test_black_and_white_stay_finite():
    black, white = torch.zeros(3, 2, 2), torch.ones(3, 2, 2)
    for one, other in [(black, black), (black, white), (white, black), (white, white)]:
        for a, b in [(0.5, 0.5), (1.5, -0.9)]:
            assert torch.isfinite(add(one, other, a, b)).all()
            assert not torch.isnan(multiply(one, other, a, b).clamp(0, 1)).any()
    assert torch.equal(multiply(white, white, 1.0, 0.0), white)


def moved(picture, *coefficients, resample=Image.Resampling.BILINEAR):
    return picture.transform(picture.size, Image.Transform.AFFINE, coefficients, resample)


NEAREST = Image.Resampling.NEAREST
# Level 0.6, sign −1. Pillow's coefficients say where a pixel comes from.
PILLOW = {
    "autocontrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "posterize": lambda picture: ImageOps.posterize(picture, 4 - 2),
    "rotate": lambda picture: picture.rotate(-18, Image.Resampling.BILINEAR),
    "solarize": lambda picture: ImageOps.solarize(picture, 256 - 153),
    "shear_x": lambda picture: moved(picture, 1, -0.18, 0, 0, 1, 0),
    "shear_y": lambda picture: moved(picture, 1, 0, 0, -0.18, 1, 0),
    "translate_x": lambda picture: moved(picture, 1, 0, 4, 0, 1, 0, resample=NEAREST),
    "translate_y": lambda picture: moved(picture, 1, 0, 0, 0, 1, 4, resample=NEAREST),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_pillows(images, name):
    found = OPERATIONS[name](images[0], 0.6, -1)
    assert found.dtype == torch.uint8
    assert found.shape == images[0].shape
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    expected = np.asarray(PILLOW[name](picture)).transpose(2, 0, 1).astype(int)
    difference = np.abs(found.numpy().astype(int) - expected)
    # At the border of what moved the two interpolate otherwise.
    assert np.quantile(difference, 0.9) <= 2
    assert np.abs(expected - images[0].numpy()).mean() > 5 * difference.mean()


def test_every_operation_is_drawn_and_keeps_size(images):
    rng = np.random.default_rng(0)
    odd = images[0, :, :7, :11]
    results = {tuple(operate(odd, 10, rng).flatten().tolist()) for _ in range(100)}
    assert len(results) > 30
    assert operate(odd, 1, rng).shape == odd.shape


def test_a_folder_of_fractals_is_known_by_what_is_in_it(images, tmp_path):
    pictures = tmp_path / "fractals"
    write_fractals(pictures, 2, 8)
    augmentation = PixMixAugmentation(fractals=str(pictures))
    before = augmentation.identity["fractals"]
    augmentation.prepare(images, ["a"] * 6, tmp_path, seed=0)
    assert augmentation.mixing_set.shape == (2, 3, 24, 24)
    write_fractals(pictures, 3, 8)
    assert augmentation.identity["fractals"] != before
    assert PixMixAugmentation().identity == {}
    with pytest.raises(ValueError, match="nowhere"):
        PixMixAugmentation(fractals=str(tmp_path / "nowhere")).prepare(images, ["a"], tmp_path, 0)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"rounds": -1}, "pixmix.rounds"),
        ({"beta": 0.0}, "pixmix.beta"),
        ({"severity": 11}, "pixmix.severity"),
        ({"num_fractals": 0}, "pixmix.num_fractals"),
    ],
)
def test_options_out_of_range_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        PixMixAugmentation(**options)
