"""The command `genmix` itself: help, version and mistakes."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from genmix_aug.cli.main import main

ROOT = Path(__file__).resolve().parents[3]


def test_help_needs_neither_torch_nor_opencv_nor_numpy():
    code = (
        "import sys\nfrom genmix_aug.cli.main import main\n"
        "try: main(['edit', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'cv2', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for option in ("--store", "--per-image", "--prompts", "--editor", "--dry-run", "images"):
        assert option in done.stdout


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"genmix {version('genmix-uda')}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edit", "nowhere", "--store", "s"], "image folder nowhere does not exist"),
        (["edit", "{empty}", "--store", "s"], "has no images"),
        (["edit", "{file}", "--store", "s"], "is not a folder"),
        (["edit", "{images}", "--store", "s", "--prompts", "snowi"], "unknown prompt 'snowi'"),
        (["edit", "{images}", "--store", "s", "--prompts", ","], "no prompt in ','"),
        (["edit", "{images}", "--store", "s", "--editor", "magic"], "unknown editor 'magic'"),
        (["edit", "{images}", "--store", "s", "--per-image", "0"], "--per-image"),
        (["edit", "{images}", "--store", "{images}/s"], "must not lie within the images"),
        (["edit", "{images}", "--store", "s", "--editor-options", "steps=3"], "no option 'steps'"),
        (["edit", "{images}", "--store", "s", "--editor-options", "steps"], "is not KEY=VALUE"),
        (["edit", "{images}", "--store", "s", "--image-format", "gif"], "image format 'gif'"),
        (["edit", "{images}", "--store", "s", "--redraws", "-1"], "--redraws"),
        (["edit", "{images}", "--store", "s", "--workers", "0"], "--workers must be at least 1"),
        (["edit", "{images}", "--store", "s", "--gpus-per-worker", "-1"], "--gpus-per-worker"),
        (["edit", "{images}", "--store", "s", "--gpus-per-worker", "1.5"], "--gpus-per-worker"),
        (["edit", "{images}", "--store", "s", "--address", "nowhere"], "no Ray cluster at"),
        (["edit", "{images}", "--store", "s", "--features", "no.such:f"], "--features no.such:f"),
        (["edit", "{images}", "--store", "s", "--features", "math"], "expected MODULE:FUNCTION"),
        (
            ["edit", "{images}", "--store", "s", "--features", "helpers.features:number"],
            "not a fun",
        ),
        (["edit", "{images}", "--store", "s", "--batch-size", "0"], "--batch-size"),
        (["edit", "{images}", "--store", "s", "--square-px", "100000"], "at most 8192"),
        (
            ["export", "{images}", "--store", "s", "--out", "o", "--square-px", "9999"],
            "at most 8192",
        ),
        (["edit", "{images}", "--store", "{file}"], "is not a folder"),
        (["edit", "{images}", "--store", "s", "--editor-options", "model=@x"], "cannot be read"),
        (["screen", "nowhere"], "nowhere: no edits there"),
        (["preview", "{images}", "--stages", "--join", "glue"], "join must be one of seam"),
        (["preview", "{images}", "--stages", "--fractals", "{empty}"], "has no images"),
        (["fractals", "--out", "f", "--count", "0"], "at least 1"),
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
    assert main(["edit", str(folder), "--store", str(tmp_path / "s"), option, "3"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("genmix: error: ")
    assert option in line


def test_wrong_types_are_refused_by_name(folder, tmp_path, capsys):
    assert main(["edit", str(folder), "--store", str(tmp_path / "s"), "--per-image", "two"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "per_image" in line
