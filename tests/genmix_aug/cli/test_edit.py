"""`genmix edit`: a folder's edits, once, as they are or in squares."""

import re
import shutil
import sys
from pathlib import Path

import torch

from genmix_aug.cli.edits import chosen_screen, load_features, reference_files
from genmix_aug.cli.main import main
from genmix_aug.cli.options import EditorOptions, chosen_editor
from genmix_aug.digests import image_digest
from genmix_aug.editors import FilterEditor
from genmix_aug.edits import again as rescreening
from genmix_aug.edits import estimate
from genmix_aug.edits.store import EditStore
from genmix_aug.images import ImageFiles, find_images, load_rgb
from genmix_aug.prompts import CROSS_DOMAIN
from genmix_aug.screening.checks import Reference
from uda.augment.genmix import GenMixAugmentation

ROOT = Path(__file__).resolve().parents[3]


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


def test_a_dry_run_says_how_many_how_large_and_how_long(folder, tmp_path, capsys):
    arguments = ["edit", str(folder), "--store", str(tmp_path / "s"), "--per-image", "3"]
    assert main([*arguments, "--dry-run"]) == 0
    counted, measured = capsys.readouterr().out.splitlines()
    assert counted.startswith("3 images, 9 distinct edits wanted, 0 in")
    assert re.search(r"about [\d.]+ k?B of disk \([\d.]+ [kMGT]B free\) and, .*, \d+ s ", measured)
    assert "images/s, measured on 9" in measured, "filters takes all sizes together"
    assert not (tmp_path / "s").exists()


def test_a_dry_run_warms_up_with_the_batch_that_it_times(folder, tmp_path, monkeypatch):
    batches, edit_each = [], FilterEditor.edit_each
    monkeypatch.setattr(
        FilterEditor, "edit_each", lambda *args: batches.append(len(args[1])) or edit_each(*args)
    )
    arguments = ["edit", str(folder), "--store", str(tmp_path / "s"), "--batch-size", "4"]
    assert main([*arguments, "--dry-run"]) == 0
    assert batches == [4, 4]


def test_a_dry_run_says_that_the_disk_is_too_small(folder, tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: usage._replace(free=100))
    assert main(["edit", str(folder), "--store", str(tmp_path / "s"), "--dry-run"]) == 0
    assert "the disk is too small" in capsys.readouterr().out


def test_the_features_that_help_and_documents_name_exist():
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "genmix_aug/cli/edits.py"]
    names = {name for page in pages for name in re.findall(r"uda[.\w]+:\w+", page.read_text())}
    assert names
    for name in names:
        load_features(name)


def test_features_of_the_current_folder_are_found(folder, tmp_path, monkeypatch):
    """As an installed command runs: the current folder is not in its path."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "genmix_cli_own.py").write_text(
        "def mine(images):\n    return images.float().mean((2, 3))\n"
    )
    monkeypatch.chdir(work)
    installed = [folder for folder in sys.path if folder not in ("", str(work))]
    monkeypatch.setattr(sys, "path", installed)
    arguments = ["edit", str(folder), "--store", str(tmp_path / "s"), "--per-image", "1"]
    assert main([*arguments, "--features", "genmix_cli_own:mine"]) == 0
    records = list(EditStore(tmp_path / "s").entries())
    assert all("similarity" in record["scores"] for record in records)


def test_edits_that_features_have_not_seen_are_named(folder, tmp_path, capsys):
    store = str(tmp_path / "s")
    arguments = ["edit", str(folder), "--store", store, "--per-image", "1"]
    assert main(arguments) == 0
    assert "have not been compared" not in capsys.readouterr().out
    assert main([*arguments, "--features", "helpers.features:colours"]) == 0
    assert (
        f"3 were there already and have not been compared by features: `genmix screen {store}"
        in (capsys.readouterr().out)
    )


def test_an_editor_takes_a_gpu_unless_its_options_name_another_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    diffusion = EditorOptions(editor="instruct-pix2pix", editor_options="steps=5")
    assert (chosen_editor(diffusion).device, chosen_editor(diffusion).uses_gpu) == ("cuda:0", True)
    named = EditorOptions(editor="instruct-pix2pix", editor_options="device=cpu")
    assert (chosen_editor(named).device, chosen_editor(named).uses_gpu) == ("cpu", False)
    assert not chosen_editor(EditorOptions()).uses_gpu  # filters has no choice


def test_the_limit_of_similarity_is_that_of_an_even_sample(folder, tmp_path, monkeypatch):
    """Each worker reads the sample alone; where nothing is to be judged nobody does."""
    seen = []
    reference = Reference(torch.zeros(3), -1.0)
    monkeypatch.setattr(rescreening, "reference_of", lambda f: seen.append(f) or reference)
    monkeypatch.setattr(rescreening, "REFERENCE_IMAGES", 2)
    arguments = ["edit", str(folder), "--store", str(tmp_path / "s"), "--per-image", "1"]
    for _ in range(2):
        assert main([*arguments, "--features", "helpers.features:colours"]) == 0
    [whole] = seen
    assert len(whole) == 2
    sample = reference_files(ImageFiles(find_images(folder)))
    originals = torch.stack([load_rgb(sample.paths[0])])
    chosen_screen("helpers.features:colours", sample)(originals, originals)
    assert torch.equal(seen[1], whole)


def test_a_launcher_is_refused(folder, tmp_path, monkeypatch, capsys):
    """Its processes would all make the same edits."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["edit", str(folder), "--store", str(tmp_path / "s")]) == 1
    assert "start it without a launcher; --workers N" in capsys.readouterr().err


def test_the_manifest_finds_the_originals_again(folder, tmp_path):
    store = EditStore(tmp_path / "store")
    assert main(["edit", str(folder), "--store", str(store.root)]) == 0
    for record in store.entries():
        image = load_rgb(Path(record["folder"]) / record["source"])
        assert image_digest(image) == record["image"]
        assert record["reason"] == ""
        assert set(record["scores"]) == {"brightness", "contrast", "change"}


def test_edits_of_squares_are_those_that_training_asks_for(folder, tmp_path):
    store = EditStore(tmp_path / "store")
    arguments = ["edit", str(folder), "--store", str(store.root), "--per-image", "1"]
    assert main([*arguments, "--square-px", "20"]) == 0
    images = torch.stack([load_rgb(path, 20) for path in find_images(folder)])
    augmentation = GenMixAugmentation(num_fractals=1)
    keys = store.keys()
    augmentation.prepare(images, ["a", "b", "c"], store.root, seed=0)
    assert sorted(augmentation.keys) == store.keys() == keys
    assert len(list((store.root / "manifest").iterdir())) == 1, "nothing was made again"
