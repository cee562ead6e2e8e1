"""Labels of the target decide no weight and no choice: they are read to score, afterwards."""

import numpy as np
import pytest
import torch
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main
from uda.data import pixels
from uda.methods import METHODS
from uda.models.backbones import build_backbone
from uda.reports.choices import CUTS, EPOCHS, epoch_choices, threshold_choices
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs

TRAINED = sorted(name for name, method in METHODS.items() if method.trains != "nothing")


@pytest.fixture
def source(tmp_path):
    """A dataset and the checkpoint of a source model."""
    dataset = make_dataset(tmp_path)
    assert main(["train", *arguments(dataset, tmp_path / "source")]) == 0
    (run,) = find_runs(tmp_path / "source")
    return dataset, run.checkpoint


def adapt(source, runs, method, *more):
    """Adapt to the target; return the run."""
    dataset, checkpoint = source
    flags = [f"--adapt.method={method}", f"--adapt.checkpoint={checkpoint}", "--data.target=Dark"]
    flags += more
    assert main(["adapt", *arguments(dataset, runs, *flags)]) == 0
    (run,) = find_runs(runs)
    return run


def choices_without_labels(run):
    """Return the epoch and threshold of each criterion but the oracle."""
    chosen = {**epoch_choices(run), **threshold_choices(run)}
    return {name: value for name, (value, _) in chosen.items() if name != "oracle"}


def permute_labels(dataset):
    """Deal the target's pictures out to other classes, as many to each."""
    classes = ("bar", "cross", "ring", "square")  # the target's under OPDA
    folder = dataset.parent / "pictures" / "Dark"
    files = sorted(file for name in classes for file in (folder / name).iterdir())
    contents = [file.read_bytes() for file in files]
    for file, row in zip(files, np.random.default_rng(0).permutation(len(files)), strict=True):
        file.write_bytes(contents[row])


def same_weights(first, second):
    ours, theirs = (read_checkpoint(run.checkpoint)["model"] for run in (first, second))
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("method", TRAINED)
def test_permuted_target_labels_change_scores_alone(source, tmp_path, method):
    before = adapt(source, tmp_path / "before", method)
    permute_labels(source[0])
    after = adapt(source, tmp_path / "after", method)
    assert same_weights(before, after)
    choices = choices_without_labels(before)
    assert choices.keys() == {*EPOCHS, *CUTS} - {"oracle"}
    assert choices == choices_without_labels(after)
    first, second = (run.metrics("evaluate")[-1]["auroc"] for run in (before, after))
    assert first != second


def with_neighbours(source, folder, kind):
    """Adapt before and after labels are permuted; return both runs."""
    flags = f"--adapt.neighbours={kind}", f"--compute.cache={folder / 'cache'}"
    if kind == "frozen":  # of a file of weights, as none are installed for the tiny network
        weights = folder / "backbone.pth"
        torch.save(build_backbone("timm:test_efficientnet", "none")[0].state_dict(), weights)
        flags += (f"--model.weights={weights}",)
    before = adapt(source, folder / "before", "lead", *flags)
    permute_labels(source[0])
    return before, adapt(source, folder / "after", "lead", *flags)


def test_neighbours_of_frozen_features_are_the_same_with_permuted_labels(source, tmp_path):
    before, after = with_neighbours(source, tmp_path, "frozen")
    assert same_weights(before, after)
    first, second = (run.metrics("neighbours")[-1]["purity"] for run in (before, after))
    assert first != second


def test_an_oracles_neighbours_are_the_exception(source, tmp_path):
    """They come from the target's labels, and the configuration says so."""
    before, after = with_neighbours(source, tmp_path, "oracle")
    assert not same_weights(before, after)
    for run in (before, after):
        assert run.adapt["neighbours"] == "oracle"
        assert run.metrics("neighbours")[-1]["purity"] == 100


def test_the_order_of_folders_would_change_them(source, tmp_path, monkeypatch):
    """Sees the test above fail on its fault: pictures in the order of their classes."""
    monkeypatch.setattr(pixels, "_sort_by_pixels", lambda images: list(range(len(images))))
    before = adapt(source, tmp_path / "before", "lead")
    permute_labels(source[0])
    assert not same_weights(before, adapt(source, tmp_path / "after", "lead"))
