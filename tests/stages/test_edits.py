"""What a run logs of the edits it trains on, and prints where they have changed."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.tiny import arguments, make_dataset
from PIL import Image

from genmix_aug.edits.store import EditStore
from uda.augment.none import NoAugmentation
from uda.cli.main import main
from uda.runs.folder import Run, find_runs, open_run
from uda.stages.edits import draw_stages, log_prepared, prepare_edits


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run", {"stage": "train"})


def logged(run):
    wanted = ("seconds", "edits", "jpeg")
    return [{k: line[k] for k in wanted if k in line} for line in run.metrics("prepare")]


def test_what_was_prepared_is_logged_once(run, capsys):
    first = {"edits": "0123456789", "jpeg": 0}
    log_prepared(run, 2.0, first, "store")
    log_prepared(run, 0.5, first, "store")
    assert logged(run) == [{"seconds": 2.0, **first}]
    assert (run.folder / "metrics.jsonl").read_text().count("\n") == 1
    assert capsys.readouterr().out == ""


def test_changed_edits_are_reported_in_a_single_line(run, capsys):
    log_prepared(run, 2.0, {"edits": "0123456789", "jpeg": 0}, "store")
    other = {"edits": "abcdef0123", "jpeg": 3}
    for _ in range(2):
        log_prepared(run, 0.5, other, "store")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{run.folder}: the edits in store are not those that this run began")
    assert logged(run) == [{"seconds": 2.0, **other}]


def test_older_runs_and_augmentations_without_edits_print_nothing(run, capsys):
    run.log(kind="prepare", seconds=3.0)
    log_prepared(run, 1.0, {"edits": "0123456789", "jpeg": 0}, "store")
    assert logged(run)[0]["seconds"] == 3.0
    other = Run(run.folder.with_name("other"), {"stage": "train"})
    for seconds in (0.0, 0.2, 0.1):
        log_prepared(other, seconds, {}, "store")
    assert logged(other) == [{"seconds": 0.2}]
    assert capsys.readouterr().out == ""


def test_a_run_that_goes_on_with_changed_edits_reports_them(tmp_path, capsys):
    runs = tmp_path / "runs"
    flags = [*arguments(make_dataset(tmp_path), runs), "--augment.name=genmix"]
    assert main(["train", *flags]) == 0
    (run,) = find_runs(runs)
    (before,) = run.metrics("prepare")
    assert before["jpeg"] == 0

    def again():
        (run.folder / "done").unlink()
        (run.folder / "checkpoint.pt").unlink()
        capsys.readouterr()
        assert main(["train", *flags]) == 0
        return capsys.readouterr().out

    assert "not those that this run began with" not in again()
    store = Path(tmp_path / "edits")
    keys = EditStore(store).keys()
    pixels = {key: EditStore(store).read(key) for key in keys}
    shutil.rmtree(store)
    EditStore(store, "jpeg").write(pixels)
    printed = again()
    assert "the edits in" in printed
    assert "are not those that this run began with" in printed
    assert f"{len(pixels)} of {len(pixels)} edits in" in printed
    assert run.metrics("prepare")[0]["jpeg"] == len(pixels)


def test_an_augmentation_that_prepares_nothing_logs_nothing(run, monkeypatch):
    seconds = iter(range(10))
    monkeypatch.setattr("time.perf_counter", lambda: next(seconds))
    prepare_edits(SimpleNamespace(augmentation=NoAugmentation(), run=run), None)
    assert run.metrics("prepare") == []


def test_stages_are_drawn(tmp_path):
    image = torch.randint(0, 256, (3, 9, 9), dtype=torch.uint8)
    stages = [{"original": image, "mask": torch.ones(9, 9)}] * 2
    augmentation = SimpleNamespace(stages=lambda images, ids, seed: (["snowy", "autumn"], stages))
    run = open_run(tmp_path, "train", {})
    draw_stages(augmentation, SimpleNamespace(images=image[None]), 0, run)
    with Image.open(run.stages_png) as drawn:
        assert np.asarray(drawn).std() > 10


def test_nothing_is_drawn_where_an_augmentation_has_no_stages(tmp_path):
    images = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    run = open_run(tmp_path, "train", {})
    draw_stages(NoAugmentation(), SimpleNamespace(images=images), 0, run)
    assert not run.stages_png.exists()
