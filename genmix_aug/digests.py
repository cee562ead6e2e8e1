"""What images and files are known by: hashes of pixels and of bytes."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor


def image_digest(image: Tensor) -> str:
    """Return a hash of an image's size and pixels, uint8 [3, H, W].

    Raises:
        ValueError: Another dtype or shape.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image must be uint8 [3, H, W], not {image.dtype} {[*image.shape]}")
    digest = blake2b(repr(tuple(image.shape)).encode(), digest_size=20)
    digest.update(image.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return a hash of what a file holds, 32 hexadecimal digits.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        return blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
