import shutil
from collections import Counter

import pytest
from helpers.in_domain_trees import (
    CLASSES,
    TEST,
    TRAIN,
    TREES,
    VALIDATION,
    pixels,
    without_checksums,
)
from helpers.tiny import arguments

from uda.cli.main import main
from uda.config import DataConfig, Experiment
from uda.data.archives import READERS
from uda.data.partition import in_domain_parts
from uda.data.pixels import PixelStore
from uda.data.spec import load_dataset_spec
from uda.runs.folder import find_runs

WITH_VALIDATION = ("flowers_102", "fgvc_aircraft")


@pytest.fixture(autouse=True)
def _miniature(monkeypatch):
    without_checksums(monkeypatch)


def parts_of(dataset, root, **settings):
    spec = load_dataset_spec(dataset, str(root))
    (domain,) = spec.domains
    data = DataConfig(dataset=dataset, source=domain, **settings)
    return in_domain_parts(Experiment(data=data), spec)


def sizes(parts):
    return [
        set(Counter(item.class_name for item in items).values())
        for items in (parts.train, parts.validation, parts.test)
    ]


@pytest.mark.parametrize("dataset", TREES)
def test_the_real_layout_is_read(dataset, tmp_path):
    TREES[dataset](tmp_path)
    parts = parts_of(dataset, tmp_path)
    has_validation = dataset in WITH_VALIDATION
    assert sizes(parts) == [{TRAIN + VALIDATION * has_validation}, set(), {TEST}]
    paths = [item.path for item in [*parts.train, *parts.test]]
    assert len(set(paths)) == len(paths)
    number = {name: label for label, name in enumerate(parts.classes)}
    for items in (parts.train, parts.test):
        view = PixelStore().labelled(items, number, 16)
        # The brightest colour of each picture shows its class.
        assert (view.images.float().mean(dim=(2, 3)).argmax(dim=1) == view.labels).all()
        assert set(view.labels.tolist()) == set(range(CLASSES))


@pytest.mark.parametrize("dataset", WITH_VALIDATION)
def test_an_official_validation_part_is_not_changed(dataset, tmp_path):
    TREES[dataset](tmp_path)
    parts = parts_of(dataset, tmp_path, validation=0.5)
    assert sizes(parts) == [{TRAIN}, {VALIDATION}, {TEST}]
    few = parts_of(dataset, tmp_path, validation=0.5, images_per_class=2)
    assert sizes(few) == [{2}, {VALIDATION}, {TEST}]


def test_pictures_of_an_archive_keep_their_pixels(tmp_path):
    TREES["cifar_100"](tmp_path)
    items = parts_of("cifar_100", tmp_path).train
    images = PixelStore().decode(items, 32)
    assert (images[5].permute(1, 2, 0).numpy() == pixels(1, 5, 32)).all()


def test_folders_of_train_val_and_test(tmp_path):
    TREES["imagenet_1k"](tmp_path)
    folder = tmp_path / "imagenet"
    shutil.copytree(folder / "val", folder / "test")
    for path in (folder / "val").glob("*/*0.JPEG"):
        path.unlink()
    parts = parts_of("imagenet_1k", tmp_path, validation=0.5)
    assert len(parts.validation) < len(parts.test) == CLASSES * TEST
    (folder / "test" / "n0000000").mkdir()
    with pytest.raises(ValueError, match=r"test/n0000000: a class that .*train lacks"):
        parts_of("imagenet_1k", tmp_path)


@pytest.mark.parametrize("dataset", TREES)
def test_missing_files_are_named_with_advice(dataset, tmp_path):
    with pytest.raises(ValueError, match="--data.root") as caught:
        parts_of(dataset, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / next(iter(load_dataset_spec(dataset).domains.values()))) in str(
        caught.value
    )


def test_broken_archives_are_named(tmp_path):
    TREES["cub_200"](tmp_path)
    (tmp_path / "CUB_200_2011" / "train_test_split.txt").write_text("1 1\n")
    with pytest.raises(ValueError, match="the picture 2 of images.txt has no class or no part"):
        parts_of("cub_200", tmp_path)
    TREES["tiny_imagenet"](tmp_path)
    annotations = tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    annotations.write_text("val_0.JPEG\tn000\t0\n")
    with pytest.raises(ValueError, match=r"val_annotations.txt: 'n000' is no class"):
        parts_of("tiny_imagenet", tmp_path)


def test_a_pickle_with_another_checksum_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.undo()
    TREES["cifar_100"](tmp_path)
    with pytest.raises(ValueError, match="not there, or not whole"):
        parts_of("cifar_100", tmp_path)


def test_every_reader_has_a_dataset():
    assert {load_dataset_spec(dataset).reader for dataset in TREES} == set(READERS)


def test_wrong_dataset_files_are_named(tmp_path):
    file = tmp_path / "mine.yaml"
    text = "title: Mine\nroot: .\ndomains: {A: a}\nabbreviations: {A: A}\nscenarios: {}\n"
    file.write_text(text + "reader: image_folder\nclasses: [x]\n")
    with pytest.raises(ValueError, match="classes: leave them empty"):
        load_dataset_spec(str(file))
    file.write_text(text + "reader: pictures\nclasses: []\n")
    with pytest.raises(ValueError, match="mine: reader: 'pictures' is not one of cifar100"):
        parts_of(str(file), tmp_path)


@pytest.mark.parametrize("dataset", TREES)
def test_trained_and_evaluated_through_the_command_line(dataset, tmp_path, capsys):
    TREES[dataset](tmp_path / "data")
    (domain,) = load_dataset_spec(dataset).domains
    root = f"--data.root={tmp_path / 'data'}"
    more = [f"--data.source={domain}", "--data.scenario=", "--train.steps=2", root]
    assert main(["train", *arguments(dataset, tmp_path / "runs", *more)]) == 0
    (run,) = find_runs(tmp_path / "runs")
    assert run.metrics("evaluate")[-1]["num_images"] == CLASSES * TEST
    assert main(["evaluate", str(run.folder), f"--root={tmp_path / 'data'}"]) == 0
    assert "held-out images: top-1" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("path", ["../../x.jpg", "/x.jpg"])
def test_an_archives_lists_name_nothing_outside_of_it(tmp_path, path):
    TREES["cub_200"](tmp_path)
    table = tmp_path / "CUB_200_2011" / "images.txt"
    first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([f"{first.split()[0]} {path}", *rest]))
    with pytest.raises(ValueError, match=r"x.jpg is named in it and lies outside of it"):
        parts_of("cub_200", tmp_path)


def test_an_archives_tables_may_begin_with_a_byte_order_mark(tmp_path):
    TREES["cub_200"](tmp_path)
    table = tmp_path / "CUB_200_2011" / "classes.txt"
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert parts_of("cub_200", tmp_path).classes[0] == "001.Bird_0"
