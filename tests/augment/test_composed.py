"""Augmentations one after another."""

import numpy as np
import pytest
import torch
from helpers.tiny import arguments, make_dataset

from uda.augment import title_of_augmentation
from uda.cli.main import main
from uda.compute.seeding import seed_of
from uda.config import AugmentConfig, ComputeConfig, ImageConfig, TrainConfig
from uda.data.pixels import Labelled
from uda.runs.folder import find_runs
from uda.stages.options import augmentation_of
from uda.training.source_batches import EDITS, PARTS, SourceBatches
from uda.training.state import Loop

GENMIX = {"genmix": {"num_fractals": 2, "edits_per_image": 2}}


def composed(name):
    return augmentation_of(AugmentConfig(name, options=GENMIX))


def batches_of(augmentation, pictures):
    """Batches of all rows of a list of the pictures and a copy of each."""
    sizes = ImageConfig(pictures.shape[-1], pictures.shape[-1], pictures.shape[-1], flip=False)
    loop = Loop(sizes, 0, torch.device("cpu"), ComputeConfig())
    data = Labelled(pictures, torch.zeros(len(pictures), dtype=torch.long), [])
    settings = TrainConfig(batch_size=2 * len(pictures))
    return SourceBatches(data, augmentation, 1, 2, settings, loop)


def test_each_part_changes_what_it_changes_alone(pictures, tmp_path):
    both, genmix, randaugment = map(composed, ("genmix+randaugment", "genmix", "randaugment"))
    for augmentation in (both, genmix):
        augmentation.prepare(pictures, [str(k) for k in range(len(pictures))], tmp_path, 0)
    batches, count = batches_of(both, pictures), len(pictures)
    rows = torch.arange(2 * count)
    assert batches.is_augmented(rows).all()
    changed = batches._augmented(rows, epoch=3)
    expected = pictures[rows % count].clone()
    ids = list(range(count))
    copies = [seed_of(0, EDITS, 3, row) for row in range(count, 2 * count)]
    expected[count:] = genmix.images(expected[count:], ids, copies)
    seeds = [seed_of(0, PARTS, 1, 3, row) for row in rows.tolist()]
    assert torch.equal(changed, randaugment.images(expected, ids * 2, seeds))
    some = torch.tensor([1, count + 2])
    assert torch.equal(batches._augmented(some, epoch=3), changed[some])


def test_the_last_part_mixes_batches(pictures):
    both, mixup = composed("randaugment+mixup"), composed("mixup")
    images, targets = pictures.float() / 255, torch.eye(len(pictures))
    for ours, alone in zip(
        both.batch(images, targets, 5), mixup.batch(images, targets, 5), strict=True
    ):
        assert torch.equal(ours, alone)


def test_titles_join():
    assert title_of_augmentation("genmix+randaugment") == "GenMix + RandAugment"
    assert composed("genmix+randaugment").title == "GenMix + RandAugment"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("genmix+none", "none changes nothing; leave it out"),
        ("mixup+randaugment", "mixup mixes batches, so it can only stand last"),
        ("cutmix+mixup", "cutmix mixes batches"),
        ("genmix+genmix", "names an augmentation twice"),
        ("genmix+", "augment.name: '' is not one of"),
        ("genmix+sepia", "augment.name: 'sepia' is not one of"),
    ],
)
def test_what_makes_no_sense_is_named(name, message):
    with pytest.raises(ValueError, match="augment.name") as error:
        composed(name)
    assert message in str(error.value)


@pytest.mark.slow
def test_a_run_of_two_has_the_steps_of_one(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny", per_class=4)
    flags = arguments(dataset, tmp_path / "runs", "--data.target=Dark", "--adapt.method=adabn")
    for name in ("genmix", "genmix+randaugment"):
        assert main(["train", *flags, f"--augment.name={name}"]) == 0
    assert main(["adapt", *flags, "--augment.name=genmix+randaugment"]) == 0
    assert "augmentation genmix+randaugment" in capsys.readouterr().out
    runs = {run.augmentation: run for run in find_runs(tmp_path / "runs") if not run.is_adaptation}
    one, two = (runs[name].metrics("train")[-1] for name in ("genmix", "genmix+randaugment"))
    assert two["step"] == one["step"]
    assert two["augmented"] == two["images"] > one["augmented"]
    options = runs["genmix+randaugment"].augment["options"]
    assert options["genmix"] == runs["genmix"].augment["options"]
    assert options["randaugment"] == {"num_ops": 2, "magnitude": 9}
    assert np.isfinite(two["loss"])
    assert main(["report", str(tmp_path / "runs")]) == 0
    assert "AdaBN + GenMix + RandAugment" in capsys.readouterr().out
