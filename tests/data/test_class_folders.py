"""One reader of pictures and classes, for described datasets, trees of parts and `uda run`."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.in_domain_trees import picture
from helpers.tiny import CLASSES

from genmix_aug.images import IMAGE_SUFFIXES
from uda.config import DataConfig, Experiment
from uda.data.class_folders import left_out
from uda.data.folders import folder_pair_dataset, single_folder_dataset
from uda.data.items import domain_items
from uda.data.partition import in_domain_parts, passed_over, source_parts, target_items
from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec

PARTS = ("train", "test")


@pytest.fixture
def tree(tmp_path) -> Path:
    """Folders train and test with three pictures of dog and of kite each."""
    for part in PARTS:
        for label, name in enumerate(("dog", "kite")):
            for number in range(3):
                picture(tmp_path / "tree" / part / name / f"{number}.png", label)
    return tmp_path / "tree"


def parts_of(tree, runs):
    """The parts that `uda train --data.dataset TREE` trains and tests on."""
    spec = load_dataset_spec(str(single_folder_dataset(tree, runs).file))
    return in_domain_parts(Experiment(data=DataConfig(source=tree.name)), spec)


def experiment(**data):
    return Experiment(data=DataConfig(dataset="tiny", source="Plain", **data))


def items_of(experiment, spec):
    split = class_split(spec, experiment.data.scenario)
    return target_items(experiment, spec, split)


@pytest.mark.parametrize("suffix", [".ppm", ".pgm", ".JFIF", ".TIFF"])
def test_parts_may_have_any_ending(tree, tmp_path, suffix):
    for path in tree.rglob("*.png"):
        path.rename(path.with_suffix(suffix))
    parts = parts_of(tree, tmp_path / "runs")
    assert (len(parts.train), len(parts.test)) == (6, 6)


def test_every_command_knows_the_same_endings(spec, tmp_path):
    for number, suffix in enumerate(IMAGE_SUFFIXES):
        picture(spec.root / "Plain" / "bar" / f"more{number}.png", 0)
        shutil.move(
            spec.root / "Plain" / "bar" / f"more{number}.png",
            spec.root / "Plain" / "bar" / f"{number}{suffix}",
        )
    described = [item.path for item in domain_items(spec, "Plain")]
    pair = folder_pair_dataset(spec.root / "Plain", spec.root / "Dark", "auto", tmp_path / "runs")
    assert pair.num_source == len(described) == 20 + len(IMAGE_SUFFIXES)


@pytest.mark.parametrize("folder", [".ipynb_checkpoints", "@eaDir", "__MACOSX"])
def test_folders_of_systems_are_no_classes(tree, tmp_path, folder):
    for part in PARTS:
        for inner in (tree / part / folder, tree / part / "dog" / folder):
            shutil.copytree(tree / part / "kite", inner)
    (tree / "train" / "dog" / "._0.png").touch()
    parts = parts_of(tree, tmp_path / "runs")
    assert parts.classes == ("dog", "kite")
    assert (len(parts.train), len(parts.test)) == (6, 6)
    single = single_folder_dataset(tree / "train", tmp_path / "runs")
    assert load_dataset_spec(str(single.file)).classes == ("dog", "kite")


def test_pictures_of_a_class_may_lie_deeper(spec, tree, tmp_path):
    for folder in (spec.root / "Plain" / "bar", tree / "train" / "dog"):
        inner = folder / "2024" / "May"
        inner.mkdir(parents=True)
        shutil.move(next(folder.glob("*.png")), inner)
    assert len(domain_items(spec, "Plain")) == 20
    assert len(parts_of(tree, tmp_path / "runs").train) == 6


def test_a_class_to_train_on_has_pictures(spec, tree, tmp_path):
    runs = tmp_path / "runs"
    for path in [*(spec.root / "Plain" / "bar").iterdir(), *(tree / "train" / "kite").iterdir()]:
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(ValueError, match=r"train/kite: holds no picture to train on"):
        parts_of(tree, runs)
    with pytest.raises(ValueError, match="Tiny's Plain has no picture of 'bar' to train on"):
        in_domain_parts(experiment(), spec)
    with pytest.raises(ValueError, match="Tiny's Plain has no picture of 'bar' to train on"):
        source_parts(experiment(scenario="opda"), spec, class_split(spec, "opda"))
    no_picture = rf"no picture that can be read in {spec.root / 'Plain' / 'bar'}: put some there"
    with pytest.raises(ValueError, match=f"--source: {no_picture}"):
        folder_pair_dataset(spec.root / "Plain", spec.root / "Dark", "auto", runs)
    with pytest.raises(ValueError, match=f"data.dataset: {no_picture}"):
        single_folder_dataset(spec.root / "Plain", runs)
    assert not list(runs.glob("Plain*"))


def test_a_test_part_without_pictures_is_not_the_validation_part(tree, tmp_path):
    shutil.copytree(tree / "test", tree / "val")
    for path in (tree / "test").glob("*/*"):
        path.unlink()
    with pytest.raises(ValueError, match="holds no test pictures"):
        parts_of(tree, tmp_path / "runs")


def test_a_folder_under_two_names_is_refused(spec, tree, tmp_path):
    for folder, name in ((spec.root / "Plain", "bar"), (tree / "train", "dog")):
        (folder / "other").symlink_to(folder / name)
    both = replace(spec, classes=(*CLASSES, "other"))
    message = "its pictures are those of the class '{}', too; remove one of the links"
    with pytest.raises(ValueError, match=message.format("bar")):
        domain_items(both, "Plain")
    with pytest.raises(ValueError, match=message.format("bar")):
        folder_pair_dataset(spec.root / "Plain", spec.root / "Dark", "auto", tmp_path / "runs")
    with pytest.raises(ValueError, match=message.format("dog")):
        parts_of(tree, tmp_path / "runs")


def test_a_link_within_a_class_brings_its_pictures_once(spec):
    bar = spec.root / "Plain" / "bar"
    (bar / "again").symlink_to(bar)
    assert len(domain_items(spec, "Plain")) == 20


def test_a_class_that_is_a_link_to_nothing_is_named(tree, tmp_path):
    (tree / "train" / "ant").symlink_to("unmounted")
    with pytest.raises(ValueError, match="train/ant: a link that leads nowhere"):
        parts_of(tree, tmp_path / "runs")
    with pytest.raises(ValueError, match="train/ant: a link that leads nowhere"):
        folder_pair_dataset(tree / "train", tree / "test", "auto", tmp_path / "runs")


def test_what_is_passed_over_is_counted_and_named_in_a_line(spec, tree):
    plain = spec.root / "Plain"
    shutil.copytree(plain / "bar", plain / "whale" / "blue")
    shutil.copy(plain / "bar" / "00.png", plain / "loose.png")
    (plain / "disc" / "IMG_1.HEIC").touch()
    assert passed_over(spec, "Plain") == [
        f"Passed over in {plain}: 5 pictures in no class's folder "
        "(loose.png, whale/blue/00.png, whale/blue/01.png and 2 more)",
        f"Passed over in {plain}: 1 pictures (.heic 1), whose format is not read: convert them",
    ]
    assert passed_over(spec, "Dark") == []
    shutil.copy(plain / "loose.png", tree / "train")
    shutil.copytree(tree / "test" / "dog", tree / "more")
    described = replace(
        spec, root=tree.parent, domains={"tree": "tree"}, classes=(), reader="image_folder"
    )
    assert passed_over(described, "tree") == [
        f"Passed over in {tree}: 3 pictures in no class's folder "
        "(more/0.png, more/1.png, more/2.png)",
        f"Passed over in {tree / 'train'}: a picture in no class's folder (loose.png)",
    ]
    assert left_out(tree / "test", ["dog", "kite"]) == []


def test_classes_in_another_spelling_are_not_left_out_in_silence(spec):
    """A target of Ring and square would be adapted to on a part of its pictures."""
    dark = spec.root / "Dark"
    (dark / "ring").rename(dark / "Ri-ng")
    message = r"Dark/Ri-ng: would be left out, as the class is called 'ring': rename it \(uda data"
    with pytest.raises(ValueError, match=message):
        items_of(experiment(target="Dark", scenario="opda"), spec)
    (dark / "Ri-ng").rename(dark / "ring")
    shutil.copytree(dark / "ring", dark / "RING")  # no class lacks a folder: a line says it
    assert len(items_of(experiment(target="Dark", scenario="opda"), spec)) == 16
    assert "4 pictures in no class's folder (RING/00.png" in passed_over(spec, "Dark")[0]


def test_a_target_of_other_spelling_is_adapted_to_as_a_whole(tree, tmp_path):
    (tree / "test" / "dog").rename(tree / "test" / "Dog")
    (tree / "test" / "kite").rename(tree / "test" / "KITE")
    pair = folder_pair_dataset(tree / "train", tree / "test", "auto", tmp_path / "runs")
    assert pair.num_target == 6
    assert pair.sets.shared == ("dog", "kite")
    assert "Matched: the target's 'Dog' is the source's 'dog'" in pair.notes
    assert "Matched: the target's 'KITE' is the source's 'kite'" in pair.notes
