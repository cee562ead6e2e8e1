"""Lists of pictures, read back as other people's code reads them."""

import shutil
from dataclasses import replace

import pytest
import yaml
from helpers.edits import fill, requests_for
from helpers.tiny import CLASSES, make_dataset
from PIL import Image

from genmix_aug.editors import EDITORS
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore
from genmix_aug.export import ExportSettings, export_tree
from genmix_aug.images import find_images, load_rgb
from genmix_aug.mixing.fractals import draw_fractals
from genmix_aug.mixing.genmix import GenMix
from uda.data.items import domain_items
from uda.data.lists import LIST_NAME, export_lists
from uda.data.spec import load_dataset_spec


def read_list(folder):
    """(path, label) of each line, as LEAD reads it: split at spaces, path below the domain."""
    rows = []
    for line in (folder / LIST_NAME).read_text().splitlines():
        path, label = line.split(" ")  # exactly two
        assert (folder / path).is_file(), path
        Image.open(folder / path).convert("RGB")
        rows.append((path, int(label)))
    return rows


@pytest.mark.parametrize(
    ("scenario", "number"),
    [
        # The tiny dataset's ranges: opda 0-2 2-3 3-5, osda 0-3 3-5, pda 0-3 3-5.
        ("opda", {"bar": 0, "cross": 1, "disc": 2, "ring": 3, "square": 4}),
        ("osda", {"bar": 0, "cross": 1, "disc": 2, "ring": 3, "square": 4}),
    ],
)
def test_every_picture_by_the_scenarios_numbers(spec, scenario, number):
    written, skipped = export_lists(spec, scenario)
    assert skipped == {}
    assert [tuple(entry) for entry in written] == [
        (spec.root / domain / LIST_NAME, 20, 5) for domain in ("Plain", "Dark")
    ]
    for domain in ("Plain", "Dark"):
        rows = read_list(spec.root / domain)
        assert rows == [(f"{n}/{i:02d}.png", number[n]) for n in CLASSES for i in range(4)]
        assert sorted(path.name for path in (spec.root / domain).iterdir()) == sorted(
            [*CLASSES, LIST_NAME]
        )


def test_shared_come_first_then_source_private_then_target_private(spec):
    """Ranges in another order than the classes': labels follow the roles."""
    scenarios = {"odd": {"shared": (3, 5), "source_private": (1, 2), "target_private": (0, 1)}}
    written, _ = export_lists(replace(spec, scenarios=scenarios), "odd")
    assert [entry[1:] for entry in written] == [(16, 4)] * 2  # disc is outside the scenario
    labels = {path.split("/")[0]: label for path, label in read_list(spec.root / "Plain")}
    assert labels == {"ring": 0, "square": 1, "cross": 2, "bar": 3}


@pytest.mark.parametrize(
    ("scenario", "counts"), [("opda", (10, 5, 50)), ("osda", (25, 0, 40)), ("pda", (25, 40, 0))]
)
def test_a_tree_of_office_homes_layout(tmp_path, scenario, counts):
    office = load_dataset_spec("office_home", str(tmp_path))
    for domain in ("Art", "Real World"):
        for name in office.classes:
            (tmp_path / domain / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / domain / name / "00001.jpg")
    written, skipped = export_lists(office, scenario)
    assert list(skipped) == ["Clipart", "Product"]
    assert f"{tmp_path / 'Clipart'} is not there" in skipped["Clipart"]
    assert [entry.path.parent.name for entry in written] == ["Art", "Real World"]
    rows = read_list(tmp_path / "Real World")
    # Classes are sorted as ASCII and the roles take them in order, so the labels count up.
    assert rows == [(f"{n}/00001.jpg", k) for k, n in enumerate(sorted(office.classes))]
    assert len(rows) == sum(counts)


def test_office_31_leaves_numbers_out_where_the_released_code_does(tmp_path):
    office = load_dataset_spec("office_31", str(tmp_path))
    for name in office.classes:
        (tmp_path / "amazon" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "amazon" / name / "1.jpg")
    office = load_dataset_spec("office_31", str(tmp_path))  # which now finds the folder
    for scenario, numbers in (("opda", range(31)), ("osda", [*range(10), *range(20, 31)])):
        export_lists(office, scenario)
        assert [label for _, label in read_list(tmp_path / "amazon")] == list(numbers)
    # Read again as such lists lie beside other code: paths from the domain's folder.
    again = replace(office, domains={**office.domains, "Amazon": f"amazon/{LIST_NAME}"})
    items = domain_items(again, "Amazon")
    assert len(items) == 21
    assert all(item.path.is_file() and item.class_name in str(item.path) for item in items)


