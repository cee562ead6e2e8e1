"""Fractals as files: written into a folder, and read from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor

from genmix_aug.codec import encode, is_whole
from genmix_aug.files import read_bytes, read_mark, remove_abandoned, write_new, write_whole
from genmix_aug.images import IMAGE_SUFFIXES, find_images, load_rgb
from genmix_aug.mixing.fractals import check_count, draw_fractal
from genmix_aug.pools import process_map
from genmix_aug.progress import show_progress
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
    """Write the pictures of `draw_fractals(count, size, seed)` as 0000.png, 0001.png, ….

    May be stopped at any moment and run again: files that exist and are whole stay. A larger
    `count` adds to the earlier fractals, a smaller count takes none away. A file `fractals.json`
    beside them says of what size and seed they are, so that sets are never mixed.

    Args:
        folder: Made where it does not exist.
        count: Number of fractals.
        size: Side in px.
        seed: Of the set.
        workers: Processes that draw; 1 draws in this process.
        progress: Whether to show a progress bar.

    Returns:
        The number of new fractals.

    Raises:
        ValueError: `count`, `size` or `workers` is less than 1, or `folder` holds other pictures
            or fractals of another size or seed.
        OSError: The disk is full or not writable, or a process died; what is written stays good.
    """
    check_count(count)
    if size < 1:
        raise ValueError(f"a fractal's size must be at least 1 px, not {size}")
    if workers < 1:
        raise ValueError(f"the number of workers must be at least 1, not {workers}")
    folder = Path(folder)
    remove_abandoned(folder)
    _claim(folder, size, seed)
    paths = [folder / f"{index:04d}.png" for index in range(count)]
    tasks = [
        (path, hash_seed(seed, index), size)
        for index, path in enumerate(paths)
        if not (path.is_file() and is_whole(read_bytes(path)))
    ]
    made = show_progress(
        _write_all(tasks, min(workers, len(tasks))),
        desc="fractals",
        total=len(tasks),
        unit="image",
        shown=progress and bool(tasks),
    )
    return sum(1 for _ in made)


def _claim(folder: Path, size: int, seed: int) -> None:
    """Note what set the folder is for, or refuse where it holds another set."""
    mark: dict[str, Any] = {"size": size, "seed": seed, "version": VERSION}
    path = folder / MARK
    if (written := read_mark(path)) is not None:
        _check_same(folder, written, mark)
        return
    if folder.is_dir() and any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder.iterdir()):
        raise ValueError(
            f"{folder} holds pictures that were not made as fractals (it has no {MARK}): name an "
            "empty or new folder"
        )
    # Another command may begin another set here at this moment: the first one's mark counts.
    if not write_new(path, (json.dumps(mark) + "\n").encode()):
        _check_same(folder, read_mark(path) or {}, mark)


def _check_same(folder: Path, written: dict[str, Any], mark: dict[str, Any]) -> None:
    if written != mark:
        old, new = (
            ", ".join(f"{key} {values.get(key)}" for key in mark) for values in (written, mark)
        )
        raise ValueError(f"{folder} holds fractals of {old}, not {new}: name another folder")


def _write_all(tasks: list[tuple[Path, int, int]], workers: int) -> Iterator[None]:
    with process_map(workers, "draws fractals", start=_use_one_thread) as run:
        yield from run(_write_fractal, tasks)


def _use_one_thread() -> None:
    """Keep a worker from taking the cores of those beside it."""
    cv2.setNumThreads(1)


def _write_fractal(task: tuple[Path, int, int]) -> None:
    path, seed, size = task
    write_whole(path, encode(draw_fractal(seed, size), "png"))


def load_fractals(folder: Path | str, size: int, most: int = 1000) -> Tensor:
    """Return the images below `folder`, cut to squares and resized: uint8 [F, 3, size, size].

    Of more than `most` an even sample of so many is taken, as all are kept in memory.

    Raises:
        ValueError: The folder is missing or has no image, an image cannot be read, or `size`
            or `most` is less than 1.
    """
    if size < 1 or most < 1:
        raise ValueError(f"size and number of fractals must be at least 1, not {size} and {most}")
    paths = find_images(folder)
    if len(paths) > most:
        paths = [paths[number * len(paths) // most] for number in range(most)]
    return torch.stack([_square(load_rgb(path), size) for path in paths])


def _square(image: Tensor, size: int) -> Tensor:
    """Return the middle square of an image, resized."""
    side = min(image.shape[1:])
    top, left = ((length - side) // 2 for length in image.shape[1:])
    cut = image[:, top : top + side, left : left + side].permute(1, 2, 0).contiguous().numpy()
    shrink = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    resized = cv2.resize(cut, (size, size), interpolation=shrink)
    return torch.from_numpy(resized).permute(2, 0, 1).contiguous()
