"""Colourful self-similar fractals by iterated function systems, deterministic by seed."""

from __future__ import annotations

import colorsys
import json
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.codec import encode, is_whole
from genmix_aug.files import read_mark, sweep, write_whole
from genmix_aug.images import IMAGE_SUFFIXES, find_images, load_rgb
from genmix_aug.seeding import hash_seed

VERSION = 1  # to be raised when the same seed comes to give another picture
MARK = "fractals.json"
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
    """A random system of contracting maps, each with a vivid colour.

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
    """float [count, 3] in 0-1, hues spread over the circle."""
    start, spread = rng.uniform(0, 1), rng.uniform(0.35, 1.0)
    hues = (start + spread * np.arange(count) / count) % 1
    colours = [colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1), rng.uniform(0.75, 1)) for hue in hues]
    return np.array(colours)


def chaos_game(
    system: System, points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points [points, 2] on the attractor and the colours [points, 3] of their way there.

    Many walkers step at once; each step moves all of them by one randomly chosen map each. A
    point's colour is the running mean of the colours of the maps that led to it, so parts that
    are copies of one another under a map share its tint.
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
    """Column and row of each point, int [N, 2]; the middle 94 % of the points fill the frame."""
    low, high = np.quantile(position[::4], [0.03, 0.97], axis=0)
    scale = np.maximum(high - low, 1e-6)
    return np.floor((position - low) / scale * size).astype(np.int64)


def _coverage(pixels: np.ndarray, size: int) -> float:
    """Share of the cells of a coarse grid that hold a point."""
    cells = min(32, size)
    coarse = pixels[np.all((pixels >= 0) & (pixels < size), axis=1)] * cells // size
    return float(np.unique(coarse[:, 1] * cells + coarse[:, 0]).size) / cells**2


def _render(
    pixels: np.ndarray, paint: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Log-density colouring over a dim, blurred, hue-shifted copy of itself: uint8 [S, S, 3]."""
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
    """The seed's first system that covers enough of the frame (the best of many otherwise)."""
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


def fractal(seed: int, size: int) -> Tensor:
    """One fractal image, uint8 [3, size, size], a function of `seed` and `size` alone.

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


def fractals(count: int, size: int, seed: int = 0) -> Tensor:
    """Fractals uint8 [count, 3, size, size]; a larger `count` keeps the earlier ones.

    Raises:
        ValueError: `count` or `size` is less than 1.
    """
    _check_count(count)
    return torch.stack([fractal(hash_seed(seed, index), size) for index in range(count)])


def write_fractals(
    folder: Path | str,
    count: int,
    size: int,
    seed: int = 0,
    workers: int = 1,
    progress: bool = False,
) -> int:
    """Writes the pictures of `fractals(count, size, seed)` as 0000.png, 0001.png, … to `folder`.

    May be stopped at any moment and run again: files that are there and whole stay. A larger
    `count` adds to the earlier ones, a smaller one takes none away. A file `fractals.json` beside
    them says of what size and seed they are, so that sets are never mixed.

    Args:
        folder: made where it does not exist.
        count: fractals wanted.
        size: px of a side.
        seed: of the set.
        workers: processes that draw; 1 draws in this one.
        progress: whether to show a progress bar.

    Returns:
        The number of fractals newly made.

    Raises:
        ValueError: `count`, `size` or `workers` is less than 1, `folder` holds other pictures or
            fractals of another size or seed, or a process died.
        OSError: the disk is full or not writable; what is there stays good.
    """
    _check_count(count)
    if size < 1:
        raise ValueError(f"a fractal's size must be at least 1 px, not {size}")
    if workers < 1:
        raise ValueError(f"the number of workers must be at least 1, not {workers}")
    folder = Path(folder)
    sweep(folder)
    _claim(folder, size, seed)
    paths = [folder / f"{index:04d}.png" for index in range(count)]
    tasks = [
        (path, hash_seed(seed, index), size)
        for index, path in enumerate(paths)
        if not (path.is_file() and is_whole(path.read_bytes()))
    ]
    made = tqdm(
        _write_all(tasks, min(workers, len(tasks))),
        "fractals",
        len(tasks),
        unit="image",
        disable=None if progress and tasks else True,
    )
    return sum(1 for _ in made)


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"the number of fractals must be at least 1, not {count}")


def _claim(folder: Path, size: int, seed: int) -> None:
    """Notes what set the folder is for, or refuses where it holds another one."""
    mark: dict[str, Any] = {"size": size, "seed": seed, "version": VERSION}
    path = folder / MARK
    if (found := read_mark(path)) is not None:
        if found != mark:
            held, wanted = (
                ", ".join(f"{key} {about.get(key)}" for key in mark) for about in (found, mark)
            )
            raise ValueError(f"{folder} holds fractals of {held}, not {wanted}: name another one")
        return
    if folder.is_dir() and any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder.iterdir()):
        raise ValueError(
            f"{folder} holds pictures that were not made as fractals (it has no {MARK}): name an "
            "empty or new folder"
        )
    write_whole(path, (json.dumps(mark) + "\n").encode())


def _write_all(tasks: list[tuple[Path, int, int]], workers: int) -> Iterator[None]:
    if workers <= 1:
        yield from map(_write_one, tasks)
        return
    # spawn: a fork of a process in which torch has started its threads may hang
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_start_worker) as pool:
        try:
            yield from pool.map(_write_one, tasks)
        except BrokenProcessPool:
            raise ValueError(
                "a process that draws fractals died (out of memory, or called from a script "
                "without `if __name__ == '__main__':`): try again with 1 worker"
            ) from None


def _write_one(task: tuple[Path, int, int]) -> None:
    path, seed, size = task
    write_whole(path, encode(fractal(seed, size), "png"))


def _start_worker() -> None:
    """One thread, no word at Ctrl-C, and an end with the parent's: it would wait for ever."""

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=wait, daemon=True).start()


def load_fractals(folder: Path | str, size: int, most: int = 1000) -> Tensor:
    """The images below `folder`, cut to squares and resized: uint8 [F, 3, size, size].

    Of more than `most` an even sample of so many is taken, as all are held in memory.

    Raises:
        ValueError: the folder is missing or has no image, an image cannot be read, or `size`
            or `most` is less than 1.
    """
    if size < 1 or most < 1:
        raise ValueError(f"size and number of fractals must be at least 1, not {size} and {most}")
    paths = find_images(folder)
    if len(paths) > most:
        paths = [paths[number * len(paths) // most] for number in range(most)]
    return torch.stack([_square(load_rgb(path), size) for path in paths])


def _square(image: Tensor, size: int) -> Tensor:
    side = min(image.shape[1:])
    top, left = ((length - side) // 2 for length in image.shape[1:])
    cut = image[:, top : top + side, left : left + side].permute(1, 2, 0).contiguous().numpy()
    shrink = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    resized = cv2.resize(cut, (size, size), interpolation=shrink)
    return torch.from_numpy(resized).permute(2, 0, 1).contiguous()
