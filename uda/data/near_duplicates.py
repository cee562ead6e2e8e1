"""Hashes of what pictures look like: near-duplicates have near hashes. No torch, for workers."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy.fft import dctn

SIDE, LOW = 64, 16  # px that a picture is reduced to, and the frequencies kept in each direction
HASH_BYTES = LOW * LOW // 8
BLOCK = 4096


class Look(NamedTuple):
    """What came of reading a picture: the hash of what it looks like (`HASH_BYTES` bytes) and that
    of its file's bytes, or why there is none."""

    hash: bytes
    content: bytes
    problem: str


def look_at(path: Path) -> Look:
    """Read a picture once, decode it wholly, and hash it."""
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            image.load()
            if image.mode.startswith("I") or image.mode == "F":  # rare, and not always told
                from genmix_aug.images import to_rgb

                to_rgb(image)
            return Look(perceptual_hash(image), hashlib.blake2b(content).digest(), "")
    except UnidentifiedImageError:
        return Look(b"", b"", "no image")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Look(b"", b"", " ".join(str(error).split()) or type(error).__name__)


def perceptual_hash(image: Image.Image) -> bytes:
    """pHash of 256 bits: which of the lowest 16 × 16 cosine frequencies of the grey picture,
    reduced to 64 px, are above their median. Size, format and light compression hardly change it.
    """
    if image.mode in ("RGBA", "LA", "PA", "P"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    low = dctn(np.asarray(small, dtype=np.float32), norm="ortho")[:LOW, :LOW].ravel()
    low[0] = 0  # the mean brightness
    return np.packbits(low > np.median(low)).tobytes()


def near_pairs(first: NDArray[np.uint8], second: NDArray[np.uint8], most: int) -> NDArray[np.int64]:
    """Rows [M, 2] (of ``first``, of ``second``, each [N, HASH_BYTES]) that differ in at most
    ``most`` bits. Memory is that of a block of products, whatever N is."""
    signs = [np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1 for hashes in (first, second)]
    # Of vectors of ±1 the product is the number of bits less twice those that differ.
    least = HASH_BYTES * 8 - 2 * most
    found = [
        np.argwhere(signs[0][i : i + BLOCK] @ signs[1][j : j + BLOCK].T >= least) + np.array((i, j))
        for i in range(0, len(first), BLOCK)
        for j in range(0, len(second), BLOCK)
    ]
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)
