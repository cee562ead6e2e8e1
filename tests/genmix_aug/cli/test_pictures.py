"""`genmix preview`, `fractals` and `export`."""

import pytest
from PIL import Image

from genmix_aug import lettering
from genmix_aug.cli import pictures
from genmix_aug.cli.main import main
from genmix_aug.editors import FilterEditor
from genmix_aug.edits import again as rescreening
from genmix_aug.images import find_images
from genmix_aug.prompts import PROMPT_SETS


def test_a_preview_takes_few_prompts_at_a_time(folder, tmp_path, monkeypatch):
    batches, edit_each = [], FilterEditor.edit_each
    monkeypatch.setattr(
        FilterEditor, "edit_each", lambda *args: batches.append(args[2]) or edit_each(*args)
    )
    out = ["--out", str(tmp_path / "sheet.png"), "--size", "16", "--count", "1"]
    assert main(["preview", str(folder), *out]) == 0
    assert [len(prompts) for prompts in batches] == [4, 4, 4, 3]
    assert [prompt for prompts in batches for prompt in prompts] == list(PROMPT_SETS["all"])


@pytest.mark.slow
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


def test_fractals_are_drawn_once(tmp_path, capsys):
    out = tmp_path / "fractals"
    arguments = ["fractals", "--out", str(out), "--count", "3", "--size", "16"]
    assert main(arguments) == 0
    assert "3 fractals of 16 px" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "0 of them new" in capsys.readouterr().out
    assert len(find_images(out)) == 3


def test_export_writes_the_same_layout(folder, tmp_path, capsys):
    store, out = str(tmp_path / "store"), tmp_path / "out"
    main(["fractals", "--out", str(tmp_path / "fractals"), "--count", "2", "--size", "24"])
    more = ["--fractals", str(tmp_path / "fractals"), "--join", "cutmix", "--sides", "left,top"]
    export = ["export", str(folder), "--store", store, "--out", str(out), "--copies", "2", *more]
    assert main(export) == 1
    assert "genmix edit" in capsys.readouterr().err
    assert main(["edit", str(folder), "--store", store]) == 0
    assert main(export) == 0
    assert "3 originals and 6 GenMix images" in capsys.readouterr().out
    names = {path.relative_to(out).as_posix() for path in find_images(out)}
    assert {"a.png", "a_genmix1.png", "a_genmix2.png", "b/c.jpg", "b/c_genmix1.png"} <= names
    assert len(names) == 9


@pytest.mark.parametrize("more", [["--out", "sheet.jpg"], ["--size", "2"]])
def test_a_sheet_that_cannot_be_is_found_before_edits_are_made(
    folder, tmp_path, monkeypatch, capsys, more
):
    monkeypatch.chdir(tmp_path)
    assert main(["edit", str(folder), "--store", "s"]) == 0

    def refuse(*_, **__):
        raise AssertionError("edited, or compared")

    monkeypatch.setattr(pictures, "chosen_editor", refuse)
    monkeypatch.setattr(rescreening, "originals_of", refuse)
    assert main(["preview", str(folder), *more]) == 1
    if more[0] == "--size":
        assert main(["screen", "s", *more]) == 1
        assert "at least 16 px" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("images", "s")] == []


@pytest.mark.slow
def test_an_image_narrower_than_the_seam_is_named(folder, fractals, tmp_path, monkeypatch, capsys):
    """Before anything is written, though the others are wide enough."""
    monkeypatch.chdir(tmp_path)
    assert main(["edit", str(folder), "--store", "s"]) == 0
    capsys.readouterr()
    narrow = folder / "b" / "c.jpg"  # 17 px wide, 23 px high
    words = f"genmix: error: {narrow}: blend width 20 px does not fit an image side of 17 px"
    export = ["export", str(folder), "--store", "s", "--out", "out", "--blend-width", "20"]
    export += fractals
    assert main(export) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["preview", str(folder), "--stages", "--blend-width", "20", *fractals]) == 1
    assert words in capsys.readouterr().err
    assert main([*export, "--sides", "top,bottom"]) == 0
    assert main([*export[:5], "out2", *export[6:], "--join", "mixup"]) == 0


@pytest.mark.parametrize("stages", [False, True])
def test_a_large_photo_is_reduced_before_it_is_edited(tmp_path, monkeypatch, fractals, stages):
    sides = []

    def edit_each(self, images, prompts, seeds):
        sides.extend(max(image.shape) for image in images)
        return images

    monkeypatch.setattr(FilterEditor, "edit_each", edit_each)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (900, 600)).save(tmp_path / "photos" / "photo.png")
    command = ["preview", str(tmp_path / "photos"), "--prompts", "snowy", "--blend-width", "500"]
    flags = [*fractals, "--size=32", "--out", str(tmp_path / "sheet.png"), *["--stages"] * stages]
    assert main([*command, *flags]) == 0
    assert sides == [64]


def test_names_without_a_font_have_numbers_and_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lettering, "_fonts", list)
    Image.new("RGB", (32, 32)).save(tmp_path / "猫.png")
    out = str(tmp_path / "out" / "sheet.png")
    assert main(["preview", str(tmp_path), "--prompts", "snowy", "--out", out]) == 0
    assert "[1] 猫" in capsys.readouterr().out
