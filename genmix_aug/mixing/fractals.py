"""Colourful self-similar fractals by iterated function systems, deterministic by seed."""

from __future__ import annotations

import colorsys
import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from genmix_aug.seeding import hash_seed

POINTS_PER_PIXEL = 9
# Share of the cells of a coarse grid that the attractor must reach: less leaves the picture
# nearly empty, more is noise without a form.
MIN_COVERAGE, MAX_COVERAGE = 0.5, 0.9
MAX_DRAWS = 50


class System(NamedTuple):
    """k affine maps x -> A x + b with A [k, 2, 2], b [k, 2], chance [k] and colour [k, 3]."""

    matrix: np.ndarray
    shift: np.ndarray
    chance: np.ndarray
    colour: np.ndarray


def draw_system(rng: np.random.Generator) -> System:
    """Draw a random system of contracting maps, each with a vivid colour.

    Each matrix is rotation * diag(s1, s2) * rotation with singular values s1 >= s2 in
    (0, 0.95), so the attractor exists and is bounded (Hutchinson 1981). Some systems get
    a rotational symmetry: the same maps turned by equal angles.
    """
    maps, symmetry = int(rng.integers(2, 5)), int(rng.choice([1, 1, 1, 2, 3, 4, 5]))
    maps = max(1, maps - symmetry // 2)
    # The areas of all maps add up to less than that of the whole: copies overlap, yet leave
    # gaps on every scale.
    target = rng.uniform(0.7, 1.1) / (maps * symmetry)
    squeeze = rng.uniform(0.4, 1.0, maps)
    large = np.clip(np.sqrt(target / squeeze), 0.25, 0.92)
    small = large * squeeze * rng.choice([-1, 1], maps)
    turns = rng.uniform(-math.pi, math.pi, (2, maps))
    matrix = np.stack(
        [
            _turn(turns[0, k]) @ np.diag([large[k], small[k]]) @ _turn(turns[1, k])
            for k in range(maps)
        ]
    )
    shift = rng.uniform(-1, 1, (maps, 2))
    chance = np.abs(np.linalg.det(matrix)) + 0.02
    if symmetry > 1:
        spins = [_turn(2 * math.pi * k / symmetry) for k in range(symmetry)]
        matrix = np.concatenate([spin @ matrix for spin in spins])
        shift = np.concatenate([shift @ spin.T for spin in spins])
        chance = np.tile(chance, symmetry)
    colour = _vivid_colours(len(chance), rng)
    return System(matrix, shift, chance / chance.sum(), colour)


def _turn(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _vivid_colours(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return colours float [count, 3] in 0-1, hues spread over the circle."""
    start, spread = rng.uniform(0, 1), rng.uniform(0.35, 1.0)
    hues = (start + spread * np.arange(count) / count) % 1
    colours = [colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1), rng.uniform(0.75, 1)) for hue in hues]
    return np.array(colours)


def chaos_game(
    system: System, points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return points [points, 2] on the attractor, and the colours [points, 3] of their ways.

    Many walkers step at once; each step moves each of them by a randomly chosen map. A
    point's colour is the running mean of the colours of the maps that led to it, so parts that
    are copies of each other under a map share its tint.
    """
    walkers = max(256, points // 32)
    settle = 24
    position = rng.uniform(-1, 1, (walkers, 2)).astype(np.float32)
    paint = np.full((walkers, 3), 0.5, np.float32)
    steps = settle + math.ceil(points / walkers)
    choices = rng.choice(len(system.chance), size=(steps, walkers), p=system.chance)
    matrix, shift, colour = (part.astype(np.float32) for part in (system[0], system[1], system[3]))
    positions, paints = [], []
    for step, choice in enumerate(choices):
        position = np.einsum("nij,nj->ni", matrix[choice], position) + shift[choice]
        paint = paint * 0.45 + colour[choice] * 0.55
        if step >= settle:
            positions.append(position)
            paints.append(paint)
    return np.concatenate(positions)[:points], np.concatenate(paints)[:points]


def _pixels(position: np.ndarray, size: int) -> np.ndarray:
    """Return column and row of each point, int [N, 2]; the middle 94 % of them fill the frame."""
    low, high = np.quantile(position[::4], [0.03, 0.97], axis=0)
    scale = np.maximum(high - low, 1e-6)
    return np.floor((position - low) / scale * size).astype(np.int64)


def _coverage(pixels: np.ndarray, size: int) -> float:
    """Return the share of a coarse grid's cells that hold a point."""
    cells = min(32, size)
    coarse = pixels[np.all((pixels >= 0) & (pixels < size), axis=1)] * cells // size
    return float(np.unique(coarse[:, 1] * cells + coarse[:, 0]).size) / cells**2


def _render(
    pixels: np.ndarray, paint: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Render by log-density over a dim, blurred, hue-shifted copy of itself: uint8 [S, S, 3]."""
    inside = np.all((pixels >= 0) & (pixels < size), axis=1)
    index = pixels[inside, 1] * size + pixels[inside, 0]
    hits = np.bincount(index, minlength=size * size).astype(np.float32)
    sums = [np.bincount(index, paint[inside, c], size * size) for c in range(3)]
    colour = np.stack(sums, axis=-1).astype(np.float32) / np.maximum(hits, 1)[:, None]
    top = max(float(np.quantile(hits, 0.995)), 1.0)
    density = np.clip(np.log1p(hits) / math.log1p(top), 0, 1)

    colour = colour.reshape(size, size, 3)
    density = density.reshape(size, size, 1)
    glow = cv2.GaussianBlur(colour * density, (0, 0), max(1.0, size / 20))
    ground = _vivid_colours(2, rng).astype(np.float32)
    slope = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    backdrop = (ground[0] * (1 - slope) + ground[1] * slope) * 0.6 + 1.1 * glow
    light = colour * (0.35 + 0.85 * density) + 0.25 * density**4
    cover = np.clip(density * 2.2, 0, 1)
    picture = backdrop * (1 - cover) + light * cover
    # Averaging colours along the way dulls them: push away from grey.
    grey = picture.mean(axis=-1, keepdims=True)
    return (np.clip(grey + 1.5 * (picture - grey), 0, 1) * 255 + 0.5).astype(np.uint8)


def _sound_system(seed: int) -> tuple[System, np.random.Generator]:
    """Return the seed's first system that covers enough of the frame, or the best of many."""
    drawn = []
    for attempt in range(MAX_DRAWS):
        rng = np.random.default_rng(hash_seed("fractal", seed, attempt))
        system = draw_system(rng)
        probe, _ = chaos_game(system, 4096, np.random.default_rng(attempt))
        coverage = _coverage(_pixels(probe, 64), 64)
        if MIN_COVERAGE <= coverage <= MAX_COVERAGE:
            return system, rng
        drawn.append((-abs(coverage - MIN_COVERAGE), -attempt, system, rng))
    best = max(drawn, key=lambda entry: entry[:2])
    return best[2], best[3]


def draw_fractal(seed: int, size: int) -> Tensor:
    """Draw a fractal, uint8 [3, size, size], a function of `seed` and `size` alone.

    A system whose attractor covers too little of the frame is drawn again, in an order that
    the seed decides.

    Raises:
        ValueError: `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"a fractal's size must be at least 1 px, not {size}")
    system, rng = _sound_system(seed)
    points = max(4096, POINTS_PER_PIXEL * size * size)
    position, paint = chaos_game(system, points, rng)
    picture = _render(_pixels(position, size), paint, size, rng)
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()


def draw_fractals(count: int, size: int, seed: int = 0) -> Tensor:
    """Draw fractals uint8 [count, 3, size, size]; a larger `count` keeps the earlier ones.

    Raises:
        ValueError: `count` or `size` is less than 1.
    """
    check_count(count)
    return torch.stack([draw_fractal(hash_seed(seed, index), size) for index in range(count)])


def check_count(count: int) -> None:
    """Refuse a number of fractals below 1.

    Raises:
        ValueError: The number is smaller.
    """
    if count < 1:
        raise ValueError(f"the number of fractals must be at least 1, not {count}")
