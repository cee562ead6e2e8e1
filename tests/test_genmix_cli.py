"""The command `genmix`, and the image files it takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genmix_aug.cli import chosen_prompts, main
from genmix_aug.contact_sheet import contact_sheet, save_png
from genmix_aug.edit_store import EditStore
from genmix_aug.images import find_images, load_rgb
from genmix_aug.prompts import CROSS_DOMAIN, PROMPT_SETS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path):
    """Three pictures in two folders: square, odd, and with a transparent ground."""
    images = tmp_path / "images"
    (images / "b").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (24, 24)), ("b/c.jpg", (17, 23))):
        pixels = np.kron(rng.integers(0, 256, (3, 3, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        Image.fromarray(pixels).resize(size).save(images / name)
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(images / "b" / "d.webp")
    (images / "b" / "notes.txt").write_text("not an image")
    return images


def test_help_needs_neither_torch_nor_opencv_nor_numpy():
    code = (
        "import sys\nfrom genmix_aug.cli import main\n"
        "try: main(['edit', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'cv2', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for option in ("--store", "--per-image", "--prompts", "--editor", "--dry-run", "images"):
        assert option in done.stdout


def test_edit_fills_a_store_once(folder, tmp_path, capsys):
    store = EditStore(tmp_path / "store")
    arguments = ["edit", str(folder), "--store", str(store.root), "--per-image", "2"]
    assert main([*arguments, "--dry-run"]) == 0
    assert "3 images, 6 distinct edits wanted, 0 in" in capsys.readouterr().out
    assert not store.root.exists()
    assert main(arguments) == 0
    assert "6 edits of 3 images" in capsys.readouterr().out
    keys = store.keys()
    assert len(keys) == 6
    records = list(store.entries())
    assert {record["source"] for record in records} == {"a.png", "b/c.jpg", "b/d.webp"}
    assert {record["prompt"] for record in records} <= set(CROSS_DOMAIN)
    assert main(arguments) == 0
    assert store.keys() == keys
    assert main([*arguments, "--dry-run"]) == 0
    assert "6 in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "columns"), [([], 16), (["--prompts", "snowy, mosaic"], 3), (["--stages"], 6)]
)
def test_preview_draws_a_sheet(folder, tmp_path, capsys, extra, columns):
    out = tmp_path / "new" / "sheet.png"
    arguments = ["preview", str(folder), "--out", str(out), "--size", "32", "--count", "2"]
    assert main([*arguments, *extra]) == 0
    assert f"wrote {out}: 2 images, {columns} columns" in capsys.readouterr().out
    with Image.open(out) as sheet:
        assert sheet.width > 32 * columns
        assert 64 < sheet.height < 160
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edit", "nowhere", "--store", "s"], "image folder nowhere does not exist"),
        (["edit", "{empty}", "--store", "s"], "has no images"),
        (["edit", "{file}", "--store", "s"], "is not a folder"),
        (["edit", "{images}", "--store", "s", "--prompts", "snowi"], "unknown prompt 'snowi'"),
        (["edit", "{images}", "--store", "s", "--prompts", ","], "unknown prompt ','"),
        (["edit", "{images}", "--store", "s", "--editor", "magic"], "unknown editor 'magic'"),
        (["edit", "{images}", "--store", "s", "--per-image", "0"], "--per-image"),
        (["edit", "{broken}", "--store", "s"], "cannot read image {broken}/cut.png"),
        (["preview", "{images}", "--out", "sheet.jpg"], "must end in .png"),
        (["preview", "{images}", "--count", "0"], "--count"),
        (["preview", "{images}", "--size", "2"], "at least 16 px"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    folder, tmp_path, monkeypatch, capsys, arguments, message
):
    names = {"images": folder, "file": folder / "a.png"}
    for name in ("empty", "broken"):
        names[name] = tmp_path / name
        names[name].mkdir()
    (tmp_path / "broken" / "cut.png").write_bytes((folder / "a.png").read_bytes()[:-30])
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert main([argument.format(**names) for argument in arguments]) == 1
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("genmix: error: ")
    assert message.format(**names) in line
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("option", ["--stor", "--per_images", "--bogus"])
def test_unknown_options_are_refused_by_name(folder, tmp_path, capsys, option):
    with pytest.raises(SystemExit) as stopped:
        main(["edit", str(folder), "--store", str(tmp_path / "s"), option, "3"])
    assert stopped.value.code == 2
    assert option in capsys.readouterr().err


def test_wrong_types_are_refused_by_name(folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["edit", str(folder), "--store", str(tmp_path / "s"), "--per-image", "two"])
    assert "per" in capsys.readouterr().err


def test_prompts_by_set_or_by_name():
    assert chosen_prompts("in-domain") == PROMPT_SETS["in-domain"]
    assert chosen_prompts(" retro comic,snowy,snowy") == ("retro comic", "snowy")


def test_images_are_found_in_order_and_hidden_ones_left_out(folder):
    (folder / ".cache").mkdir()
    Image.new("RGB", (2, 2)).save(folder / ".cache" / "x.png")
    Image.new("RGB", (2, 2)).save(folder / ".x.png")
    found = [path.relative_to(folder).as_posix() for path in find_images(folder)]
    assert found == ["a.png", "b/c.jpg", "b/d.webp"]


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
        "one.png": (Image.new("1", (4, 3), 1), (255, 255, 255)),
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


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_unreadable_images_are_named(tmp_path, content):
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read image .*bad\.png") as raised:
        load_rgb(path)
    assert "\n" not in str(raised.value)


def test_sheets_take_masks_and_any_shape(tmp_path):
    pictures = [torch.zeros(3, 10, 30, dtype=torch.uint8), torch.rand(9, 4)]
    sheet = contact_sheet([pictures], ["a very long row label " * 9], ["x", "y" * 200], 48)
    assert sheet.width < 48 * 5
    save_png(sheet, tmp_path / "s.png")
    with pytest.raises(ValueError, match="one label"):
        contact_sheet([pictures], ["a"], ["x"], 48)
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], [], ["x"], 48)
