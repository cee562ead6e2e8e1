"""`uda pretrain` and `uda probe`: mistakes, what makes another run, and what a backbone is for."""

from __future__ import annotations

import json
import os

import pytest
import torch
from helpers.tiny import arguments
from safetensors.torch import load_file

from uda.cli.main import main
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs
from uda.stages import probe as module


@pytest.fixture
def flags(dataset, runs):
    small = ["--pretrain.options.simsiam.dim=16", "--pretrain.options.moco_v2.dim=16"]
    return [*arguments(dataset, runs), "--data.scenario=", "--train.steps=4", *small]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """The tiny network has no ImageNet weights; a random one stands for EfficientNet's."""
    build = module.backbone_model

    def offline(experiment):
        if experiment.model.weights == "imagenet":
            if experiment.model.backbone != module.FALLBACK:
                raise ValueError("model.weights: no imagenet weights of it; name a local file")
            tiny = {"backbone": "timm:test_efficientnet", "weights": "none"}
            model = module.replace(experiment.model, **tiny)
            experiment = module.replace(experiment, model=model, seed=9)
        return build(experiment)

    monkeypatch.setattr(module, "backbone_model", offline)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--pretrain.method=byol"], ["pretrain.method: 'byol' is not one of moco_v2, simsiam"]),
        (["--pretrain.pairing=both"], ["pretrain.pairing", "neither list nor pair"]),
        (["--pretrain.options.moco_v2.queue=12"], ["moco_v2.queue: 12 keys", "batch_size 8"]),
        (["--pretrain.options.moco_v2.bn_splits=3"], ["moco_v2.bn_splits", "3 equal groups"]),
        (["--pretrain.options.moco_v2.size=3"], ["pretrain.options.moco_v2.size: unknown"]),
        (["--pretrain.options.simsiam.dim=x"], ["simsiam.dim: 'x' is not a int"]),
        (["--augment.name=cutmix"], ["augment.name: cutmix mixes the pictures of a batch"]),
        (["--augment.name=genmix+mixup"], ["augment.name: genmix+mixup mixes"]),
        (["--train.ema=0.9"], ["train.ema", "leave it at 0"]),
        (["--train.accumulate=2"], ["train.accumulate", "leave it at 1"]),
        (["--model.frozen=true"], ["model.frozen"]),
        (["--train.batch_size=64"], ["train.batch_size: 64 is more than the 35"]),
        (["--train.batch_size=24"], ["moco_v2.queue: half of the 35 pictures are fewer"]),
        (
            ["--augment.name=genmix", "--augment.copies=2", "--pretrain.pairing=pair"],
            ["augment.copies", "--pretrain.pairing list"],
        ),
    ],
    ids=str,
)
def test_mistakes_in_pretraining_get_one_line(fails_with, flags, runs, more, words):
    fails_with(["pretrain", *flags, *more], *words)
    assert not runs.exists()  # nothing half-written


def test_several_processes_must_share_the_groups(fails_with, flags, monkeypatch):
    monkeypatch.setattr("uda.pretraining.moco_v2.count", lambda: 3)
    fails_with(["pretrain", *flags], "bn_splits: 4 groups cannot be shared evenly by 3 processes")


def test_divergence_is_said(fails_with, flags, runs):
    fails_with(["pretrain", *flags, "--train.rate=1e12"], "train.rate", "lower the rate")
    assert not list(runs.glob("*/done"))


def test_a_finished_run_is_not_done_again(capsys, flags):
    assert main(["pretrain", *flags]) == 0
    assert main(["pretrain", *flags, "--train.label_smoothing=0", "--model.head=linear"]) == 0
    assert "Already pretrained" in capsys.readouterr().out


def test_a_run_that_is_worked_on_is_left_alone(fails_with, flags, runs):
    assert main(["pretrain", *flags]) == 0
    (run,) = find_runs(runs)
    (run.folder / "done").unlink()
    with run.lock():
        fails_with(["pretrain", *flags], str(run.folder), str(os.getpid()), "at work")


def test_pairings_are_other_runs_where_pictures_are_augmented(flags, runs):
    for more in ([], ["--augment.name=genmix"]):
        for pairing in ("list", "pair"):
            assert main(["pretrain", *flags, *more, f"--pretrain.pairing={pairing}"]) == 0
    names = [run.folder.name for run in find_runs(runs)]
    assert [("-none-" in name, "-genmix-" in name) for name in sorted(names)] == [
        *[(False, True)] * 2,
        (True, False),
    ]
    steps = {run.metrics("pretrain")[-1]["step"] for run in find_runs(runs)}
    assert steps == {4}, "as many in every row"


