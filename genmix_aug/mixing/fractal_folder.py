"""Fractals as files: written into a folder, and read from one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.codec import encode, is_whole
from genmix_aug.files import read_mark, sweep, write_whole
from genmix_aug.images import IMAGE_SUFFIXES, find_images, load_rgb
from genmix_aug.mixing.fractals import check_count, draw_fractal
from genmix_aug.seeding import hash_seed

VERSION = 1  # to be raised when the same seed comes to give another picture
MARK = "fractals.json"


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
    check_count(count)
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
    write_whole(path, encode(draw_fractal(seed, size), "png"))


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
