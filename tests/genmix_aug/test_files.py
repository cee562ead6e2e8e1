"""Files that are written whole, and what killed processes leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from genmix_aug.cli.main import main
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore
from genmix_aug.export import ExportSettings, export_tree
from genmix_aug.files import host, read_mark, remove_abandoned, write_new, write_whole
from genmix_aug.mixing.fractal_folder import write_fractals
from genmix_aug.mixing.genmix import GenMix

ROOT = Path(__file__).resolve().parents[2]


def left_by_a_killed_process(folder):
    """Return the temporary file of a process that SIGKILL ended within `write_whole`."""
    folder.mkdir(parents=True, exist_ok=True)
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom genmix_aug import files\n"
        "files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_whole(Path(sys.argv[1]), b'half')"
    )
    before = set(folder.iterdir())
    subprocess.run([sys.executable, "-c", code, str(folder / "a.png")], cwd=ROOT)
    (left,) = set(folder.iterdir()) - before
    assert left.name.startswith(".")
    assert ".tmp" in left.suffixes
    return left


def test_a_dead_processes_file_is_swept_and_a_living_ones_is_not(tmp_path):
    left = left_by_a_killed_process(tmp_path)
    living = tmp_path / f".0123abcd.{host()}-{os.getpid()}.tmp"
    elsewhere = tmp_path / f".0123abcd.elsewhere-{2**22 + 1}.tmp"
    before = tmp_path / f".0123abcd.{2**22 + 1}.tmp"  # as earlier versions named them
    others = [tmp_path / name for name in (".notes.tmp", ".0123abcd.x.tmp", "0123abcd.h-1.tmp")]
    for path in (living, elsewhere, before, *others):
        path.write_bytes(b"half")
    assert remove_abandoned(tmp_path) == 1
    assert not left.exists()
    for path in (elsewhere, before, *others):
        os.utime(path, (0, 0))
    assert remove_abandoned(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {p.name for p in (living, *others)}
    assert remove_abandoned(tmp_path / "nowhere") == 0


def test_where_nothing_can_be_written_the_file_is_named(tmp_path, monkeypatch):
    def refuse(path, data):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OSError, match="Permission denied") as raised:
        write_whole(tmp_path / "a.png", b"x")
    assert raised.value.filename == str(tmp_path / "a.png")


def test_nothing_is_left_of_a_write_that_ends_well(tmp_path):
    write_whole(tmp_path / "new" / "a", b"whole")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_is_written_by_a_single_process(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "no links")))
    written = [write_new(tmp_path / "new" / "a", data) for data in (b"first", b"second")]
    assert written == [True, False]
    assert (tmp_path / "new" / "a").read_bytes() == b"first"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


@pytest.mark.parametrize("command", ["fractals", "export", "screen"])
def test_commands_sweep_the_folder_that_they_write_to(tmp_path, command):
    images, out, store = tmp_path / "images" / "a", tmp_path / "out", tmp_path / "store"
    images.mkdir(parents=True)
    for number in range(2):
        pixels = torch.full((16, 16, 3), 80 * number + 40, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(images / f"{number}.png")
    left = left_by_a_killed_process(out)
    if command == "fractals":
        write_fractals(out, 1, 8)
    elif command == "export":
        genmix = GenMix(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
        tree = (images.parent, EditStore(store), out, EditPlan(("snowy",), 1, "none"), genmix)
        export_tree(*tree, ExportSettings(copies=0))
        inner = left_by_a_killed_process(out / "a")
        export_tree(*tree, ExportSettings(copies=0))
        assert not inner.exists()
    else:
        assert main(["edit", str(images), "--store", str(store), "--per-image", "1"]) == 0
        assert main(["screen", str(store), "--out", str(out)]) == 0
    assert not left.exists()


@pytest.mark.parametrize("text", ["[1]", "no JSON", "[" * 100_000, ""])
def test_a_mark_that_is_none_is_named(tmp_path, text):
    (tmp_path / "mark.json").write_text(text)
    with pytest.raises(ValueError, match="mark.json cannot be read: name another folder"):
        read_mark(tmp_path / "mark.json")