def test_lists_are_written_anew(spec):
    export_lists(spec, "opda")
    (spec.root / "Plain" / "bar" / "00.png").unlink()
    export_lists(spec, "opda")
    assert len(read_list(spec.root / "Plain")) == 19


def test_white_space_is_refused_before_anything_is_written(spec):
    for name in ("a b.png", "c\td.png"):
        shutil.copy(spec.root / "Dark/ring/00.png", spec.root / "Dark/ring" / name)
    with pytest.raises(ValueError, match=r"ring/a b\.png.*2 such.*--replace-spaces"):
        export_lists(spec, "opda")
    assert not list(spec.root.rglob(LIST_NAME))


def test_a_domain_may_have_a_space_in_its_name(spec):
    (spec.root / "Dark").rename(spec.root / "So Dark")
    spaced = replace(spec, domains={"Plain": "Plain", "Dark": "So Dark"})
    export_lists(spaced, "opda")
    assert len(read_list(spec.root / "So Dark")) == 20


def test_names_may_have_underscores_for_spaces(tmp_path):
    """Folders and classes of the YAML file with spaces, the tree with ``_`` for them."""
    path = make_dataset(tmp_path, per_class=2)
    raw = yaml.safe_load(path.read_text())
    raw["domains"] = {"Plain": "Plain", "Dark": "Dark side"}
    raw["classes"] = ["bar", "a cross", "disc", "ring", "square"]
    path.write_text(yaml.safe_dump(raw))
    pictures = tmp_path / "pictures"
    (pictures / "Dark").rename(pictures / "Dark_side")
    for domain in ("Plain", "Dark_side"):
        (pictures / domain / "cross").rename(pictures / domain / "a_cross")
    written, skipped = export_lists(load_dataset_spec(str(path)), "opda")
    assert skipped == {}
    assert [entry[1:] for entry in written] == [(10, 5), (10, 5)]
    assert ("a_cross/00.png", 1) in read_list(pictures / "Dark_side")


def test_domains_without_a_list_are_named(spec):
    (spec.root / "Dark").rename(spec.root / "Darker")
    written, skipped = export_lists(spec, "opda")
    assert len(written) == 1
    assert skipped == {"Dark": f"{spec.root / 'Dark'} is not there"}
    listed = replace(spec, domains={"Plain": "Plain.txt", "Dark": "Dark"})
    with pytest.raises(ValueError, match=r"no domain of Tiny to list: .*Plain\.txt is a list file"):
        export_lists(listed, "opda")
    with pytest.raises(ValueError, match="has no 'xda'; it has opda, osda, pda"):
        export_lists(spec, "xda")
    shutil.rmtree(spec.root / "Plain")
    (spec.root / "Plain").mkdir()
    with pytest.raises(ValueError, match="Plain: holds no picture"):
        export_lists(spec, "opda")


def test_from_edits_to_lists(spec, tmp_path):
    """Edit, export and list a tree: what other code reads is originals and GenMix images."""
    shutil.copy(spec.root / "Plain/ring/00.png", spec.root / "Plain/ring/my ring.png")
    paths = find_images(spec.root)
    pictures = [load_rgb(path) for path in paths]
    store, editor = EditStore(tmp_path / "store"), EDITORS["filters"]()
    plan = EditPlan(("retro comic", "graffiti"), 1, editor.fingerprint)
    fill(store, editor, pictures, requests_for(pictures, plan.prompts, 1))
    settings = ExportSettings(copies=2, replace_spaces=True)
    genmix = GenMix(draw_fractals(2, 32), blend_width=None)
    export_tree(spec.root, store, tmp_path / "out", plan, genmix, settings)
    exported = replace(spec, root=tmp_path / "out")
    written, _ = export_lists(exported, "opda")
    assert [entry.images for entry in written] == [3 * 21, 3 * 20]
    rows = dict(read_list(tmp_path / "out" / "Plain"))
    for name, label in (("ring/my_ring", 3), ("square/01", 4)):
        original = load_rgb(tmp_path / "out" / "Plain" / f"{name}.png").float()
        for copy in (1, 2):
            path = f"{name}_genmix{copy}.png"
            assert rows[path] == label
            mixed = load_rgb(tmp_path / "out" / "Plain" / path).float()
            assert mixed.shape == original.shape
            assert (mixed - original).abs().mean() > 5
