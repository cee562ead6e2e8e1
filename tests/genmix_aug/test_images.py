"""Finding and reading image files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.phone import noise, save_tagged
from PIL import Image, ImageCms, ImageOps

from genmix_aug.images import (
    IMAGE_SUFFIXES,
    find_images,
    from_picture,
    has_orientation,
    load_rgb,
    other_pictures,
    size_of,
)

ROOT = Path(__file__).resolve().parents[2]


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


def test_what_systems_add_is_passed_over(tmp_path):
    """Thumbnails of notebooks and disks, and what a Mac puts into archives."""
    folders = (".ipynb_checkpoints", "@eaDir", "__MACOSX/dog", "#recycle", "lost+found", "dog")
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (2, 2)).save(tmp_path / folder / "x.png")
    (tmp_path / "@eaDir" / "x.heic").touch()
    (tmp_path / "dog" / "._x.jpg").touch()
    assert find_images(tmp_path) == [tmp_path / "dog" / "x.png"]
    assert other_pictures(tmp_path) == ""


def test_links_to_nothing_are_named(tmp_path):
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "dog" / "x.png")
    (tmp_path / "dog" / "gone.jpg").symlink_to("nowhere.jpg")
    gone, _ = find_images(tmp_path)  # whoever reads it names it
    with pytest.raises(ValueError, match=r"cannot read image .*dog/gone\.jpg: no such file"):
        load_rgb(gone)
    (tmp_path / "kite").symlink_to("nowhere")  # a class that would be missing
    with pytest.raises(ValueError, match="kite: a link that leads nowhere; mend or remove it"):
        find_images(tmp_path)
    (tmp_path / "kite").unlink()
    (tmp_path / "kite").symlink_to("kite")
    with pytest.raises(ValueError, match="kite: a link that leads nowhere"):
        find_images(tmp_path)


def test_pictures_that_are_not_read_are_named_where_there_are_no_others(tmp_path):
    (tmp_path / "IMG_1.HEIC").touch()
    with pytest.raises(ValueError, match=r"has no images .* but 1 pictures \(\.heic 1\)"):
        find_images(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_a_picture_is_turned_as_viewers_do(tmp_path, orientation, suffix):
    stored, path = noise(), tmp_path / f"phone{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    with Image.open(path) as image:
        expected = from_picture(ImageOps.exif_transpose(image))
    assert torch.equal(load_rgb(path), expected)
    assert size_of(path) == tuple(expected.shape[1:])
    if suffix != ".tif":  # Pillow itself turns these
        assert torch.equal(load_rgb(path, upright=False), from_picture(stored))
        assert has_orientation(path) == (orientation != 1)


def test_a_phones_picture_stands_upright(tmp_path):
    stored = Image.fromarray(np.uint8([[[1] * 3, [2] * 3, [3] * 3], [[4] * 3, [5] * 3, [6] * 3]]))
    save_tagged(tmp_path / "phone.png", stored)
    assert grey_of(tmp_path / "phone.png") == [[4, 1], [5, 2], [6, 3]]
    grey = Image.fromarray(np.uint16([[257, 514]]))  # 16 bits of a scanner, too
    save_tagged(tmp_path / "grey.png", grey)
    assert grey_of(tmp_path / "grey.png") == [[1], [2]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # pytest has filters of its own
@pytest.mark.parametrize("value", [b"Exif\0\0no tag", b"Exif\0\0MM\0*\xff\xff\xff\xff"])
def test_a_broken_tag_leaves_the_picture_as_it_is(tmp_path, value):
    noise().save(tmp_path / "x.png", exif=value)
    assert torch.equal(load_rgb(tmp_path / "x.png"), from_picture(noise()))
    save_tagged(tmp_path / "x.png", noise(), 99)
    assert torch.equal(load_rgb(tmp_path / "x.png"), from_picture(noise()))


def test_a_broken_tag_is_no_warning(tmp_path):
    noise().save(tmp_path / "x.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    code = "import sys; from genmix_aug.images import load_rgb; load_rgb(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "x.png")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_is_its_first_picture(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    frames[0].save(tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:], duration=50)
    image = load_rgb(tmp_path / f"x{suffix}")
    assert image[0].min() > 240
    assert image[2].max() < 10


def test_a_picture_of_lab_has_its_colours(tmp_path):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    colours = Image.fromarray(np.uint8([[[180, 90, 80], [80, 150, 90], [120, 120, 120]]]))
    ImageCms.profileToProfile(colours, *profiles, outputMode="LAB").save(tmp_path / "lab.tif")
    off = load_rgb(tmp_path / "lab.tif").int() - from_picture(colours).int()
    assert off.abs().max() <= 4


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_endings_may_be_capitals(tmp_path, suffix):
    (tmp_path / f"x{suffix.upper()}").touch()
    assert [path.name for path in find_images(tmp_path)] == [f"x{suffix.upper()}"]


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
