"""Edits as bytes: PNG or JPEG files that people can open and that show when they are damaged."""

from __future__ import annotations

import zlib
from hashlib import blake2b

import cv2
import numpy as np
import torch
from torch import Tensor

SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHECKSUM_BYTES = 32  # hexadecimal digits
# Start of image, then a comment segment: two length bytes and the checksum.
JPEG_HEAD = b"\xff\xd8\xff\xfe" + (2 + CHECKSUM_BYTES).to_bytes(2, "big")
JPEG_SETTINGS = [
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]


def encode(image: Tensor, image_format: str) -> bytes:
    """Return an image uint8 [3, H, W] as a file's bytes.

    Args:
        image: uint8 [3, H, W].
        image_format: png (little compressed, for speed) or jpeg (quality 95, 4:4:4, with a
            checksum of the rest in a comment, since JPEG has none).
    """
    pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
    blue_first = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    if image_format == "png":
        return cv2.imencode(".png", blue_first, [cv2.IMWRITE_PNG_COMPRESSION, 2])[1].tobytes()
    body = cv2.imencode(".jpg", blue_first, JPEG_SETTINGS)[1].tobytes()[2:]
    return JPEG_HEAD + _checksum(body) + body


def decode(data: bytes) -> Tensor | None:
    """Return the image uint8 [3, H, W] of `encode`'s bytes, or None where they are not whole."""
    if not is_whole(data):
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels than it decodes
        return None
    if pixels is None:
        return None
    rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return torch.from_numpy(rgb).permute(2, 0, 1).contiguous()


def is_whole(data: bytes) -> bool:
    """Return whether `encode` made these bytes and none of them is missing or changed.

    This detects truncated and damaged files many times faster than decoding them.
    """
    return png_is_whole(data) or _jpeg_is_whole(data)


def png_is_whole(data: bytes) -> bool:
    """Return whether these bytes are a complete PNG: all checksums right, the last chunk IEND."""
    if data[:8] != PNG_SIGNATURE:
        return False
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            return False
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            return False
        if view[at + 4 : at + 8] == b"IEND":
            return end == len(data)
        at = end
    return False


def _jpeg_is_whole(data: bytes) -> bool:
    stop = len(JPEG_HEAD) + CHECKSUM_BYTES
    return data.startswith(JPEG_HEAD) and data[len(JPEG_HEAD) : stop] == _checksum(data[stop:])


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=CHECKSUM_BYTES // 2).hexdigest().encode()
