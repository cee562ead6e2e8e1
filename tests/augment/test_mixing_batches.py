"""Augmentations that mix a batch by masks, against naive renderings of their formulas."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uda.augment import AUGMENTATIONS
from uda.augment.fmix import largest, low_frequencies
from uda.augment.gridmix import cell_mask
from uda.augment.guided_sr import guiding_saliency, one_cycle
from uda.augment.masks import mix_by_mask
from uda.augment.saliency import spectral_residual
from uda.augment.smoothmix import gaussian_spot

NAMES = ["resizemix", "fmix", "smoothmix", "gridmix", "saliencymix", "guided_sr"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_plain_pictures_give_finite_numbers(name, level):
    images = torch.full((4, 3, 9, 9), level)
    for seed in range(5):
        mixed, mixed_targets = AUGMENTATIONS[name]().batch(images, torch.eye(4), seed)
        torch.testing.assert_close(mixed, images)
        assert torch.isfinite(mixed_targets).all()
        torch.testing.assert_close(mixed_targets.sum(1), torch.ones(4))


def test_a_mask_mixes_pixels_and_targets(images, targets):
    generator = torch.Generator().manual_seed(1)
    mask, partners = torch.rand((5, 23, 18), generator=generator), torch.tensor([3, 0, 4, 1, 2])
    mixed, mixed_targets = mix_by_mask(images, targets, partners, mask)
    for k in range(5):
        other = int(partners[k])
        expected = mask[k] * images[k] + (1 - mask[k]) * images[other]
        torch.testing.assert_close(mixed[k], expected)
        share = float(mask[k].sum()) / (23 * 18)
        torch.testing.assert_close(
            mixed_targets[k], share * targets[k] + (1 - share) * targets[other]
        )


# ResizeMix


@pytest.mark.parametrize("seed", range(20))
def test_resizemix_pastes_a_small_copy(images, targets, seed):
    mixed, mixed_targets = AUGMENTATIONS["resizemix"]().batch(images, targets, seed)
    changed = (mixed != images).any(1).any(0)
    rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    size = (int(bottom - top), int(right - left))
    scale = np.random.default_rng(seed).uniform(0.1, 0.8)
    assert size == (round(scale * 23), round(scale * 18))
    for k in range(5):
        small = F.interpolate(images[k - 1][None], size, mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(mixed[k, :, top:bottom, left:right], small)
        share = 1 - size[0] * size[1] / (23 * 18)
        torch.testing.assert_close(
            mixed_targets[k], share * targets[k] + (1 - share) * targets[k - 1]
        )


def test_resizemix_of_the_whole_size_is_the_partner(images, targets):
    mixed, mixed_targets = AUGMENTATIONS["resizemix"](smallest=1.0, largest=1.0).batch(
        images, targets, 0
    )
    torch.testing.assert_close(mixed, images.roll(1, 0))
    torch.testing.assert_close(mixed_targets, targets.roll(1, 0))


# FMix


@pytest.mark.parametrize("seed", range(8))
def test_fmix_keeps_a_drawn_share_of_each_image(images, targets, seed):
    mixed, mixed_targets = AUGMENTATIONS["fmix"]().batch(images, targets, seed)
    kept = (mixed == images).all(1)
    assert (kept | (mixed == images.roll(1, 0)).all(1)).all()
    assert (kept == kept[:1]).all(), "the whole batch has the same mask"
    share = np.random.default_rng(seed).beta(1, 1)
    assert int(kept[0].sum()) == round(share * 23 * 18)
    exact = float(kept[0].float().mean())
    torch.testing.assert_close(mixed_targets, exact * targets + (1 - exact) * targets.roll(1, 0))


@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 5), (1, 4), (4, 1)])
def test_low_frequencies_are_a_sum_of_waves(height, width):
    """By the definition of the inverse transform, over all frequencies."""
    picture = low_frequencies(height, width, 3.0, np.random.default_rng(5))
    half = width // 2 + 1
    noise = np.random.default_rng(5).standard_normal((2, height, half))
    expected = np.zeros((height, width))
    for u in range(height):
        for v in range(half):
            frequency = math.hypot(min(u, height - u) / height, min(v, width - v) / width)
            frequency = max(frequency, 1 / max(height, width))
            term = complex(*noise[:, u, v]) / frequency**3
            # Columns that equal their conjugate count once, by their Hermitian part.
            weight = 1 if v == 0 or 2 * v == width else 2
            for y in range(height):
                for x in range(width):
                    angle = 2 * math.pi * (u * y / height + v * x / width)
                    wave = term * complex(math.cos(angle), math.sin(angle))
                    expected[y, x] += weight * wave.real / (height * width)
    np.testing.assert_allclose(picture, expected, atol=1e-9 * np.abs(expected).max())


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


# SmoothMix


@pytest.mark.parametrize("case", range(4))
def test_smoothmix_has_the_spot_of_other_code(case):
    with np.load(Path(__file__).parents[1] / "golden" / "smoothmix.npz") as file:
        golden = {name: file[f"c{case}_{name}"] for name in ("size", "sigma", "mask")}
        shift = [int(file[f"c{case}_shift_{axis}"]) for axis in "hw"]
        share = float(file[f"c{case}_partner_share"])
    size = int(golden["size"])
    centre = (size / 2 + shift[0], size / 2 + shift[1])
    spot = gaussian_spot(size, size, centre, float(golden["sigma"]))
    np.testing.assert_allclose(spot.numpy(), golden["mask"], atol=1e-6)
    assert float(spot.mean()) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_smoothmix_is_the_formula(images, targets, seed):
    mixed, mixed_targets = AUGMENTATIONS["smoothmix"]().batch(images, targets, seed)
    rng = np.random.default_rng(seed)
    rng.random()
    down, across = rng.uniform(0, 23), rng.uniform(0, 18)
    sigma = rng.uniform(0.25, 0.5) * 18
    spot = torch.zeros(23, 18)
    for y, x in np.ndindex(23, 18):
        squared = (y + 0.5 - down) ** 2 + (x + 0.5 - across) ** 2
        spot[y, x] = math.exp(-squared / (2 * sigma**2))
    torch.testing.assert_close(mixed, (1 - spot) * images + spot * images.roll(1, 0))
    share = 1 - float(spot.mean())
    torch.testing.assert_close(mixed_targets, share * targets + (1 - share) * targets.roll(1, 0))


def test_smoothmix_mixes_a_share_of_the_batches(images, targets):
    augmentation = AUGMENTATIONS["smoothmix"](probability=0.3)
    mixed = [augmentation.batch(images, targets, seed)[0] is not images for seed in range(200)]
    assert sum(mixed) == pytest.approx(60, abs=20)


# GridMix


@pytest.mark.parametrize("seed", range(8))
def test_gridmix_changes_whole_cells(images, targets, seed):
    mixed, mixed_targets = AUGMENTATIONS["gridmix"](cells=3).batch(images, targets, seed)
    stays = (mixed == images).all(1).all(0)
    assert (stays | (mixed == images.roll(1, 0)).all(1).all(0)).all()
    rng = np.random.default_rng(seed)
    share = rng.beta(1, 1)
    cells = rng.random((3, 3)) < share
    area = 0
    for row, (top, bottom) in enumerate([(0, 8), (8, 16), (16, 23)]):
        for column, (left, right) in enumerate([(0, 6), (6, 12), (12, 18)]):
            assert (stays[top:bottom, left:right] == bool(cells[row, column])).all()
            area += (bottom - top) * (right - left) * bool(cells[row, column])
    exact = area / (23 * 18)
    torch.testing.assert_close(mixed_targets, exact * targets + (1 - exact) * targets.roll(1, 0))


def test_cells_cover_pictures_that_have_fewer_pixels():
    cells = torch.arange(16).view(4, 4)
    assert cell_mask(cells, 2, 3).tolist() == [[0, 1, 2], [8, 9, 10]]
    assert torch.equal(cell_mask(cells, 8, 4)[::2], cells)


# Saliency


def naive_spectral_residual(picture):
    """Return the saliency of an image [3, H, W] up to 128 px, with NumPy and loops."""
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
    saliency = spectral_residual(images)
    for k in range(5):
        expected = naive_spectral_residual(images[k])
        np.testing.assert_allclose(saliency[k].numpy(), expected, rtol=2e-3, atol=1e-6)


def test_a_dark_spot_is_salient():
    image = torch.full((1, 3, 200, 150), 0.9)
    image[:, :, 120:140, 40:55] = 0.1
    saliency = spectral_residual(image)
    assert saliency.shape == (1, 200, 150)
    row, column = divmod(int(saliency.argmax()), 150)
    assert 112 <= row <= 148
    assert 32 <= column <= 63
    assert (saliency > 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_saliencymix_cuts_around_the_partners_peak(images, targets, seed):
    mixed, mixed_targets = AUGMENTATIONS["saliencymix"]().batch(images, targets, seed)
    share = np.random.default_rng(seed).beta(1, 1)
    tall, wide = int(math.sqrt(1 - share) * 23), int(math.sqrt(1 - share) * 18)
    saliency = spectral_residual(images)
    for k in range(5):
        row, column = divmod(int(saliency[k - 1].argmax()), 18)
        top, bottom = max(row - tall // 2, 0), min(row + tall // 2, 23)
        left, right = max(column - wide // 2, 0), min(column + wide // 2, 18)
        expected = images[k].clone()
        expected[:, top:bottom, left:right] = images[k - 1][:, top:bottom, left:right]
        assert torch.equal(mixed[k], expected)
        share = 1 - (bottom - top) * (right - left) / (23 * 18)
        torch.testing.assert_close(
            mixed_targets[k], share * targets[k] + (1 - share) * targets[k - 1]
        )


# Guided-SR


def test_guided_sr_is_the_formula(images, targets):
    augmentation = AUGMENTATIONS["guided_sr"](probability=1.0)
    mixed, mixed_targets = augmentation.batch(images, targets, 0)
    saliency = list(guiding_saliency(images))
    distances = [[float((a - b).square().sum().sqrt()) for b in saliency] for a in saliency]
    partners = naive_cycle(distances)
    for k, other in partners.items():
        mask = saliency[k] / (saliency[k] + saliency[other])
        torch.testing.assert_close(mixed[k], mask * images[k] + (1 - mask) * images[other])
        share = float(mask.mean())
        torch.testing.assert_close(
            mixed_targets[k], share * targets[k] + (1 - share) * targets[other]
        )


def test_guided_sr_mixes_a_share_of_the_batches(images, targets):
    augmentation = AUGMENTATIONS["guided_sr"](probability=0.3)
    mixed = [augmentation.batch(images, targets, seed)[0] is not images for seed in range(200)]
    assert sum(mixed) == pytest.approx(60, abs=20)
    never = AUGMENTATIONS["guided_sr"](probability=0.0)
    assert all(never.batch(images, targets, seed)[1] is targets for seed in range(20))


def test_guided_sr_is_the_released_code():
    with np.load(Path(__file__).parents[1] / "golden" / "guided_sr.npz") as file:
        golden = dict(file)
    images = torch.from_numpy(golden["image_uint8"]).float() / 255
    once = spectral_residual(images, padding="replicate", power_floor=1e-10, square=True)
    once = once / once.sum(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(once.numpy(), golden["sr_once"], atol=1e-7)
    saliency = guiding_saliency(images)
    np.testing.assert_allclose(saliency.numpy(), golden["sr_twice"], atol=1e-7)
    mixed, shares = AUGMENTATIONS["guided_sr"](probability=1.0).batch(images, torch.eye(5), 0)
    mask = torch.from_numpy(golden["mask"].astype(np.float32))[:, None]
    partners = golden["partner"]
    torch.testing.assert_close(mixed, torch.lerp(images[partners], images, mask), atol=5e-4, rtol=0)
    assert shares.fill_diagonal_(0).argmax(1).tolist() == partners.tolist()
    np.testing.assert_allclose(1 - shares.sum(1).numpy(), golden["share"], atol=1e-6)


def test_large_pictures_are_looked_at_as_squares(images):
    tall = F.interpolate(images, (260, 130), mode="bilinear")
    square = F.interpolate(tall, (128, 128), mode="bilinear", antialias=True)
    expected = spectral_residual(square)[:, None]
    expected = F.interpolate(expected, (260, 130), mode="bilinear", antialias=True)[:, 0]
    torch.testing.assert_close(spectral_residual(tall, square=True), expected)
    assert not torch.allclose(spectral_residual(tall), expected)


def naive_cycle(distances):
    """Return each row's partner: from the farthest pair on, the farthest row not yet met."""
    count = len(distances)
    pairs = [(distances[a][b], -a, -b) for a in range(count) for b in range(count) if a != b]
    path = [-max(pairs)[1]]
    while len(path) < count:
        unmet = [other for other in range(count) if other not in path]
        path.append(max(unmet, key=lambda other: (distances[path[-1]][other], -other)))
    return dict(zip(path, [*path[1:], path[0]], strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 8, 17])
def test_a_cycle_is_greedy_and_meets_every_image(count):
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