def test_training_starts_from_the_backbone(flags, runs, monkeypatch):
    assert main(["pretrain", *flags]) == 0
    (run,) = find_runs(runs)
    weights = load_file(run.backbone)
    trained = read_checkpoint(run.checkpoint)["model"]
    for name, value in weights.items():
        assert torch.equal(trained[f"backbone.{name}"], value)
    rate = ["--train.rate=1e-12", "--train.steps=1"]
    assert main(["train", *flags, *rate, f"--model.weights={run.backbone}"]) == 0
    (other,) = (run for run in find_runs(runs) if not run.is_pretraining)
    after = read_checkpoint(other.checkpoint)["model"]
    first = next(name for name in weights if name.endswith("conv.weight") or "conv_stem" in name)
    assert torch.allclose(after[f"backbone.{first}"], weights[first], atol=1e-6)


def test_a_backbone_is_no_classifier(fails_with, flags, runs, tmp_path):
    assert main(["pretrain", *flags]) == 0
    (run,) = find_runs(runs)
    words = (str(run.folder), "without a classifier; uda probe scores it", str(run.backbone))
    fails_with(["evaluate", str(run.folder)], *words)
    fails_with(["predict", str(run.folder), str(tmp_path / "tiny" / "pictures")], *words)
    fails_with(["report", str(runs)], "no")


# ---- uda probe


def test_probe_scores_each_run_and_prints_a_row_for_runs_that_differ_in_their_seeds(
    capsys, flags, runs, fails_with
):
    for more in ([], ["--augment.name=genmix"]):
        for seed in (0, 1):
            assert main(["pretrain", *flags, *more, f"--seed={seed}"]) == 0
    folders = [str(run.folder) for run in find_runs(runs)]
    capsys.readouterr()
    assert main(["probe", *folders]) == 0
    printed = capsys.readouterr().out
    assert "efficientnet_lite0 stands in its place" in printed
    assert "top-1 on 10 held-out pictures of 5 classes, learnt from 35" in printed
    lines = [line.split("  ") for line in printed.splitlines()]
    rows = {line[0]: [cell for cell in line[1:] if cell] for line in lines if len(line) > 2}
    assert list(rows)[1:] == [
        "MoCo v2 + GenMix",
        "MoCo v2",
        "random network",
        "ImageNet (efficientnet_lite0)",
    ]
    scores = [json.loads((run.folder / "probe.json").read_text()) for run in find_runs(runs)]
    plain = [
        s for s, run in zip(scores, find_runs(runs), strict=True) if "-none-" in run.folder.name
    ]
    mean = sum(score["linear"] for score in plain) / 2
    assert rows["MoCo v2"][1].strip().startswith(f"{mean:.1f} ± ")
    assert rows["random network"][0].strip() == "2"
    assert rows["ImageNet (efficientnet_lite0)"][0].strip() == "1"
    assert "MoCo v2 + GenMix − MoCo v2, by 2 seeds: linear probe" in printed
    assert main(["probe", folders[0]]) == 0
    again = capsys.readouterr().out
    assert "by 2 seeds" not in again
    assert json.loads((find_runs(runs)[0].folder / "probe.json").read_text()) == scores[0]
    other = ["--images.crop_px=24", "--seed=1"]
    assert main(["pretrain", *flags, *other]) == 0
    (new,) = {str(run.folder) for run in find_runs(runs)} - set(folders)
    fails_with(["probe", folders[0], new], new, "images are not those of", "one after the other")


def test_rows_of_one_title_say_what_tells_them_apart(capsys, flags, runs):
    for rate in (0.01, 0.02):
        assert main(["pretrain", *flags, f"--train.rate={rate}", "--train.steps=1"]) == 0
    capsys.readouterr()
    assert main(["probe", *(str(run.folder) for run in find_runs(runs))]) == 0
    printed = capsys.readouterr().out
    assert "MoCo v2 (train.rate 0.01) " in printed
    assert "MoCo v2 (train.rate 0.02) " in printed


def test_what_cannot_be_probed_is_named(fails_with, flags, runs):
    assert main(["train", *flags]) == 0
    (trained,) = find_runs(runs)
    fails_with(["probe", str(trained.folder)], "not a run of uda pretrain; uda evaluate")
    fails_with(["probe", str(runs)], "not a run's folder")
    assert main(["pretrain", *flags]) == 0
    (run,) = (run for run in find_runs(runs) if run.is_pretraining)
    (run.folder / "done").unlink()
    fails_with(["probe", str(run.folder)], str(run.folder), "not finished")
    assert main(["pretrain", *flags, "--data.scenario=opda"]) == 0
    (run,) = (run for run in find_runs(runs) if run.is_pretraining and run.scenario)
    fails_with(["probe", str(run.folder)], "no pictures are held out", "data.scenario")
