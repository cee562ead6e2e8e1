"""IPMix: its ways of mixing against the released code's, its chains and patches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from uda.augment.ipmix import IPMixAugmentation, take_some
from uda.augment.pixmix import add, multiply
from uda.augment.pixmix_operations import IPMIX_ALL_OPERATIONS, IPMIX_OPERATIONS


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "ipmix.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def pair(golden):
    """The released code's picture and what it mixes in, [3, 16, 16] in [0, 1]."""
    pictures = golden["image_uint8"], golden["other_uint8"]
    return [torch.from_numpy(picture).permute(2, 0, 1).float() / 255 for picture in pictures]


def prepared(pictures, **options):
    augmentation = IPMixAugmentation(num_fractals=3, **options)
    augmentation.prepare(pictures, ["a"] * len(pictures), None, seed=0)
    return augmentation


@pytest.mark.parametrize("case", range(6))
def test_adding_and_multiplying_are_the_released_ones(golden, pair, case):
    a, b = float(golden[f"c{case}_a"]), float(golden[f"c{case}_b"])
    for join, name in ((add, "add"), (multiply, "multiply")):
        expected = torch.from_numpy(golden[f"c{case}_{name}"])
        torch.testing.assert_close(join(*pair, a, b), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["pixels", "elems"])
def test_taking_some_pixels_or_values_is_the_released_one(golden, pair, name):
    result = take_some(*pair, golden[f"{name}_mask"])
    torch.testing.assert_close(result, torch.from_numpy(golden[name]))


def test_operations_are_the_papers():
    names = {
        *("equalize", "posterize", "rotate", "solarize", "shear_x", "shear_y"),
        *("translate_x", "translate_y", "mirror", "invert"),
    }
    assert set(IPMIX_OPERATIONS) == names
    more = {"autocontrast", "color", "contrast", "brightness", "sharpness"}
    assert set(IPMIX_ALL_OPERATIONS) == names | more


@pytest.mark.parametrize("name", IPMIX_ALL_OPERATIONS)
def test_an_operation_keeps_type_and_size(pictures, name):
    odd = pictures[0, :, :7, :11]
    result = IPMIX_ALL_OPERATIONS[name](odd, 0.9, -1)
    assert (result.dtype, result.shape) == (odd.dtype, odd.shape)
    whole = pictures[0]
    assert not torch.equal(IPMIX_ALL_OPERATIONS[name](whole, 0.9, -1), whole)


def test_no_steps_leave_the_image(pictures):
    results = prepared(pictures, steps=0).images(pictures, range(6), range(6))
    assert torch.equal(results, pictures)


def test_a_patch_alone_changes(pictures):
    augmentation = prepared(pictures, patches="5,9,64")
    image, other = pictures[0].float() / 255, torch.full((3, 24, 24), 0.5)
    shapes = set()
    for seed in range(300):
        mixed = augmentation._mix_patch(image, other, np.random.default_rng(seed))
        assert mixed.min() >= 0
        assert mixed.max() <= 1
        changed = (mixed != image).any(0)
        rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
        if len(rows):
            shapes.add((int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1))
    assert {(5, 5), (9, 9)} <= shapes
    assert max(max(shape) for shape in shapes) == 9
    assert any(tall != wide for tall, wide in shapes)


def test_a_picture_smaller_than_every_patch_is_one_patch(pictures):
    augmentation = prepared(pictures, patches="32")
    for size in [(1, 1), (3, 2)]:
        image, other = torch.zeros((3, *size)), torch.ones((3, *size))
        for seed in range(20):
            mixed = augmentation._mix_patch(image, other, np.random.default_rng(seed))
            assert mixed.shape == image.shape


def test_an_image_is_the_weighted_mean_of_its_chains(pictures, monkeypatch):
    augmentation = prepared(pictures)
    ends = iter([torch.zeros(3, 24, 24), torch.full((3, 24, 24), 0.5), torch.ones(3, 24, 24)])
    monkeypatch.setattr(augmentation, "_chain", lambda image, fractal, rng: next(ends))
    result = augmentation.images(pictures[:1], [0], [7])[0]
    rng = np.random.default_rng(7)
    rng.integers(3)
    shares, mixture = rng.dirichlet([1.0] * 3), rng.beta(1, 1)
    expected = (1 - mixture) * pictures[0] + mixture * 255 * (shares[1] / 2 + shares[2])
    assert float((result - expected).abs().max()) <= 0.51


def test_patches_of_half_the_steps_are_mixed_with_the_image_itself(pictures, monkeypatch):
    augmentation = prepared(pictures, steps=1, mix_self=True)
    others = []
    monkeypatch.setattr(
        augmentation, "_mix_patch", lambda image, other, rng: others.append(other) or image
    )
    for seed in range(200):
        augmentation.images(pictures[:1], [0], [seed])
    from_fractals = sum(any(torch.equal(o, f) for f in augmentation.mixing_set) for o in others)
    assert from_fractals == pytest.approx(len(others) / 2, abs=len(others) / 6)
