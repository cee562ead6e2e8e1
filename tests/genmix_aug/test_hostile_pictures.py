"""Picture files of strangers."""

import os
import struct
import zlib

import pytest
from PIL import Image
from PIL.EpsImagePlugin import EpsImageFile

from genmix_aug.images import load_rgb, size_of
from uda.data.near_duplicates import hash_image


def png_of(width, height):
    """Return a PNG that says to have this size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = {b"IHDR": head, b"IDAT": b"", b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )


def problems(path):
    """Return what each reader says of a picture that it refuses."""
    messages = []
    for read in (load_rgb, size_of):
        with pytest.raises(ValueError, match=f"cannot read image {path}: ") as error:
            read(path)
        messages.append(str(error.value))
    return [*messages, hash_image(path).problem]


def test_postscript_is_no_picture_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImageFile, "load", lambda *_: pytest.fail("Ghostscript is started"))
    Image.new("RGB", (4, 4)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.png")
    assert all("no image" in problem for problem in problems(tmp_path / "x.png"))


def test_too_many_pixels_are_refused_with_the_limit(tmp_path):
    (tmp_path / "x.png").write_bytes(png_of(50_000, 50_000))
    assert all("over 179 megapixels" in problem for problem in problems(tmp_path / "x.png"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are Unix's")
def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    assert all("no image" in problem for problem in problems(tmp_path / "x.png"))
