"""Augmentations that mix images of a batch, ours: against naive renderings of their formulas."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uda.augment import AUGMENTATIONS
from uda.augment.fmix import largest, low_frequencies
from uda.augment.guidedmixup import one_cycle
from uda.augment.masks import mix_by_mask
from uda.augment.saliency import spectral_residual

NAMES = ["resizemix", "fmix", "saliencymix", "guidedmixup"]
TARGETS = torch.eye(5)[:, :4] * 0.9 + 0.025  # soft; the fifth has no class of its own


@pytest.fixture
def images():
    """Odd sizes; a bright spot at another place in each."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand((5, 3, 23, 18), generator=generator) * 0.2
    for number, (row, column) in enumerate([(4, 4), (17, 12), (5, 14), (18, 3), (11, 9)]):
        pictures[number, :, row - 2 : row + 3, column - 2 : column + 3] += 0.7
    return pictures


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_mixing_batches(images, name, channels_last):
    augmentation = AUGMENTATIONS[name]()
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    before, state, other = images.clone(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    mixed, targets = augmentation.batch(images, TARGETS, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == other
    assert torch.equal(images, before), "the batch it was given does not change"
    assert mixed.shape == images.shape
    assert (mixed.dtype, targets.dtype) == (torch.float32, torch.float32)
    assert mixed.is_contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    again = augmentation.batch(images, TARGETS, 1)
    assert torch.equal(again[0], mixed)
    assert torch.equal(again[1], targets)
    others = [augmentation.batch(images, TARGETS, seed)[0] for seed in range(5)]
    assert any(not torch.equal(other, mixed) for other in others)
    assert (augmentation.every_image, augmentation.copies) == (False, False)
    small = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert augmentation.images(small, [0, 1], [5, 6]) is small


@pytest.mark.parametrize("name", NAMES)
def test_one_image_is_its_own_partner(images, name):
    mixed, targets = AUGMENTATIONS[name]().batch(images[:1], TARGETS[:1], 1)
    torch.testing.assert_close(targets, TARGETS[:1])
    if name != "resizemix":  # which shows it in itself, smaller
        torch.testing.assert_close(mixed, images[:1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_plain_pictures_give_finite_numbers(name, level):
    images = torch.full((4, 3, 9, 9), level)
    for seed in range(5):
        mixed, targets = AUGMENTATIONS[name]().batch(images, torch.eye(4), seed)
        torch.testing.assert_close(mixed, images)
        assert torch.isfinite(targets).all()
        torch.testing.assert_close(targets.sum(1), torch.ones(4))


def test_a_mask_mixes_pixels_and_targets(images):
    generator = torch.Generator().manual_seed(1)
    mask, partners = torch.rand((5, 23, 18), generator=generator), torch.tensor([3, 0, 4, 1, 2])
    mixed, targets = mix_by_mask(images, TARGETS, partners, mask)
    for place in range(5):
        other = int(partners[place])
        expected = mask[place] * images[place] + (1 - mask[place]) * images[other]
        torch.testing.assert_close(mixed[place], expected)
        share = float(mask[place].sum()) / (23 * 18)
        torch.testing.assert_close(
            targets[place], share * TARGETS[place] + (1 - share) * TARGETS[other]
        )


# ResizeMix


@pytest.mark.parametrize("seed", range(20))
def test_resizemix_pastes_a_small_copy(images, seed):
    mixed, targets = AUGMENTATIONS["resizemix"]().batch(images, TARGETS, seed)
    changed = (mixed != images).any(1).any(0)
    rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    size = (int(bottom - top), int(right - left))
    scale = np.random.default_rng(seed).uniform(0.1, 0.8)
    assert size == (round(scale * 23), round(scale * 18))
    for place in range(5):
        small = F.interpolate(images[place - 1][None], size, mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(mixed[place, :, top:bottom, left:right], small)
        share = 1 - size[0] * size[1] / (23 * 18)
        torch.testing.assert_close(
            targets[place], share * TARGETS[place] + (1 - share) * TARGETS[place - 1]
        )


def test_resizemix_of_the_whole_size_is_the_partner(images):
    mixed, targets = AUGMENTATIONS["resizemix"](smallest=1.0, largest=1.0).batch(images, TARGETS, 0)
    torch.testing.assert_close(mixed, images.roll(1, 0))
    torch.testing.assert_close(targets, TARGETS.roll(1, 0))


# FMix


@pytest.mark.parametrize("seed", range(8))
def test_fmix_shows_a_share_of_each(images, seed):
    mixed, targets = AUGMENTATIONS["fmix"]().batch(images, TARGETS, seed)
    own = (mixed == images).all(1)
    assert (own | (mixed == images.roll(1, 0)).all(1)).all()
    assert (own == own[:1]).all(), "one mask for the whole batch"
    share = np.random.default_rng(seed).beta(1, 1)
    assert int(own[0].sum()) == round(share * 23 * 18)
    exact = float(own[0].float().mean())
    torch.testing.assert_close(targets, exact * TARGETS + (1 - exact) * TARGETS.roll(1, 0))


@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 5), (1, 4), (4, 1)])
def test_low_frequencies_are_a_sum_of_waves(height, width):
    """The inverse transform as it is defined, over all frequencies."""
    found = low_frequencies(height, width, 3.0, np.random.default_rng(5))
    half = width // 2 + 1
    noise = np.random.default_rng(5).standard_normal((2, height, half))
    expected = np.zeros((height, width))
    for u in range(height):
        for v in range(half):
            frequency = math.hypot(min(u, height - u) / height, min(v, width - v) / width)
            frequency = max(frequency, 1 / max(height, width))
            term = complex(*noise[:, u, v]) / frequency**3
            # Columns that are their own conjugate count once, and of them the Hermitian part.
            weight = 1 if v == 0 or 2 * v == width else 2
            for y in range(height):
                for x in range(width):
                    angle = 2 * math.pi * (u * y / height + v * x / width)
                    wave = term * complex(math.cos(angle), math.sin(angle))
                    expected[y, x] += weight * wave.real / (height * width)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


def test_low_frequencies_are_smooth_where_they_decay():
    def roughness(decay):
        picture = low_frequencies(64, 64, decay, np.random.default_rng(0))
        return np.abs(np.diff(picture)).mean() / picture.std()

    assert roughness(3.0) < 0.2 * roughness(0.0)


def test_largest_takes_the_share():
    picture = np.array([[3.0, 1.0, 2.0], [5.0, 4.0, 0.0]])
    assert largest(picture, 0.5).tolist() == [[1, 0, 0], [1, 1, 0]]
    assert largest(picture, 0.0).sum() == 0
    assert largest(picture, 1.0).sum() == 6


# Saliency


def naive_spectral_residual(picture):
    """Of one picture [3, H, W] up to 128 px, with NumPy and loops."""
    weights = np.array([0.2989, 0.587, 0.114])  # ITU-R 601, as torchvision's
    grey = np.tensordot(weights, picture.double().numpy(), 1)
    spectrum = np.fft.fft2(grey)
    amplitude, phase = np.abs(spectrum) + 1e-8, np.angle(spectrum)
    log = np.log(amplitude)
    mean = sum(np.roll(log, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
    response = np.abs(np.fft.ifft2(np.exp(log - mean + 1j * phase)))
    padded = np.pad(response, 3, mode="reflect")
    gauss = np.array([math.exp(-(d**2) / 18) for d in range(-3, 4)])
    kernel = np.outer(gauss, gauss) / gauss.sum() ** 2
    out = np.zeros_like(grey)
    for y, x in np.ndindex(out.shape):
        out[y, x] = (kernel * padded[y : y + 7, x : x + 7]).sum()
    return out


def test_spectral_residual_is_the_formula(images):
    found = spectral_residual(images)
    for place in range(5):
        expected = naive_spectral_residual(images[place])
        np.testing.assert_allclose(found[place].numpy(), expected, rtol=2e-3, atol=1e-6)


def test_what_stands_out_is_salient():
    image = torch.full((1, 3, 200, 150), 0.9)
    image[:, :, 120:140, 40:55] = 0.1
    saliency = spectral_residual(image)
    assert saliency.shape == (1, 200, 150)
    row, column = divmod(int(saliency.argmax()), 150)
    assert 112 <= row <= 148
    assert 32 <= column <= 63
    assert (saliency > 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_saliencymix_cuts_around_the_partners_peak(images, seed):
    mixed, targets = AUGMENTATIONS["saliencymix"]().batch(images, TARGETS, seed)
    share = np.random.default_rng(seed).beta(1, 1)
    tall, wide = int(math.sqrt(1 - share) * 23), int(math.sqrt(1 - share) * 18)
    saliency = spectral_residual(images)
    for place in range(5):
        row, column = divmod(int(saliency[place - 1].argmax()), 18)
        top, bottom = max(row - tall // 2, 0), min(row + tall // 2, 23)
        left, right = max(column - wide // 2, 0), min(column + wide // 2, 18)
        expected = images[place].clone()
        expected[:, top:bottom, left:right] = images[place - 1][:, top:bottom, left:right]
        assert torch.equal(mixed[place], expected)
        own = 1 - (bottom - top) * (right - left) / (23 * 18)
        torch.testing.assert_close(
            targets[place], own * TARGETS[place] + (1 - own) * TARGETS[place - 1]
        )


# GuidedMixup


def test_guidedmixup_is_the_formula(images):
    augmentation = AUGMENTATIONS["guidedmixup"](probability=1.0)
    mixed, targets = augmentation.batch(images, TARGETS, 0)
    saliency = [one / one.sum() for one in spectral_residual(images)]
    distances = [[float((a - b).square().sum().sqrt()) for b in saliency] for a in saliency]
    partners = naive_cycle(distances)
    for place, other in partners.items():
        mask = saliency[place] / (saliency[place] + saliency[other])
        torch.testing.assert_close(mixed[place], mask * images[place] + (1 - mask) * images[other])
        own = float(mask.mean())
        torch.testing.assert_close(
            targets[place], own * TARGETS[place] + (1 - own) * TARGETS[other]
        )


def test_guidedmixup_mixes_a_share_of_the_batches(images):
    augmentation = AUGMENTATIONS["guidedmixup"](probability=0.3)
    mixed = [augmentation.batch(images, TARGETS, seed)[0] is not images for seed in range(200)]
    assert sum(mixed) == pytest.approx(60, abs=20)
    never = AUGMENTATIONS["guidedmixup"](probability=0.0)
    assert all(never.batch(images, TARGETS, seed)[1] is TARGETS for seed in range(20))


def naive_cycle(distances):
    count = len(distances)
    pairs = [(distances[a][b], -a, -b) for a in range(count) for b in range(count) if a != b]
    path = [-max(pairs)[1]]
    while len(path) < count:
        unmet = [other for other in range(count) if other not in path]
        path.append(max(unmet, key=lambda other: (distances[path[-1]][other], -other)))
    return dict(zip(path, [*path[1:], path[0]], strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 8, 17])
def test_one_cycle_is_greedy_and_a_cycle(count):
    points = np.random.default_rng(count).random((count, 4))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    partners = one_cycle(distances)
    if count > 1:
        assert dict(enumerate(partners.tolist())) == naive_cycle(distances.tolist())
    met, row = set(), 0
    for _ in range(count):
        met.add(row)
        row = int(partners[row])
    assert met == set(range(count))
    assert row == 0


def test_identical_images_still_make_a_cycle():
    assert sorted(one_cycle(np.zeros((4, 4)))) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("fmix", {"alpha": -1.0}, "fmix.alpha"),
        ("fmix", {"decay": -0.5}, "fmix.decay"),
        ("guidedmixup", {"probability": 1.5}, "guidedmixup.probability"),
        ("saliencymix", {"alpha": 0.0}, "saliencymix.alpha"),
        ("resizemix", {"smallest": 0.0}, "resizemix: smallest 0.0"),
        ("resizemix", {"smallest": 0.9}, "resizemix: smallest 0.9 and largest 0.8"),
        ("resizemix", {"largest": 1.1}, "resizemix: .* largest 1.1"),
    ],
)
def test_options_out_of_range_are_named(name, options, word):
    with pytest.raises(ValueError, match=word):
        AUGMENTATIONS[name](**options)
