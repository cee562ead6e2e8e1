from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import CLASSES, make_dataset

from uda.data import pixels as datasets
from uda.data.items import domain_items, paths_by_name, picture_names
from uda.data.partition import disjoint_half, holdout_split, of_classes
from uda.data.pixels import PixelStore
from uda.data.spec import load_dataset_spec
from uda.data.views import centre_crop, draw_views, gathered_views, to_float, views


@pytest.fixture
def spec(tmp_path):
    return load_dataset_spec(str(make_dataset(tmp_path, per_class=4)))


def test_items_come_by_class_then_name(spec):
    items = domain_items(spec, "Plain")
    assert [item.class_name for item in items] == [name for name in CLASSES for _ in range(4)]
    assert [item.path.name for item in items[:4]] == ["00.png", "01.png", "02.png", "03.png"]


def test_views(spec):
    items = of_classes(domain_items(spec, "Plain"), ["disc", "bar"], "Tiny")
    view = PixelStore().labelled(items, {"disc": 0, "bar": 1}, 24)
    assert view.images.shape == (8, 3, 24, 24)
    assert view.images.dtype == torch.uint8
    assert view.labels.tolist() == [1] * 4 + [0] * 4
    assert view.names[0] == "bar/00.png"
    target, in_order = PixelStore().unlabelled(items, 24)
    assert sorted(in_order, key=items.index) == items != in_order
    for image, item in zip(target.images, in_order, strict=True):
        assert torch.equal(image, view.images[items.index(item)])
    assert set(vars(target)) == {"images"}  # nothing that a method could read labels from


def test_list_files(spec):
    lines = "Plain/disc/00.png 2\n\nPlain/ring/01.png 3\n"
    (spec.root / "image_list.txt").write_text(lines)
    listed = load_dataset_spec(str(spec.root.parent / "tiny.yaml"))
    listed.domains["Plain"] = "image_list.txt"
    items = domain_items(listed, "Plain")
    assert [item.class_name for item in items] == ["disc", "ring"]
    (spec.root / "image_list.txt").write_text("Plain/disc/00.png 9\n")
    with pytest.raises(ValueError, match=r"image_list.txt:1: expected 'path class-number'"):
        domain_items(listed, "Plain")


def test_a_list_beside_its_pictures_whose_first_is_not_there(spec):
    lines = "\ufeffdisc/gone.png 0\n\ndisc/00.png 0\nring/00.png 1\n"
    (spec.root / "Plain" / "list.txt").write_text(lines, encoding="utf-8")
    spec.domains["Plain"] = "Plain/list.txt"
    items = domain_items(spec, "Plain")
    names = ["disc/gone.png", "disc/00.png", "ring/00.png"]
    assert [item.path for item in items] == [spec.root / "Plain" / name for name in names]


def test_list_files_with_spaces_tabs_and_unknown_classes(spec):
    lines = "Plain/disc/a picture.png 2\r\nPlain/ring/b.png\t3\nPlain/x 1.png -1\n"
    (spec.root / "list.txt").write_text(lines)
    spec.domains["Plain"] = "list.txt"
    items = domain_items(spec, "Plain")
    assert [item.path.name for item in items] == ["a picture.png", "b.png", "x 1.png"]
    assert [item.class_name for item in items] == ["disc", "ring", datasets.UNLABELLED]
    assert datasets.labels_of(items, {"disc": 0, "ring": 1}).tolist() == [0, 1, -1]
    for bad in ("-1", "a.png -2", "a.png", "a.png 1.5", "3"):
        (spec.root / "list.txt").write_text(f"{bad}\n")
        with pytest.raises(ValueError, match=r"list.txt:1: expected"):
            domain_items(spec, "Plain")


def test_hidden_files_and_other_files_are_passed_over(spec):
    folder = spec.root / "Plain" / "disc"
    for name in ("._00.png", ".hidden.jpg", "Thumbs.db", "notes.txt"):
        (folder / name).touch()
    (folder / "00.png").rename(folder / "00.PNG")
    items = domain_items(spec, "Plain")
    names = [item.path.name for item in items if item.class_name == "disc"]
    assert names == ["00.PNG", "01.png", "02.png", "03.png"]


