"""Perceptual hashes of images: near-duplicates have hashes that differ in few bits.

This module does not import torch, since the processes that decode images import it.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from genmix_aug.images import (
    READ_ERRORS,
    open_picture,
    orientation_of,
    to_upright_rgb,
    why_unreadable,
)

SIDE, LOW = 64, 16  # px that an image is reduced to, and the frequencies kept in each direction
HASH_BYTES = LOW * LOW // 8


class ImageHashes(NamedTuple):
    """Hashes of an image file: perceptual (`HASH_BYTES` bytes) and of the file's bytes.

    The latter is another where the image is turned as its EXIF tag says: datasets from before that
    was done keep names of their own. Both are empty where the file cannot be read; ``problem`` then
    says why.
    """

    perceptual: bytes
    content: bytes
    problem: str


def hash_image(path: Path) -> ImageHashes:
    """Read an image file once, decode it completely, and hash it."""
    try:
        content = path.read_bytes() if path.is_file() or not path.exists() else b""
        with open_picture(BytesIO(content)) as image:
            image.load()
            digest = hashlib.blake2b(content)
            if orientation_of(image) != 1:
                digest.update(b"upright")
            return ImageHashes(perceptual_hash(to_upright_rgb(image)), digest.digest(), "")
    except READ_ERRORS as error:
        return ImageHashes(b"", b"", why_unreadable(error))


def perceptual_hash(image: Image.Image) -> bytes:
    """Return the pHash of 256 bits: which low frequencies of the RGB image exceed their median.

    The grey image is reduced to 64 px, and its lowest 16 x 16 cosine frequencies are compared.
    Size, format and light compression hardly change the hash.
    """
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    low = dctn(np.asarray(small, dtype=np.float32), norm="ortho")[:LOW, :LOW].ravel()
    low[0] = 0  # the mean brightness
    return np.packbits(low > np.median(low)).tobytes()


def near_pairs(first: NDArray[np.uint8], second: NDArray[np.uint8], most: int) -> NDArray[np.int64]:
    """Return the pairs of rows [M, 2] of ``first`` and ``second`` that differ in few bits.

    They are in the order of rows. The search is exact.

    Args:
        first: Perceptual hashes [N, HASH_BYTES].
        second: The same of other images.
        most: Bits that a pair may differ in.
    """
    import faiss  # where it is used: the processes that hash images do not need it

    if not (len(first) and len(second)):
        return np.empty((0, 2), dtype=np.int64)
    index = faiss.IndexBinaryFlat(HASH_BYTES * 8)
    index.add(np.ascontiguousarray(second))
    ends, _, columns = index.range_search(np.ascontiguousarray(first), most + 1)  # below it
    ends = ends.astype(np.int64)
    rows = np.repeat(np.arange(len(first)), ends[1:] - ends[:-1])
    return np.column_stack([rows, columns])[np.lexsort([columns, rows])]
