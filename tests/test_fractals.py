"""Fractals: deterministic, colourful, filling the frame, self-similar by construction."""

import numpy as np
import pytest
import torch
from PIL import Image

from genmix_aug.fractals import chaos_game, draw_system, fractal, fractals, load_fractals


@pytest.fixture(scope="module")
def some():
    return fractals(12, 64, seed=5)


def test_deterministic_by_seed(some):
    assert some.shape == (12, 3, 64, 64)
    assert some.dtype == torch.uint8
    assert torch.equal(fractals(3, 64, seed=5), some[:3])
    assert not torch.equal(fractals(1, 64, seed=6)[0], some[0])
    assert torch.equal(fractal(8, 33), fractal(8, 33))


def test_no_two_alike(some):
    flat = some.flatten(1).float()
    apart = (flat[:, None] - flat[None]).abs().mean(dim=2)
    assert (apart + 1e6 * torch.eye(12)).min() > 15


def test_colourful_and_full(some):
    image = some.float()
    chroma = image.amax(dim=1) - image.amin(dim=1)
    assert (chroma.flatten(1).mean(dim=1) > 40).all()
    # Detail in most parts of the frame, so that every crop gets some.
    blocks = image.mean(dim=1).unfold(1, 16, 16).unfold(2, 16, 16).flatten(3).std(dim=3)
    assert ((blocks > 4).float().mean(dim=(1, 2)) > 0.5).all()


def test_all_maps_contract():
    for seed in range(40):
        system = draw_system(np.random.default_rng(seed))
        norms = np.linalg.norm(system.matrix, ord=2, axis=(1, 2))
        assert (norms < 0.95).all()
        assert system.chance.sum() == pytest.approx(1)
        assert (system.chance > 0).all()


def test_the_attractor_is_the_union_of_its_images():
    """Points mapped by any of the maps fall where the chaos game puts points (Hutchinson)."""
    rng = np.random.default_rng(0)
    system = draw_system(np.random.default_rng(3))
    points, paint = chaos_game(system, 60_000, rng)
    assert points.shape == (60_000, 2)
    assert paint.shape == (60_000, 3)
    low, high = points.min(axis=0), points.max(axis=0)

    def cells(where):
        index = np.clip((where - low) / (high - low) * 24, 0, 23.999).astype(int)
        return set(map(tuple, index))

    mapped = set()
    for matrix, shift in zip(system.matrix, system.shift, strict=True):
        mapped |= cells(points @ matrix.T + shift)
    attractor = cells(points)
    assert len(mapped ^ attractor) <= 0.05 * len(attractor)


@pytest.mark.parametrize("size", [1, 2, 17])
def test_any_size(size):
    assert fractal(0, size).shape == (3, size, size)


def test_senseless_requests_are_refused(tmp_path):
    for call in (lambda: fractal(0, 0), lambda: fractals(0, 8), lambda: load_fractals(tmp_path, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            call()


def test_a_folder_of_fractals(tmp_path, some):
    with pytest.raises(ValueError, match="has no images"):
        load_fractals(tmp_path, 32)
    pixels = some[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[:40]).save(tmp_path / "b.png")
    assert torch.equal(load_fractals(tmp_path, 64)[0], some[0])
    assert load_fractals(tmp_path, 32).shape == (2, 3, 32, 32)
