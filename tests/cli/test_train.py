"""`uda train`: its mistakes, and what makes another run."""

from __future__ import annotations

import errno
import os

import pytest
from helpers.failing_disk import failing_disk
from PIL import Image

from genmix_aug.screening.checks import Verdict
from uda.cli.main import main
from uda.runs.folder import find_runs


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--data.source=Plane"], ["no domain 'Plane'", "Plain, Dark"]),
        (["--data.source="], ["data.source"]),
        (["--data.target=Plain"], ["data.target", "is the source too"]),
        (["--data.scenario=xda"], ["data.scenario", "opda, osda, pda"]),
        (["--data.dataset=nothing"], ["data.dataset", "emoji_home"]),
        (["--data.root=/nowhere"], ["/nowhere/Plain: no such folder"]),
        (["--augment.name=genmax"], ["augment.name", "'genmax'"]),
        (["--augment.name=genmix", "--augment.options.genmix={prompt: all}"], ["genmix.prompt"]),
        (["--augment.name=genmix", "--augment.options.genmix={prompts: some}"], ["'some'"]),
        (["--model.backbone=resnet19"], ["model.backbone", "'resnet19'"]),
        (["--device=cuda:99"], ["device", "cuda:99"]),
        (["--train.steps=0", "--train.epochs=0"], ["train.epochs"]),
        (["--train.rate=-1"], ["train.rate"]),
        (["--threads=-1"], ["threads"]),
        (["--data.target=Drak"], ["no domain 'Drak'"]),
        (["--augment.name=genmix", "--augment.options.genmix=[1]"], ["options.genmix", "mapping"]),
        (
            ["--augment.name=genmix", "--augment.options.genmix.num_fractals=0"],
            ["augment.options.genmix.num_fractals", "at least 1"],
        ),
        (["--train.batch_size=400"], ["train.batch_size", "400"]),
        (
            ["--model.bottleneck_dim=3"],
            ["adapt.method: lead needs", "3 for 3; say --model.bottleneck_dim 4, or another"],
        ),
    ],
)
def test_mistakes_in_training_get_one_line(fails_with, flags, more, words, runs):
    fails_with(["train", *flags, *more], *words)
    assert not runs.exists()  # nothing half-written


def test_training_goes_on_where_screening_rejects_every_edit(capsys, flags, monkeypatch, runs):
    def rejecting(originals, edits):
        return [Verdict("flat", {}) for _ in edits]

    monkeypatch.setattr("uda.augment.genmix.screen", rejecting)
    assert main(["train", *flags, "--augment.name=genmix"]) == 0
    assert "27 images stay as they are" in capsys.readouterr().out
    (run,) = find_runs(runs)
    assert run.is_done
    assert not (run.folder / "genmix_stages.png").exists()


def test_divergence_is_said(fails_with, flags, runs):
    fails_with(["train", *flags, "--train.rate=1e12"], "train.rate", "lower the rate")
    assert not list(runs.glob("*/done"))


def test_a_dataset_with_other_classes_is_another_run(flags, dataset, runs):
    assert main(["train", *flags]) == 0
    text = dataset.read_text()
    dataset.write_text(text.replace("- bar\n- cross\n", "- cross\n- bar\n"))
    assert dataset.read_text() != text
    assert main(["train", *flags]) == 0
    assert len(find_runs(runs)) == 2


def test_settings_that_decide_nothing_make_no_other_run(capsys, flags):
    for first, second in (
        ([], ["--train.epochs=7"]),  # steps are counted
        (["--train.steps=0", "--train.epochs=1"], ["--train.budget=epochs"]),  # without copies
    ):
        assert main(["train", *flags, *first]) == 0
        capsys.readouterr()
        assert main(["train", *flags, *first, *second]) == 0
        assert "Already trained" in capsys.readouterr().out


def test_a_broken_picture_is_named(fails_with, flags, dataset):
    broken = dataset.parent / "pictures" / "Plain" / "bar" / "00.png"
    broken.write_bytes(broken.read_bytes()[:60])
    fails_with(["train", *flags], str(broken), "remove or replace it")


def test_a_missing_class_is_named(fails_with, flags, dataset):
    for path in (dataset.parent / "pictures" / "Plain" / "disc").iterdir():
        path.unlink()
    fails_with(["train", *flags], "no picture of 'disc'")


def test_a_finished_run_is_not_done_again(capsys, flags):
    assert main(["train", *flags]) == 0
    capsys.readouterr()
    assert main(["train", *flags]) == 0
    assert "Already trained" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["P", "RGBA", "L", "I;16", "CMYK"])
def test_image_modes_are_converted(flags, dataset, mode):
    path = dataset.parent / "pictures" / "Plain" / "bar" / "00.png"
    image = Image.open(path).convert("L" if mode == "I;16" else mode)
    path.unlink()
    image.save(path.with_suffix(".jpg" if mode == "CMYK" else ".png"))
    assert main(["train", *flags, "--train.steps=1"]) == 0


def test_a_run_that_is_worked_on_is_left_alone(fails_with, flags, runs):
    assert main(["train", *flags]) == 0
    (run,) = find_runs(runs)
    (run.folder / "done").unlink()
    before = (run.folder / "metrics.jsonl").read_bytes()
    with run.lock():
        fails_with(["train", *flags], str(run.folder), str(os.getpid()), "at work")
    assert (run.folder / "metrics.jsonl").read_bytes() == before
    assert main(["train", *flags]) == 0
    assert run.is_done


def test_a_full_disk_is_a_line_and_the_same_command_goes_on(fails_with, flags, runs):
    words = ("checkpoint.pt: cannot be written: No space left on device (", "the same command goes")
    with failing_disk("write", errno.ENOSPC, ".pt"):
        fails_with(["train", *flags], *words)
    (run,) = find_runs(runs)
    assert not run.is_done
    assert not [path for path in run.folder.iterdir() if path.name.startswith((".", "checkpoint"))]
    assert main(["train", *flags]) == 0
    assert run.is_done
