"""Finding and reading image files."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genmix_aug.images import find_images, from_picture, load_rgb


def test_images_are_found_in_order_and_hidden_ones_left_out(tmp_path):
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    for name in ("a.png", "b/c.jpg", "b/d.webp"):
        Image.new("RGB", (2, 2)).save(folder / name)
    (folder / "b" / "notes.txt").write_text("not an image")
    (folder / ".cache").mkdir()
    Image.new("RGB", (2, 2)).save(folder / ".cache" / "x.png")
    Image.new("RGB", (2, 2)).save(folder / ".x.png")
    names = [path.relative_to(folder).as_posix() for path in find_images(folder)]
    assert names == ["a.png", "b/c.jpg", "b/d.webp"]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "x.png")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=f"folder {tmp_path / 'b'} cannot be read: Permission"):
        find_images(tmp_path)


def test_every_mode_becomes_rgb(tmp_path):
    red = Image.new("RGB", (4, 3), (200, 30, 30))
    grey16 = Image.fromarray(np.full((3, 4), 51400, np.uint16))  # 200 in 8 bits
    clear = Image.new("RGBA", (4, 3), (0, 0, 0, 0))
    palette = red.quantize(4)
    see_through = Image.new("P", (4, 3), 0)
    see_through.putpalette([10, 20, 30])
    images = {
        "rgb.png": (red, (200, 30, 30)),
        "palette.png": (palette, (200, 30, 30)),
        "grey.png": (red.convert("L"), None),
        "grey16.png": (grey16, (200, 200, 200)),
        "grey16.tif": (grey16, (200, 200, 200)),
        "bit.png": (Image.new("1", (4, 3), 1), (255, 255, 255)),
        "clear.png": (clear, (255, 255, 255)),
        "la.png": (clear.convert("LA"), (255, 255, 255)),
        "cmyk.jpg": (red.convert("CMYK"), (200, 30, 30)),
        "float.tif": (Image.fromarray(np.full((3, 4), 0.5, np.float32)), (128, 128, 128)),
    }
    for name, (image, expected) in images.items():
        image.save(tmp_path / name)
        pixels = load_rgb(tmp_path / name)
        assert pixels.shape == (3, 3, 4), name
        assert pixels.dtype == torch.uint8
        if expected is not None:
            off = (pixels.int() - torch.tensor(expected)[:, None, None]).abs().max()
            assert off <= (8 if name.endswith("jpg") else 1), name
    see_through.save(tmp_path / "p.png", transparency=0)
    assert (load_rgb(tmp_path / "p.png") == 255).all()


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    for name in ("real/a.png", "folder/b.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "folder" / "class").symlink_to(tmp_path / "real")
    (tmp_path / "folder" / "loop").symlink_to(tmp_path / "folder")
    folder = tmp_path / "folder"
    assert find_images(folder) == [folder / "b.png", folder / "class" / "a.png"]


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_unreadable_images_are_named(tmp_path, content):
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read image .*bad\.png") as raised:
        load_rgb(path)
    assert "\n" not in str(raised.value)


def save_modes(folder):
    """The same grey-level ramp in every mode; the expected RGB of its first and last column."""
    ramp = np.linspace(0, 255, 16).round().astype(np.uint8)[None].repeat(16, 0)
    grey = Image.fromarray(ramp)
    grey.save(folder / "L.png")
    grey.convert("P").save(folder / "P.png")
    grey.convert("CMYK").save(folder / "CMYK.jpg", quality=100)
    Image.fromarray(ramp.astype(np.uint16) * 257).save(folder / "I16.png")
    grey.convert("LA").save(folder / "LA.png")
    grey.convert("1").save(folder / "1.png")
    return {"L.png", "P.png", "CMYK.jpg", "I16.png", "LA.png", "1.png"}


def test_a_ramp_is_the_same_in_every_mode(tmp_path):
    for name in save_modes(tmp_path):
        image = load_rgb(tmp_path / name, 16)
        assert image.shape == (3, 16, 16), name
        assert image.dtype == torch.uint8
        assert image[:, :, 0].max() <= 3, name
        assert image[:, :, -1].min() >= 252, name
        if name != "1.png":
            assert abs(float(image[:, :, 8].float().mean()) - 136) < 4, name


def test_transparency_is_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert load_rgb(tmp_path / "clear.png", 4).min() == 255
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0] + [0] * 765)
    palette.save(tmp_path / "palette.png", transparency=0)
    assert load_rgb(tmp_path / "palette.png", 4).min() == 255


@pytest.mark.parametrize("content", [b"", b"not a picture", "truncated"])
def test_a_broken_picture_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    if content == "truncated":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        content = path.read_bytes()[:3000]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png: .*remove or replace it"):
        load_rgb(path, 8)


def test_aspect_ratio_is_not_kept(tmp_path):
    Image.new("RGB", (40, 10), "red").save(tmp_path / "wide.png")
    assert load_rgb(tmp_path / "wide.png", 8).shape == (3, 8, 8)


def grey_of(path):
    return load_rgb(path)[0].tolist()


def test_floats_are_scaled_by_type_and_not_by_what_is_in_them(tmp_path):
    """A dark picture of a folder is as dark as it is beside the others."""
    for name, values in {
        "dark.tif": [[0.0, 0.01]],
        "light.tif": [[0.0, 1.0]],
    }.items():
        Image.fromarray(np.array(values, np.float32)).save(tmp_path / name)
    assert grey_of(tmp_path / "dark.tif") == [[0, 3]]
    assert grey_of(tmp_path / "light.tif") == [[0, 255]]


@pytest.mark.parametrize("values", [[0.0, 255.0], [0.0, 1.5], [-0.5, 0.5], [-1.0, 1.0]])
def test_floats_of_another_scale_are_refused(tmp_path, values):
    path = tmp_path / "wide.tif"
    Image.fromarray(np.array([values], np.float32)).save(path)
    message = rf"wide\.tif: floating-point values from {values[0]:g} to {values[1]:g} where 0 to 1"
    with pytest.raises(ValueError, match=message):
        load_rgb(path)


def test_a_dark_picture_of_16_bits_stays_dark(tmp_path):
    """Pillow gives those of .pgm as 32 bits, where 255 could be taken for white."""
    for name in ("dark.pgm", "dark.png", "dark.tif"):
        Image.fromarray(np.full((2, 2), 200, np.uint16)).save(tmp_path / name)
        assert grey_of(tmp_path / name) == [[1, 1]] * 2, name


def test_integers_of_32_bits_are_refused(tmp_path):
    wide = Image.fromarray(np.full((2, 2), 200, np.int32))
    wide.save(tmp_path / "wide.tif")
    with pytest.raises(ValueError, match=r"wide\.tif: 32-bit integers, of which white"):
        load_rgb(tmp_path / "wide.tif")
    with pytest.raises(ValueError, match="32-bit integers"):
        from_picture(wide)
