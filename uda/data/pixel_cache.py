"""Memory for decoded images: RAM up to a limit, past it memory-mapped files.

Both hold the same bytes; a mapped file is read by rows, as they are indexed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from genmix_aug.files import remove_abandoned
from uda.runs.files import atomic_path, locked, writing

# Part of every file's key: to be raised when what is decoded from an image changes.
VERSION = 1


def fits(shape: Sequence[int], memory_gb: float) -> bool:
    """Return whether uint8 of ``shape`` takes at most ``memory_gb`` GiB."""
    return _num_bytes(shape) <= memory_gb * 2**30


def allocate(shape: Sequence[int], memory_gb: float, folder: Path) -> Tensor:
    """Return uint8 of ``shape``, not yet filled.

    In memory if it `fits`, else in a file without a name in ``folder``, which is deleted with the
    process. Raises ValueError where the disk is too small.
    """
    if fits(shape, memory_gb):
        return torch.empty(tuple(shape), dtype=torch.uint8)
    _check_disk(folder, _num_bytes(shape))
    with writing(folder), tempfile.TemporaryFile(dir=folder) as file:
        _reserve(file, _num_bytes(shape))
        return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=tuple(shape)))


def stored(
    folder: Path, key: str, shape: Sequence[int], fill: Callable[[Tensor], Sequence[int]]
) -> tuple[Tensor, list[int]]:
    """Return the images stored under ``key``, read-only, and N numbers.

    A process that is killed while it fills leaves nothing that passes for a whole file; another
    that asks meanwhile waits.

    Args:
        folder: Of the files.
        key: As from `uda.data.fingerprints.files_key`.
        shape: Of the images, uint8 [N, …].
        fill: Called if nothing is stored yet: writes the images into a tensor and returns the
            numbers, which are stored behind them.

    Raises:
        ValueError: The disk is too small.
    """
    path = folder / f"{key}.images"
    num_bytes = _num_bytes(shape)
    whole = num_bytes + 8 * shape[0]
    _check_disk(folder, 0)
    with locked(folder / f".{key}.lock", "compute.cache"):
        if not (path.is_file() and path.stat().st_size == whole):
            remove_abandoned(folder)  # gigabytes that killed processes left
            _check_disk(folder, whole)
            with atomic_path(path) as temporary:
                _fill_file(temporary, shape, fill)
    images = np.memmap(path, np.uint8, "r", shape=tuple(shape))
    numbers = np.fromfile(path, "<i8", offset=num_bytes)
    with warnings.catch_warnings():
        # Torch warns that writing to it is undefined; nothing does.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(images), numbers.tolist()


def _fill_file(path: Path, shape: Sequence[int], fill: Callable[[Tensor], Sequence[int]]) -> None:
    """Fill a memory-mapped file, and write the numbers behind the images."""
    num_bytes = _num_bytes(shape)
    with open(path, "w+b") as file:
        _reserve(file, num_bytes + 8 * shape[0])
        images = np.memmap(file, np.uint8, "r+", shape=tuple(shape))
        numbers = np.asarray(fill(torch.from_numpy(images)), dtype="<i8")
        images.flush()
        file.seek(num_bytes)
        file.write(numbers.tobytes())
        file.flush()
        os.fsync(file.fileno())


def reorder(images: Tensor, order: Sequence[int]) -> None:
    """Apply ``images[order]`` in place, with one image's memory beside them."""
    moved = bytearray(len(order))
    for start in range(len(order)):
        if moved[start]:
            continue
        first, row = images[start].clone(), start
        while order[row] != start:
            images[row] = images[order[row]]
            moved[row] = 1
            row = order[row]
        images[row] = first
        moved[row] = 1


def _num_bytes(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _reserve(file: IO[bytes], num_bytes: int) -> None:
    """Take the disk's space now.

    A mapped file that outgrows it would kill the process without a word, and another process may
    want the same space.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, num_bytes)
    else:
        file.truncate(num_bytes)


def _check_disk(folder: Path, num_bytes: int) -> None:
    """Raise ValueError where the folder cannot be made, or has less room than ``num_bytes``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"compute.cache: {folder}: {error.strerror}") from None
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise ValueError(
            f"compute.cache: {folder} has {free / 2**30:.1f} GiB free and the decoded pictures "
            f"take {num_bytes / 2**30:.1f}; name another folder, or raise compute.image_memory_gb"
        )
