"""Labels of the target decide no weight: only the evaluation reads them."""

import pytest
from helpers.tiny import arguments, make_dataset
from helpers.training import changed

from uda.cli.main import main
from uda.data import pixels
from uda.methods import METHODS
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


def adapt(source, runs, method):
    """Return the weights after adaptation, and the true labels written beside the answers."""
    dataset, checkpoint = source
    flags = [f"--adapt.method={method}", f"--adapt.checkpoint={checkpoint}", "--data.target=Dark"]
    assert main(["adapt", *arguments(dataset, runs, *flags)]) == 0
    (run,) = find_runs(runs)
    return read_checkpoint(run.checkpoint)["model"], run.predictions()["true_label"].tolist()


def permute_labels(dataset):
    """Give the pictures of each target class to another class of the target."""
    folder = dataset.parent / "pictures" / "Dark"
    classes = ("bar", "cross", "ring", "square")  # the target's under OPDA
    for name in classes:
        (folder / name).rename(folder / f"was {name}")
    for name, other in zip(classes, (*classes[1:], classes[0]), strict=True):
        (folder / f"was {name}").rename(folder / other)


@pytest.mark.parametrize("method", TRAINED)
def test_permuted_target_labels_change_no_weight(source, tmp_path, method):
    before, labels = adapt(source, tmp_path / "before", method)
    permute_labels(source[0])
    after, permuted = adapt(source, tmp_path / "after", method)
    assert sorted(labels) == sorted(permuted)
    assert labels != permuted
    assert not changed(before, after)


def test_the_order_of_folders_would_change_the_weights(source, tmp_path, monkeypatch):
    """Pictures in the order of their classes must fail the test above."""
    monkeypatch.setattr(pixels, "_sort_by_pixels", lambda images: list(range(len(images))))
    before, _ = adapt(source, tmp_path / "before", "lead")
    permute_labels(source[0])
    after, _ = adapt(source, tmp_path / "after", "lead")
    assert changed(before, after)
