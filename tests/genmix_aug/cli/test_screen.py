"""`genmix screen`: reports, figures and rejections."""

import errno
from pathlib import Path

import pytest
import torch
from PIL import Image

from genmix_aug.cli.main import main
from genmix_aug.edits import again as rescreening
from genmix_aug.edits.store import EditStore
from genmix_aug.screening.checks import Reference

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_screen_reports_plots_and_rejects(folder, tmp_path, capsys, monkeypatch):
    store = EditStore(tmp_path / "store")
    edit = ["edit", str(folder), "--store", str(store.root), "--per-image", "6"]
    assert main([*edit, "--redraws", "1"]) == 0
    assert main(["screen", str(store.root), "--out", str(tmp_path / "plain")]) == 0
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["worst.png"]
    monkeypatch.syspath_prepend(ROOT / "tests")
    screen = ["screen", str(store.root), "--features", "helpers.features:colours"]
    assert main([*screen, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "similarities.png",
        "worst.png",
    ]
    assert "prompts, best first" in out
    records = list(store.entries())
    assert all(record["reason"] == "" for record in records), "a report rejects nothing"
    assert all("similarity" in record["scores"] for record in records)
    assert main(["screen", str(store.root), "--out", str(tmp_path / "later")]) == 0
    assert (tmp_path / "later" / "similarities.png").is_file(), "they are kept"
    strict = Reference(torch.zeros(3), 0.9)
    monkeypatch.setattr(rescreening, "reference_of", lambda features: strict)
    assert main([*screen, "--out", str(tmp_path / "out"), "--reject"]) == 0
    refused = store.rejected_keys()
    assert refused
    assert all(
        (record["reason"] == "unrecognisable") == (record["scores"]["similarity"] < 0.9)
        for record in store.entries()
    )
    capsys.readouterr()
    assert main([*edit, "--redraws", "1", "--features", "helpers.features:colours"]) == 0
    assert f"screening rejected {len(store.rejected_keys())} (" in capsys.readouterr().out
    assert set(refused) <= set(store.rejected_keys())


def test_screen_shows_edits_whose_originals_are_gone(folder, tmp_path, capsys):
    store = tmp_path / "store"
    assert main(["edit", str(folder), "--store", str(store), "--per-image", "1"]) == 0
    moved = folder.rename(tmp_path / "moved")
    assert main(["screen", str(store), "--out", str(tmp_path / "out")]) == 0
    features = ["--features", "helpers.features:colours", "--out", str(tmp_path / "out")]
    assert main(["screen", str(store), *features]) == 1
    assert "name their folder with --images" in capsys.readouterr().err
    assert main(["screen", str(store), *features, "--images", str(moved)]) == 0


@pytest.mark.slow
def test_screen_reads_squares_as_they_were_edited(folder, fractals, tmp_path, capsys):
    store = tmp_path / "store"
    arguments = [
        "edit",
        str(folder),
        "--store",
        str(store),
        "--per-image",
        "1",
        "--square-px",
        "20",
    ]
    assert main(arguments) == 0
    screen = ["screen", str(store), "--features", "helpers.features:colours"]
    assert main([*screen, "--out", str(tmp_path / "out")]) == 0
    assert main([*screen, "--out", str(tmp_path / "out"), "--images", str(folder)]) == 0
    export = ["export", str(folder), "--store", str(store), "--per-image", "1"]
    export += ["--out", str(tmp_path / "tree"), *fractals]
    assert main(export) == 1
    assert "lacks an edit" in capsys.readouterr().err
    assert main([*export, "--square-px", "20"]) == 0
    with Image.open(tmp_path / "tree" / "b" / "c_genmix1.png") as copy:
        assert copy.size == (20, 20)


def test_a_report_needs_no_writing_to_the_store(folder, tmp_path, monkeypatch):
    store = EditStore(tmp_path / "store")
    assert main(["edit", str(folder), "--store", str(store.root), "--per-image", "1"]) == 0

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(EditStore, "record", refuse)
    screen = ["screen", str(store.root), "--features", "helpers.features:colours"]
    assert main([*screen, "--out", str(tmp_path / "out")]) == 1
    assert len(list((tmp_path / "out").iterdir())) == 2, "the figures are written"
