"""Edits as bytes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from genmix_aug.codec import SUFFIXES, decode, encode, is_whole, png_is_whole


def picture(height=37, width=23):
    """Return a soft picture, as JPEG likes them, with some colour."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([4 * rows, 255 - 6 * columns, 3 * (rows + columns)]).clamp(0, 255).byte()


@pytest.mark.parametrize("size", [(37, 23), (1, 1), (8, 64)], ids=str)
def test_png_keeps_every_pixel_and_jpeg_nearly(size):
    image = picture(*size)
    assert torch.equal(decode(encode(image, "png")), image)
    assert (decode(encode(image, "jpeg")).int() - image.int()).abs().max() <= 6


@pytest.mark.parametrize("image_format", SUFFIXES)
def test_other_programs_read_them(image_format):
    image = picture()
    with Image.open(io.BytesIO(encode(image, image_format))) as opened:
        assert opened.format.lower() == image_format
        pixels = np.asarray(opened)
        layers = getattr(opened, "layer", None)
    assert np.abs(pixels.transpose(2, 0, 1).astype(int) - image.numpy()).max() <= 6
    if image_format == "jpeg":
        assert {(horizontal, vertical) for _, horizontal, vertical, _ in layers} == {(1, 1)}


@pytest.mark.parametrize("image_format", SUFFIXES)
def test_every_cut_and_every_changed_byte_is_noticed(image_format):
    data = encode(picture(9, 7), image_format)
    assert is_whole(data)
    assert not any(is_whole(data[:length]) for length in range(len(data)))
    assert not is_whole(data + b"x")
    for k in range(len(data)):
        assert not is_whole(data[:k] + bytes([data[k] ^ 1]) + data[k + 1 :]), k
    assert decode(data[:-1]) is None


def test_files_of_others_are_told():
    out = io.BytesIO()
    Image.new("RGB", (5, 4)).save(out, "PNG")
    assert png_is_whole(out.getvalue())
    out = io.BytesIO()
    Image.new("RGB", (5, 4)).save(out, "JPEG")
    assert not is_whole(out.getvalue()), "a JPEG without a checksum cannot be known to be whole"