def test_wrong_domains_and_folders_are_named(spec):
    with pytest.raises(ValueError, match="Tiny has no domain 'Plane'; it has Plain, Dark"):
        domain_items(spec, "Plane")
    (spec.root / "Dark").rename(spec.root / "Darker")
    with pytest.raises(ValueError, match=r"Dark: no such folder.*data/README.md"):
        domain_items(spec, "Dark")
    (spec.root / "Dark").mkdir()
    with pytest.raises(ValueError, match="Dark: holds no picture"):
        domain_items(spec, "Dark")
    with pytest.raises(ValueError, match="holds no picture of the classes "):
        of_classes(domain_items(spec, "Plain"), ["whale"], "Tiny")


def test_pictures_of_one_file_name_are_told_apart_and_found():
    paths = ["x/cat/0.png", "x/cat/a/0.png", "x/cat/b/a/0.png", "x/cat/1.png", "x/dog/0.png"]
    items = [datasets.Item(Path(path), path.split("/")[1]) for path in paths]
    names = picture_names(items)
    assert names[:2] == ["cat/cat/0.png", "cat/cat/a/0.png"]
    assert names[2:] == ["cat/b/a/0.png", "cat/1.png", "dog/0.png"]
    found = paths_by_name(items, names)
    assert [found[name] for name in names] == list(map(Path, paths))


def test_disjoint_halves_share_no_name_and_lose_none(spec):
    source = disjoint_half(domain_items(spec, "Plain"), source=True)
    target = disjoint_half(domain_items(spec, "Dark"), source=False)
    ours, theirs = ({item.path.stem for item in items} for items in (source, target))
    assert not ours & theirs
    assert len(ours | theirs) == 4


def test_holdout_is_stratified_and_stable(spec):
    items = domain_items(spec, "Plain")
    train, test = holdout_split(items, 0.25)
    assert {item.class_name for item in test} == set(CLASSES)
    assert len(test) == 5
    assert len(train) == 15
    assert not set(train) & set(test)
    assert holdout_split(items, 0.25) == (train, test)
    alone = [items[0], *items[4:6]]  # a class of one is trained on only
    train, test = holdout_split(alone, 0.25)
    assert items[0] in train
    assert len(test) == 1
    with pytest.raises(ValueError, match=r"data\.holdout"):
        holdout_split(alone[:1], 0.25)


def test_views_are_crops_and_mirrors_as_drawn():
    images = torch.arange(2 * 3 * 7 * 7, dtype=torch.uint8).view(2, 3, 7, 7)
    draws = draw_views(2, spare_px=2, flip=True, seed=(1, 2))
    for image, view, (top, left, mirror) in zip(
        images, views(images, 5, draws), draws, strict=True
    ):
        crop = image[:, top : top + 5, left : left + 5]
        assert torch.equal(view, crop.flip(-1) if mirror else crop)


def test_draws_depend_on_seed_and_row_and_cover_all():
    draws = draw_views(300, spare_px=2, flip=True, seed=(1, 2))
    assert np.array_equal(draws, draw_views(300, 2, True, (1, 2)))
    assert not np.array_equal(draws, draw_views(300, 2, True, (1, 3)))
    assert len({tuple(row) for row in draws.tolist()}) == 18  # nine places, two ways round
    assert not draw_views(300, 2, False, (1, 2))[:, 2].any()


def test_centre_crop_and_resize():
    images = torch.zeros(1, 3, 7, 7, dtype=torch.uint8)
    images[..., 1:6, 1:6] = 255
    assert centre_crop(images, 5).min() == 255
    assert datasets.resize(images, 14).shape == (1, 3, 14, 14)
    assert datasets.resize(images, 7) is images
    x = to_float(images, torch.device("cpu"))
    assert x.max() == 1
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("side", "px"), [(7, 5), (9, 9), (73, 64)])
def test_one_gather_gives_the_views_of_the_loop(side, px):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, side, side), dtype=torch.uint8, generator=generator)
    draws = draw_views(6, side - px, True, (3,))
    looped = views(images, px, draws)
    assert looped.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(looped, gathered_views(images, px, torch.from_numpy(draws)))
    assert len(views(images[:0], px, draws[:0])) == 0


def test_draws_stay_what_they_were():
    # Of the first version: other ones would make every run another run.
    drawn = draw_views(3, 9, True, (0, 101, 0)).tolist()
    assert drawn == [[1, 4, 1], [4, 0, 0], [9, 3, 1]]


@pytest.mark.parametrize("channels_last", [True, False])
def test_to_float_divides_by_255(channels_last):
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, 3, 1, 1)
    x = to_float(images, torch.device("cpu"), channels_last)
    assert torch.equal(x, images.float() / 255)
    assert x.is_contiguous(memory_format=torch.channels_last) == channels_last
