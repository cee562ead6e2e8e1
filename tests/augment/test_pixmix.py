"""PixMix: its formulas, its operations against Pillow's, its draws."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from genmix_aug.mixing.fractal_folder import write_fractals
from genmix_aug.mixing.fractals import draw_fractals
from uda.augment import pixmix_operations
from uda.augment.pixmix import PixMixAugmentation, add, multiply, weights
from uda.augment.pixmix_operations import OPERATIONS, operate


def prepared(pictures, **options):
    augmentation = PixMixAugmentation(num_fractals=3, **options)
    augmentation.prepare(pictures, ["a"] * len(pictures), None, seed=0)
    return augmentation


@pytest.mark.parametrize("seed", range(12))
def test_pixmix_is_the_papers_algorithm(pictures, monkeypatch, seed):
    """With the negative for every operation, against the algorithm in NumPy."""
    monkeypatch.setattr(pixmix_operations, "operate", lambda image, severity, rng: 255 - image)
    result = prepared(pictures, rounds=4, beta=3.0).images(pictures[:1], [0], [seed])[0]
    rng = np.random.default_rng(seed)
    fractal = draw_fractals(3, 24)[rng.integers(3)].numpy() / 255
    plain = pictures[0].numpy() / 255
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
    assert np.abs(result.numpy() - mixed * 255).max() < 0.51


def test_no_rounds_leave_the_image_or_an_operation_on_it(pictures, monkeypatch):
    monkeypatch.setattr(pixmix_operations, "operate", lambda image, severity, rng: 255 - image)
    augmentation = prepared(pictures, rounds=0)
    results = [augmentation.images(pictures[:1], [0], [seed])[0] for seed in range(20)]
    plain = sum(torch.equal(result, pictures[0]) for result in results)
    assert plain + sum(torch.equal(result, 255 - pictures[0]) for result in results) == 20
    assert 0 < plain < 20


def test_weights_have_the_papers_distributions():
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
    for first, second in [(black, black), (black, white), (white, black), (white, white)]:
        for a, b in [(0.5, 0.5), (1.5, -0.9)]:
            assert torch.isfinite(add(first, second, a, b)).all()
            assert not torch.isnan(multiply(first, second, a, b).clamp(0, 1)).any()
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
def test_operations_are_pillows(pictures, name):
    result = OPERATIONS[name](pictures[0], 0.6, -1)
    assert result.dtype == torch.uint8
    assert result.shape == pictures[0].shape
    picture = Image.fromarray(pictures[0].permute(1, 2, 0).numpy())
    expected = np.asarray(PILLOW[name](picture)).transpose(2, 0, 1).astype(int)
    difference = np.abs(result.numpy().astype(int) - expected)
    # Pillow interpolates otherwise at the border of moved pixels.
    assert np.quantile(difference, 0.9) <= 2
    assert np.abs(expected - pictures[0].numpy()).mean() > 5 * difference.mean()


def test_every_operation_is_drawn_and_keeps_size(pictures):
    rng = np.random.default_rng(0)
    odd = pictures[0, :, :7, :11]
    results = {tuple(operate(odd, 10, rng).flatten().tolist()) for _ in range(100)}
    assert len(results) > 30
    assert operate(odd, 1, rng).shape == odd.shape


def test_a_folder_of_fractals_is_identified_by_its_files(pictures, tmp_path):
    folder = tmp_path / "fractals"
    write_fractals(folder, 2, 8)
    augmentation = PixMixAugmentation(fractals=str(folder))
    before = augmentation.identity["fractals"]
    augmentation.prepare(pictures, ["a"] * 6, tmp_path, seed=0)
    assert augmentation.mixing_set.shape == (2, 3, 24, 24)
    write_fractals(folder, 3, 8)
    assert augmentation.identity["fractals"] != before
    assert PixMixAugmentation().identity == {}
    with pytest.raises(ValueError, match="nowhere"):
        PixMixAugmentation(fractals=str(tmp_path / "nowhere")).prepare(pictures, ["a"], tmp_path, 0)
