"""`uda adapt`: its mistakes, and what the target's labels do not reach."""

from __future__ import annotations

import shutil

import pytest
import yaml

from uda.cli.main import main
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("neighbours=0", ["adapt.options.lead.neighbours", "at least 1"]),
        ("cluster_every=0", ["adapt.options.lead.cluster_every"]),
        ("ce_weight=much", ["adapt.options.lead.ce_weight", "'much' is not a float"]),
        ("clusters=umap", ["adapt.options.lead.clusters", "tsne, features"]),
    ],
)
def test_wrong_options_of_lead_are_named(fails_with, flags, option, words):
    assert main(["train", *flags]) == 0
    more = ["--data.target=Dark", f"--adapt.options.lead.{option}"]
    fails_with(["adapt", *flags, *more], *words)


def test_as_many_dimensions_as_classes_are_too_few_for_lead_alone(fails_with, flags):
    options = [*flags, "--model.bottleneck_dim=3", "--data.target=Dark", "--train.steps=1"]
    assert main(["train", *options, "--adapt.method=glc"]) == 0
    fails_with(["adapt", *options], "adapt.method: lead needs", "--model.bottleneck_dim 4")


def test_one_source_class(flags, dataset):
    spec = yaml.safe_load(dataset.read_text())
    spec["scenarios"]["osda"] = {"shared": [0, 1], "target_private": [1, 5]}
    dataset.write_text(yaml.safe_dump(spec, sort_keys=False))
    options = [*flags, "--data.scenario=osda", "--data.target=Dark"]
    assert main(["train", *options, "--train.batch_size=4"]) == 0
    assert main(["adapt", *options, "--train.batch_size=4"]) == 0


def test_both_stages_say_which_pictures_they_pass_over(capsys, flags, dataset):
    options = [*flags, "--data.target=Dark", "--train.steps=1", "--adapt.method=source_only"]
    for command, domain in (("train", "Plain"), ("adapt", "Dark")):
        folder = dataset.parent / "pictures" / domain
        shutil.copy(folder / "bar" / "00.png", folder)
        assert main([command, *options]) == 0
        line = f"Passed over in {folder}: a picture in no class's folder (00.png)"
        assert line in capsys.readouterr().out


def test_adapt_wants_a_target_and_a_trained_source(fails_with, flags):
    fails_with(["adapt", *flags], "data.target")
    fails_with(["adapt", *flags, "--data.target=Dark"], "run `uda train`")


def test_a_checkpoint_of_another_class_count_is_named(fails_with, flags, runs):
    assert main(["train", *flags]) == 0
    (run,) = find_runs(runs)
    path = run.folder / "checkpoint.pt"
    more = ["--data.target=Dark", "--data.scenario=pda", f"--adapt.checkpoint={path}"]
    fails_with(["adapt", *flags, *more], str(path), "a model of 3 classes", "has 5")
    path.write_bytes(b"nothing")
    fails_with(["adapt", *flags, "--data.target=Dark"], str(path))


@pytest.mark.parametrize(
    ("source", "words"),
    [("", "data.source: name the domain"), ("Plane", "no domain 'Plane'; it has Plain, Dark")],
)
def test_a_checkpoint_wants_a_source_domain(fails_with, flags, tmp_path, source, words):
    path = tmp_path / "s.pt"
    path.write_bytes(b"a model")
    more = [f"--data.source={source}", "--data.target=Dark", f"--adapt.checkpoint={path}"]
    fails_with(["adapt", *flags, *more], words)


def test_a_source_model_that_is_not_finite_is_named_and_nothing_is_done(fails_with, flags, runs):
    assert main(["train", *flags]) == 0
    (source,) = find_runs(runs)
    state = read_checkpoint(source.checkpoint)
    state["model"]["classifier.bias"][0] = float("nan")
    source.save_checkpoint(state)
    words = (str(source.checkpoint), "classifier.bias: 1 of 3 values are not finite")
    fails_with(["adapt", *flags, "--data.target=Dark", "--adapt.method=source_only"], *words)
    assert [run.is_done for run in find_runs(runs)] == [True]
