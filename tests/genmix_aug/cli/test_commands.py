"""The command `genmix`, and the image files it takes."""

import errno
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genmix_aug.cli import commands
from genmix_aug.cli.commands import shard_of
from genmix_aug.cli.main import main
from genmix_aug.contact_sheet import contact_sheet, save_png
from genmix_aug.editors import FilterEditor
from genmix_aug.edits import again as rescreening
from genmix_aug.edits import estimate
from genmix_aug.edits.plan import image_digest
from genmix_aug.edits.store import EditStore
from genmix_aug.images import find_images, load_rgb
from genmix_aug.prompts import CROSS_DOMAIN, PROMPT_SETS
from genmix_aug.screening.checks import Reference
from uda.augment.genmix import GenMixAugmentation

ROOT = Path(__file__).resolve().parents[3]


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
        FilterEditor, "edit_each", lambda *given: batches.append(len(given[1])) or edit_each(*given)
    )
    arguments = ["edit", str(folder), "--store", str(tmp_path / "s"), "--batch-size", "4"]
    assert main([*arguments, "--dry-run"]) == 0
    assert batches == [4, 4]


def test_features_of_the_current_folder_are_found(folder, tmp_path, monkeypatch):
    """As an installed command runs: only its own folder is looked through."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "genmix_cli_own.py").write_text(
        "def mine(images):\n    return images.float().mean((2, 3))\n"
    )
    monkeypatch.chdir(work)
    installed = [place for place in sys.path if place not in ("", str(work))]
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


def test_a_preview_takes_few_prompts_at_a_time(folder, tmp_path, monkeypatch):
    batches, edit_each = [], FilterEditor.edit_each
    monkeypatch.setattr(
        FilterEditor, "edit_each", lambda *given: batches.append(given[2]) or edit_each(*given)
    )
    out = ["--out", str(tmp_path / "sheet.png"), "--size", "16", "--count", "1"]
    assert main(["preview", str(folder), *out]) == 0
    assert [len(prompts) for prompts in batches] == [4, 4, 4, 3]
    assert [prompt for prompts in batches for prompt in prompts] == list(PROMPT_SETS["all"])


def test_a_dry_run_says_that_the_disk_is_too_small(folder, tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: usage._replace(free=100))
    assert main(["edit", str(folder), "--store", str(tmp_path / "s"), "--dry-run"]) == 0
    assert "the disk is too small" in capsys.readouterr().out


def test_under_torchrun_each_process_takes_its_own_gpu(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(commands, "make_editor", lambda name, given: taken.append(given) or Takes())
    for rank in ("0", "3", "5"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        commands.chosen_editor("instruct-pix2pix", "steps=5", ["snowy"])
    commands.chosen_editor("instruct-pix2pix", "device=cpu", ["snowy"])
    commands.chosen_editor("filters", "", ["snowy"])
    devices = [given.get("device") for given in taken]
    assert devices == ["cuda:0", "cuda:3", "cuda:1", "cpu", None]


class Takes:
    """An editor that takes any prompt."""

    prompts = ()


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
def test_screen_reads_squares_as_they_were_edited(folder, tmp_path, capsys):
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
    export += ["--out", str(tmp_path / "tree")]
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
    assert len(list((tmp_path / "out").iterdir())) == 2, "the figures are there"


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
        (["edit", "{images}", "--store", "s", "--shard", "9/8"], "--shard"),
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


@pytest.mark.parametrize("more", [["--out", "sheet.jpg"], ["--size", "2"]])
def test_a_sheet_that_cannot_be_is_found_before_edits_are_made(
    folder, tmp_path, monkeypatch, capsys, more
):
    monkeypatch.chdir(tmp_path)
    assert main(["edit", str(folder), "--store", "s"]) == 0

    def refuse(*_, **__):
        raise AssertionError("edited, or compared")

    monkeypatch.setattr(commands, "chosen_editor", refuse)
    monkeypatch.setattr(commands, "originals_of", refuse)
    assert main(["preview", str(folder), *more]) == 1
    if more[0] == "--size":
        assert main(["screen", "s", *more]) == 1
        assert "at least 16 px" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("images", "s")] == []


@pytest.mark.slow
def test_an_image_narrower_than_the_seam_is_named(folder, tmp_path, monkeypatch, capsys):
    """Before anything is written, though the others are wide enough."""
    monkeypatch.chdir(tmp_path)
    assert main(["edit", str(folder), "--store", "s"]) == 0
    capsys.readouterr()
    narrow = folder / "b" / "c.jpg"  # 17 px wide, 23 px high
    words = f"genmix: error: {narrow}: blend width 20 px does not fit an image side of 17 px"
    given = ["export", str(folder), "--store", "s", "--out", "out", "--blend-width", "20"]
    assert main(given) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["preview", str(folder), "--stages", "--blend-width", "20"]) == 1
    assert words in capsys.readouterr().err
    assert main([*given, "--sides", "top,bottom"]) == 0
    assert main([*given[:5], "out2", *given[6:], "--join", "mixup"]) == 0


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


def test_sheets_take_masks_and_any_shape(tmp_path):
    pictures = [torch.zeros(3, 10, 30, dtype=torch.uint8), torch.rand(9, 4)]
    sheet = contact_sheet([pictures], ["a very long row label " * 9], ["x", "y" * 200], 48)
    assert sheet.width < 48 * 5
    save_png(sheet, tmp_path / "s.png")
    with pytest.raises(ValueError, match="one label"):
        contact_sheet([pictures], ["a"], ["x"], 48)
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], [], ["x"], 48)
