"""`genmix edit`: a folder's edits, once, in shards or squares."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from genmix_aug.cli.edits import load_features, shard_of
from genmix_aug.cli.main import main
from genmix_aug.cli.options import EditorOptions, chosen_editor
from genmix_aug.editors import FilterEditor
from genmix_aug.edits import again as rescreening
from genmix_aug.edits import estimate
from genmix_aug.edits.keys import image_digest
from genmix_aug.edits.store import EditStore
from genmix_aug.images import find_images, load_rgb
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


def test_under_torchrun_each_process_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    diffusion = EditorOptions(editor="instruct-pix2pix", editor_options="steps=5")
    for rank, device in (("0", "cuda:0"), ("3", "cuda:3"), ("5", "cuda:1")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert chosen_editor(diffusion).device == device
    named = EditorOptions(editor="instruct-pix2pix", editor_options="device=cpu")
    assert chosen_editor(named).device == "cpu"
    chosen_editor(EditorOptions())  # filters has no choice


def test_every_shard_sets_the_same_limit(folder, tmp_path, monkeypatch):
    sizes = []
    reference = Reference(torch.zeros(3), -1.0)
    monkeypatch.setattr(rescreening, "reference_of", lambda f: sizes.append(len(f)) or reference)
    more = ["--features", "helpers.features:colours", "--per-image", "1"]
    for number in (1, 2):
        arguments = ["edit", str(folder), "--store", str(tmp_path / "s"), "--shard", f"{number}/2"]
        assert main([*arguments, *more]) == 0
    assert sizes == [3, 3], "of all three images, whatever the shard"
    assert main([*arguments, *more]) == 0
    assert sizes == [3, 3], "not read where nothing is to be judged"


def test_shards_make_together_what_one_process_makes(folder, tmp_path, capsys, monkeypatch):
    def arguments(store, *more):
        return ["edit", str(folder), "--store", str(tmp_path / store), "--per-image", "2", *more]

    assert main(arguments("alone")) == 0
    for number in (1, 2):
        assert main(arguments("shards", "--shard", f"{number}/2")) == 0
    assert "2 edits of 1 images (shard 2 of 2)" in capsys.readouterr().out
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert main(arguments("torchrun")) == 0
    keys = EditStore(tmp_path / "alone").keys()
    assert len(keys) == 6
    assert EditStore(tmp_path / "shards").keys() == EditStore(tmp_path / "torchrun").keys() == keys


@pytest.mark.parametrize("text", ["2", "0/2", "3/2", "a/b", "1/2/3", "/"])
def test_senseless_shards_are_refused(text):
    with pytest.raises(ValueError, match="--shard"):
        shard_of(text, {})


def test_the_command_line_wins_over_torchrun():
    assert shard_of("", {}) == (0, 1)
    assert shard_of("", {"RANK": "3", "WORLD_SIZE": "4"}) == (3, 4)
    assert shard_of("2/8", {"RANK": "3", "WORLD_SIZE": "4"}) == (1, 8)


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
