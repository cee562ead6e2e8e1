"""What is true of every augmentation: of its images, its batches, its options and a whole run."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.looks import MadeLook
from helpers.tiny import arguments, make_dataset
from PIL import Image

from uda.augment import AUGMENTATIONS
from uda.augment.base import Augmentation
from uda.cli.main import main
from uda.config import AugmentConfig
from uda.runs.folder import find_runs
from uda.stages.options import augmentation_of

# What an augmentation changes. A new augmentation needs no entry: its tests go by its attributes.
CHANGES = {
    "none": "nothing",
    "genmix": "copies",
    "manifold_mixup": "features",
    **dict.fromkeys(
        (
            "mixup",
            "cutmix",
            "resizemix",
            "fmix",
            "smoothmix",
            "gridmix",
            "saliencymix",
            "guided_sr",
        ),
        "batches",
    ),
    **dict.fromkeys(("guided_ap", "snapmix", "puzzlemix", "comixup"), "batches by a look"),
    **dict.fromkeys(
        (
            "randaugment",
            "autoaugment",
            "fast_autoaugment",
            "trivialaugment",
            "yoco",
            "augmix",
            "pixmix",
            "ipmix",
        ),
        "every image",
    ),
}
FAST = {
    "genmix": {"num_fractals": 2, "edits_per_image": 2},
    "pixmix": {"num_fractals": 3},
    "ipmix": {"num_fractals": 3},
}


def random_states():
    """Return the states of the global generators, comparable by ==."""
    numpy = np.random.get_state()[1].tolist()
    return torch.get_rng_state().tolist(), random.getstate(), numpy


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_name_and_title_are_unique(name):
    augmentation = AUGMENTATIONS[name]
    assert augmentation.name == name
    assert [other.title for other in AUGMENTATIONS.values()].count(augmentation.title) == 1


@pytest.mark.parametrize(("name", "changes"), CHANGES.items())
def test_attributes_say_what_an_augmentation_changes(name, changes):
    augmentation = AUGMENTATIONS[name]
    assert augmentation.every_image == (changes == "every image")
    assert augmentation.copies == (changes == "copies")
    mixes = changes in ("batches", "batches by a look", "features")
    assert (augmentation.batch is not Augmentation.batch) == mixes
    assert augmentation.mixes_batches == mixes
    assert augmentation.looks == (changes == "batches by a look")


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_result_depends_on_image_id_and_seed_alone(name, pictures, tmp_path):
    augmentation = AUGMENTATIONS[name](**FAST.get(name, {}))
    names = [f"{number}.png" for number in range(6)]
    augmentation.prepare(pictures, names, tmp_path, seed=0)
    ids, seeds = [2, 0, 2, 1, 2, 5], [4, 9, 4, 2**62, 0, 7]
    images = pictures[ids]
    before, states = images.clone(), random_states()
    results = augmentation.images(images, ids, seeds)
    assert random_states() == states
    assert torch.equal(images, before)
    if not (augmentation.every_image or augmentation.copies):
        assert results is images
        return
    assert results.dtype == torch.uint8
    assert results.shape == images.shape
    for result, index, seed in zip(results, ids, seeds, strict=True):
        alone = augmentation.images(pictures[index][None], [index], [seed])
        assert torch.equal(alone[0], result)
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[4]), "the same image by another seed"
    assert not torch.equal(results, images)


def batch_of(augmentation, images, targets, seed):
    """Return the batch as the loop makes it."""
    if augmentation.looks:
        return augmentation.batch_by_look(images, targets, seed, MadeLook())
    return augmentation.batch(images, targets, seed)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_mixed_batch_depends_on_its_seed_alone(name, images, targets, layout):
    augmentation = AUGMENTATIONS[name]()
    images = images[..., 1:, :16] if name == "puzzlemix" else images  # it needs equal blocks
    images = images.contiguous(memory_format=layout)
    before, states = (images.clone(), targets.clone()), random_states()
    mixed, mixed_targets = batch_of(augmentation, images, targets, 3)
    assert random_states() == states
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])
    again = batch_of(augmentation, images, targets, 3)
    assert torch.equal(again[0], mixed)
    assert torch.equal(again[1], mixed_targets)
    assert mixed.shape == images.shape
    assert mixed.is_contiguous(memory_format=layout)
    assert (mixed.dtype, mixed_targets.dtype) == (torch.float32, torch.float32)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    if type(augmentation).batch is Augmentation.batch:
        assert mixed is images
        assert mixed_targets is targets
    elif CHANGES.get(name) == "features":
        assert mixed is images
    else:
        others = (batch_of(augmentation, images, targets, seed)[0] for seed in range(12))
        assert not all(torch.equal(mixed, other) for other in others)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_without_a_partner_is_mixed_with_itself(name, images, targets):
    options = {"transport": False} if name == "puzzlemix" else {}  # its blocks move apart
    alone, wanted = images[:1, :, 1:, :16], targets[:1]
    mixed, mixed_targets = batch_of(AUGMENTATIONS[name](**options), alone, wanted, 1)
    if name == "snapmix":  # whose weights need not add up to 1
        torch.testing.assert_close(mixed_targets / mixed_targets.sum(), wanted / wanted.sum())
    else:
        torch.testing.assert_close(mixed_targets, wanted)
    if name not in ("resizemix", "snapmix"):  # which paste it into itself, smaller
        torch.testing.assert_close(mixed, alone)


OUT_OF_RANGE = {
    "mixup": [({"alpha": 0.0}, "mixup.alpha")],
    "manifold_mixup": [
        ({"alpha": 0.0}, "manifold_mixup.alpha"),
        ({"layers": "input,deep"}, "manifold_mixup.layers: 'deep'"),
    ],
    "cutmix": [({"alpha": float("nan")}, "cutmix.alpha")],
    "resizemix": [
        ({"smallest": 0.0}, "resizemix: smallest 0.0"),
        ({"smallest": 0.9}, "resizemix: smallest 0.9 and largest 0.8"),
        ({"largest": 1.1}, "resizemix: .* largest 1.1"),
    ],
    "fmix": [({"alpha": -1.0}, "fmix.alpha"), ({"decay": -0.5}, "fmix.decay")],
    "smoothmix": [
        ({"smallest": 0.0}, "smoothmix: smallest 0.0"),
        ({"smallest": 0.6}, "smoothmix: smallest 0.6 and largest 0.5"),
        ({"probability": -0.1}, "smoothmix.probability"),
    ],
    "gridmix": [({"cells": 0}, "gridmix.cells"), ({"alpha": 0.0}, "gridmix.alpha")],
    "saliencymix": [({"alpha": 0.0}, "saliencymix.alpha")],
    "guided_sr": [({"probability": 1.5}, "guided_sr.probability")],
    "guided_ap": [({"probability": -0.1}, "guided_ap.probability")],
    "snapmix": [
        ({"alpha": 0.0}, "snapmix.alpha"),
        ({"probability": float("nan")}, "snapmix.probability"),
    ],
    "puzzlemix": [
        ({"alpha": 0.0}, "puzzlemix.alpha"),
        ({"beta": 0.0}, "puzzlemix.beta"),
        ({"gamma": 1.5}, "puzzlemix.gamma"),
        ({"eta": -0.1}, "puzzlemix.eta"),
        ({"epsilon": float("inf")}, "puzzlemix.epsilon"),
        ({"levels": 1}, "puzzlemix.levels"),
        ({"neighbourhood": 0}, "puzzlemix.neighbourhood"),
        ({"transport_px": 0}, "puzzlemix.transport_px"),
        ({"probability": 2.0}, "puzzlemix.probability"),
    ],
    "comixup": [
        ({"alpha": float("inf")}, "comixup.alpha"),
        ({"beta": -1.0}, "comixup.beta"),
        ({"gamma": float("nan")}, "comixup.gamma"),
        ({"eta": -1.0}, "comixup.eta"),
        ({"threshold": 1.1}, "comixup.threshold"),
        ({"omega": -0.1}, "comixup.omega"),
        ({"rounds": 0}, "comixup.rounds"),
        ({"part": 0}, "comixup.part"),
        ({"probability": -1.0}, "comixup.probability"),
    ],
    "randaugment": [
        ({"num_ops": 0}, "randaugment.num_ops"),
        ({"magnitude": 31}, "randaugment.magnitude"),
    ],
    "autoaugment": [
        ({"policy": "mnist"}, "autoaugment.policy: 'mnist'.* imagenet, cifar10, sv"),
    ],
    "fast_autoaugment": [({"policy": "cub"}, "fast_autoaugment.policy: 'cub' is not one of image")],
    "trivialaugment": [({"num_magnitude_bins": 1}, "trivialaugment.num_magnitude_bins")],
    "yoco": [({"base": "pixmix"}, "yoco.base: 'pixmix' is not one of randaugment")],
    "augmix": [
        ({"severity": 11}, "augmix.severity"),
        ({"mixture_width": 0}, "augmix.mixture_width"),
        ({"chain_depth": 0}, "augmix.chain_depth"),
        ({"alpha": 0.0}, "augmix.alpha"),
    ],
    "ipmix": [
        ({"chains": 0}, "ipmix.chains"),
        ({"steps": -1}, "ipmix.steps"),
        ({"beta": 0.0}, "ipmix.beta"),
        ({"severity": 0}, "ipmix.severity"),
        ({"patches": "4,,8"}, "ipmix.patches: '4,,8'"),
        ({"patches": "1"}, "ipmix.patches"),
        ({"num_fractals": 0}, "ipmix.num_fractals"),
    ],
    "pixmix": [
        ({"rounds": -1}, "pixmix.rounds"),
        ({"beta": 0.0}, "pixmix.beta"),
        ({"severity": 11}, "pixmix.severity"),
        ({"num_fractals": 0}, "pixmix.num_fractals"),
    ],
    "genmix": [
        ({"prompts": "winter"}, "genmix: unknown prompt 'winter': choose from in-"),
        ({"editor": "none"}, "genmix: unknown editor 'none': choose from filters"),
        ({"editor_options": "steps"}, "genmix: editor options: 'steps' is not KEY="),
        ({"editor_options": "steps=3"}, "genmix: editor filters has no option 'ste"),
        ({"screening": "eyes"}, "genmix.screening: 'eyes' is not one of pixels"),
        ({"join": "glue"}, "genmix: join must be one of seam"),
        ({"sides": "left,middle"}, "genmix: sides must be among left"),
        ({"blend_width": -2}, "genmix: blend_width must be px, 0"),
        ({"edits_per_image": 0}, "genmix.edits_per_image"),
    ],
}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [(name, *case) for name, cases in OUT_OF_RANGE.items() for case in cases],
)
def test_options_out_of_range_are_named(name, options, message):
    with pytest.raises(ValueError, match=f"augment.options.{message}"):
        AUGMENTATIONS[name](**options)


@pytest.mark.parametrize("options", [{"name": "guidedmixup"}, {"name": "genmix+guidedmixup"}])
def test_a_removed_name_says_what_took_its_place(options):
    with pytest.raises(ValueError, match="guidedmixup is no longer there: .* name guided_sr"):
        augmentation_of(AugmentConfig(**options))
    with pytest.raises(ValueError, match="name guided_sr"):
        augmentation_of(AugmentConfig(options={"guidedmixup": {"probability": 1.0}}))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_training_takes_as_many_steps(tmp_path, name):
    flags = arguments(make_dataset(tmp_path / "tiny"), tmp_path / "runs", f"--augment.name={name}")
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "runs")
    last = run.metrics("train")[-1]
    assert (last["step"], last["images"]) == (6, 48)
    if AUGMENTATIONS[name].copies:
        assert 0 < last["augmented"] < 48
        assert run.config["augment"]["copies"] > 0
    else:
        assert last["augmented"] == (48 if AUGMENTATIONS[name].every_image else 0)
        assert run.config["augment"]["copies"] == 0


@pytest.mark.slow
def test_the_sheet_draws_all_of_them(tmp_path):
    pictures = make_dataset(tmp_path / "tiny").parent / "pictures" / "Plain"
    command = [sys.executable, "scripts/augmentation_sheet.py", str(pictures), "--px", "32"]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "sheet.png")],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"6 pictures, {len(AUGMENTATIONS) - 2} augmentations" in done.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000
