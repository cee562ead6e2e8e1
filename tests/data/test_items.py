from pathlib import Path

import pytest
from helpers.tiny import CLASSES

from uda.data.items import UNLABELLED, Item, domain_items, paths_by_name, picture_names
from uda.data.partition import of_classes
from uda.data.pixels import labels_of
from uda.data.spec import load_dataset_spec


def test_items_come_by_class_then_name(spec):
    items = domain_items(spec, "Plain")
    assert [item.class_name for item in items] == [name for name in CLASSES for _ in range(4)]
    assert [item.path.name for item in items[:4]] == ["00.png", "01.png", "02.png", "03.png"]


def test_a_list_file_is_a_domain(spec):
    lines = "Plain/disc/00.png 2\n\nPlain/ring/01.png 3\n"
    (spec.root / "image_list.txt").write_text(lines)
    listed = load_dataset_spec(str(spec.root.parent / "tiny.yaml"))
    listed.domains["Plain"] = "image_list.txt"
    items = domain_items(listed, "Plain")
    assert [item.class_name for item in items] == ["disc", "ring"]
    (spec.root / "image_list.txt").write_text("Plain/disc/00.png 9\n")
    with pytest.raises(ValueError, match=r"image_list.txt:1: expected 'path class-number'"):
        domain_items(listed, "Plain")


def test_a_list_beside_its_pictures_whose_first_is_missing(spec):
    lines = "\ufeffdisc/gone.png 0\n\ndisc/00.png 0\nring/00.png 1\n"
    (spec.root / "Plain" / "list.txt").write_text(lines, encoding="utf-8")
    spec.domains["Plain"] = "Plain/list.txt"
    items = domain_items(spec, "Plain")
    names = ["disc/gone.png", "disc/00.png", "ring/00.png"]
    assert [item.path for item in items] == [spec.root / "Plain" / name for name in names]


def test_paths_in_lists_may_have_spaces_tabs_and_unknown_classes(spec):
    lines = "Plain/disc/a picture.png 2\r\nPlain/ring/b.png\t3\nPlain/x 1.png -1\n"
    (spec.root / "list.txt").write_text(lines)
    spec.domains["Plain"] = "list.txt"
    items = domain_items(spec, "Plain")
    assert [item.path.name for item in items] == ["a picture.png", "b.png", "x 1.png"]
    assert [item.class_name for item in items] == ["disc", "ring", UNLABELLED]
    assert labels_of(items, {"disc": 0, "ring": 1}).tolist() == [0, 1, -1]
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


def test_pictures_with_equal_file_names_have_names_of_their_folders():
    paths = ["x/cat/0.png", "x/cat/a/0.png", "x/cat/b/a/0.png", "x/cat/1.png", "x/dog/0.png"]
    items = [Item(Path(path), path.split("/")[1]) for path in paths]
    names = picture_names(items)
    assert names[:2] == ["cat/cat/0.png", "cat/cat/a/0.png"]
    assert names[2:] == ["cat/b/a/0.png", "cat/1.png", "dog/0.png"]
    by_name = paths_by_name(items, names)
    assert [by_name[name] for name in names] == list(map(Path, paths))
