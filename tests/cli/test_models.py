"""Commands that ask a finished run, or bring a model in."""

from __future__ import annotations

import shlex

import pytest
import torch

from uda.cli.main import main
from uda.runs.folder import find_runs, open_run


def test_an_unfinished_or_broken_run_is_named(fails_with, flags, runs):
    assert main(["train", *flags]) == 0
    (run,) = find_runs(runs)
    (run.folder / "done").unlink()
    fails_with(["evaluate", str(run.folder), "--target=Dark"], "not finished")
    for content in ("", "stage: [", "stage: train\n"):
        (run.folder / "config.yaml").write_text(content)
        fails_with(["evaluate", str(run.folder)], str(run.folder / "config.yaml"))
        fails_with(["report", str(runs)], str(run.folder / "config.yaml"))


def test_evaluate_and_report_name_what_is_missing(fails_with, tmp_path, runs):
    fails_with(["evaluate", str(tmp_path)], "not a run's folder")
    fails_with(["report", str(tmp_path / "none")], "no such folder of runs")


def test_evaluate_finds_the_pictures_that_the_run_was_given(
    fails_with, dataset, flags, tmp_path, runs
):
    pictures, moved = dataset.parent / "pictures", tmp_path / "elsewhere"
    pictures.rename(moved)
    more = [f"--data.root={moved}", "--data.target=Dark", "--adapt.method=source_only"]
    assert main(["train", *flags, *more]) == 0
    assert main(["adapt", *flags, *more]) == 0
    (folder,) = runs.glob("source_only-*")
    assert main(["evaluate", str(folder)]) == 0
    moved.rename(pictures)  # back where the dataset's file says
    assert main(["evaluate", str(folder)]) == 0
    pictures.rename(tmp_path / "third")
    fails_with(["evaluate", str(folder)], f"{pictures / 'Dark'}: no such folder", "--root")
    assert main(["evaluate", str(folder), f"--root={tmp_path / 'third'}"]) == 0


@pytest.mark.parametrize(
    ("command", "more"),
    [("evaluate", []), ("predict", ["--out=a.csv"]), ("export", ["--out=model.onnx"])],
)
def test_a_glob_that_matches_several_runs(fails_with, tmp_path, monkeypatch, command, more):
    monkeypatch.chdir(tmp_path)
    runs = [open_run(tmp_path, "lead-s0", {"rate": rate}) for rate in (1, 2)]
    for run in runs:
        run.start()
    first, second = (str(run.folder) for run in runs)
    words = ["several runs given: name one", first, second]
    fails_with([command, first, second, *more], *words)
    fails_with([command, first, f"{second}/checkpoint.pt", *more], *words)
    if command != "predict":
        fails_with([command, first, "Dark", *more], "'Dark': name a single run")
    assert sorted(tmp_path.iterdir()) == sorted(run.folder for run in runs)


@pytest.mark.slow
def test_import_lead(fails_with, capsys, flags, tmp_path, runs):
    """A released source model of three classes becomes the start of an adaptation."""
    from helpers.released import head, network

    state = {f"backbone_layer.{k}": v for k, v in network("resnet18").state_dict().items()}
    state |= head(512, num_classes=3)
    theirs, ours = tmp_path / "theirs.pth", tmp_path / "our model.pt"
    torch.save({"epoch": 1, "model_state_dict": state}, theirs)
    assert main(["import-lead", str(theirs), "--out", str(ours)]) == 0
    wrote, _, adapt = capsys.readouterr().out.splitlines()
    assert wrote == f"wrote {ours}: resnet18, 3 classes, bottleneck of 12"
    arguments = shlex.split(adapt)[3:]
    assert arguments == [
        *("--model.backbone", "resnet18"),
        *("--model.head", "bottleneck_wn", "--model.bottleneck_dim", "12"),
        *("--adapt.checkpoint", str(ours)),
    ]
    assert main(["adapt", *flags, "--data.target=Dark", *arguments]) == 0
    (run,) = find_runs(runs)
    assert run.metrics("evaluate")[-1]["epoch"] == 2
    weight = run.load_checkpoint()["model"]["classifier.parametrizations.weight.original1"]
    assert torch.equal(weight, state["class_layer.fc.weight_v"])  # LEAD keeps the classifier
    more = ["--data.target=Dark", "--data.scenario=pda", *arguments]
    fails_with(["adapt", *flags, *more], str(ours), "a model of 3 classes", "has 5")


def test_import_lead_names_what_is_wrong(does_not_parse, fails_with, tmp_path):
    out = ["--out", str(tmp_path / "ours.pt")]
    fails_with(["import-lead", str(tmp_path / "no.pth"), *out], "no.pth: no such checkpoint")
    does_not_parse(["import-lead", "theirs.pth"], "out")
    torch.save({"model": {}}, tmp_path / "theirs.pth")
    arguments = ["import-lead", str(tmp_path / "theirs.pth"), *out]
    fails_with(arguments, "theirs.pth", "no key 'model_state_dict'")
    assert not (tmp_path / "ours.pt").exists()
