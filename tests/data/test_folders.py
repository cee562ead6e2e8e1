import shutil
from hashlib import blake2b
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from helpers.own_folders import make_folders
from helpers.phone import tag
from helpers.tiny import arguments
from PIL import Image

from uda.cli.main import main
from uda.config import CONFIGS
from uda.data import folders as data_folders
from uda.data.folders import folder_pair_dataset, match_classes, single_folder_dataset
from uda.data.items import UNLABELLED, domain_items
from uda.data.near_duplicates import hash_image
from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.reports.in_domain import comparisons
from uda.runs.folder import find_runs
from uda.sweeps.record import read_plan


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """A source of bar, cross, disc and a target of disc, ring, square."""
    return make_folders(tmp_path)


def test_classes_are_matched_whatever_their_spelling():
    sets = match_classes(["Alarm_Clock", "Bed", "TV"], ["tv", "alarm clock", "Sofa"])
    assert sets.shared == ("Alarm_Clock", "TV")
    assert sets.source_private == ("Bed",)
    assert sets.target_private == ("Sofa",)
    assert sets.renamed == {"tv": "TV", "alarm clock": "Alarm_Clock"}
    assert sets.scenario == "opda"
    assert match_classes(["a"], ["a", "b"]).scenario == "osda"
    assert match_classes(["a", "b"], ["A"]).scenario == "pda"
    assert match_classes(["a", "b"], ["b", "A"]).scenario == "pda"  # a closed set
    with pytest.raises(ValueError, match="'a b' and 'A_b' would be one class"):
        match_classes(["a b", "A_b"], ["c"])


def test_equal_normalised_names_are_refused_without_target_labels_too(folders, tmp_path):
    source, target = folders
    folder = next(path for path in source.iterdir() if path.name != "bar")
    shutil.copytree(folder, source / folder.name.upper().replace("-", "_"))
    with pytest.raises(ValueError, match="would be one class: rename or merge them"):
        folder_pair_dataset(source, target, "none", tmp_path / "datasets")
    assert not (tmp_path / "datasets").exists()


def test_the_dataset_holds_both_folders(folders, tmp_path):
    pair = folder_pair_dataset(*folders, "auto", tmp_path / "datasets")
    spec = load_dataset_spec(str(pair.file))
    split = class_split(spec, pair.scenario)
    assert (pair.scenario, split.shared) == ("opda", ("disc",))
    assert split.source_private == ("bar", "cross")
    assert split.target_private == ("ri_ng", "square")
    assert pair.source == "my_drawings"
    assert "Matched: the target's 'D-isc' is the source's 'disc'" in pair.notes
    items = domain_items(spec, pair.target)
    assert [item.class_name for item in items[::4]] == ["disc", "ri_ng", "square"]
    assert items[0].path == folders[1] / "D-isc" / "00.png"
    assert (pair.num_source, pair.num_target) == (12, 12)


@pytest.mark.parametrize("way", ["flat", "nested", "none"])
def test_a_target_without_labels(folders, tmp_path, way):
    source, target = folders
    if way == "flat":
        for i, picture in enumerate(sorted(target.glob("*/*.png"))):
            picture.rename(target / f"{i}.png")
    elif way == "nested":
        (tmp_path / "dump" / "2024").mkdir(parents=True)
        target.rename(tmp_path / "dump" / "2024" / "05")
        target = tmp_path / "dump"
    pair = folder_pair_dataset(
        source, target, "none" if way == "none" else "auto", tmp_path / "datasets"
    )
    spec = load_dataset_spec(str(pair.file))
    assert pair.sets is None
    assert pair.scenario == "opda"
    assert class_split(spec, "opda").shared == ("bar", "cross", "disc")
    items = domain_items(spec, pair.target)
    assert len(items) == 12
    assert {item.class_name for item in items} == {UNLABELLED}
    assert folder_pair_dataset(source, target, "none", tmp_path / "d", "pda").scenario == "pda"


def test_other_targets_of_the_same_classes_share_the_source(folders, tmp_path):
    source, target = folders
    first = folder_pair_dataset(source, target, "none", tmp_path / "datasets")
    again = folder_pair_dataset(source, target, "none", tmp_path / "datasets")
    assert again == first
    (target / "D-isc" / "00.png").unlink()
    second = folder_pair_dataset(source, target, "none", tmp_path / "datasets")
    assert second.file == first.file
    assert second.target != first.target
    spec = load_dataset_spec(str(second.file))
    assert [len(domain_items(spec, name)) for name in spec.domains] == [12, 12, 11]
    (source / "bar" / "00.png").unlink()
    assert folder_pair_dataset(source, target, "none", tmp_path / "datasets").file != first.file


def test_only_pictures_that_are_turned_give_a_dataset_another_name(folders, tmp_path):
    """What runs from before, which read them as stored, learnt is not taken for the new runs'."""
    path = folders[0] / "bar" / "00.png"
    assert hash_image(path).content == blake2b(path.read_bytes()).digest()
    names = []
    for orientation in (1, 6):
        for folder in folders:
            tag(folder / sorted(p.name for p in folder.iterdir())[0] / "00.png", orientation)
        pair = folder_pair_dataset(*folders, "auto", tmp_path / "datasets")
        names.append((pair.file.name, pair.target))
    content = blake2b(path.read_bytes() + b"upright").digest()
    assert hash_image(path).content == content
    assert names[0][0] != names[1][0]
    assert names[0][1] != names[1][1]


def test_a_target_that_has_changed_is_another_pair(folders, tmp_path):
    names = []
    for _ in range(2):
        pair = folder_pair_dataset(*folders, "auto", tmp_path / "datasets")
        spec = load_dataset_spec(str(pair.file))
        names.append(spec.pair_name(pair.source, pair.target))
        shutil.copy(folders[1] / "square" / "00.png", folders[1] / "square" / "more.png")
    assert names[0] == "my_drawings2renders"
    assert names[1].startswith("my_drawings2renders-")
    assert len(names[1]) == len(names[0]) + 5


def test_pictures_that_are_passed_over_are_named(folders, tmp_path):
    source, target = folders
    (source / "bar" / "00.png").write_text("no picture")
    shutil.copy(source / "bar" / "01.png", source / "loose.png")
    (target / "ri_ng" / "Thumbs.db").touch()
    pair = folder_pair_dataset(source, target, "auto", tmp_path / "datasets")
    assert pair.num_source == 11
    assert f"Passed over, cannot be read: {source / 'bar' / '00.png'} (no image)" in pair.notes
    assert f"Passed over, in no class's folder: {source / 'loose.png'}" in pair.notes


def test_unreadable_formats_are_noted_at_the_start(folders, tmp_path):
    source, target = folders
    Image.fromarray(np.full((8, 8), 7.5, np.float32)).save(source / "bar" / "float.tif")
    (source / "bar" / "IMG_1.HEIC").write_bytes(b"heic")
    (target / "D-isc" / "a.avif").write_bytes(b"avif")
    pair = folder_pair_dataset(source, target, "auto", tmp_path / "datasets")
    assert pair.num_source == 12
    notes = "\n".join(pair.notes)
    assert "float.tif (floating-point values from 0 to 7.5" in notes
    assert f"Passed over in {source}: 1 pictures (.heic 1)" in notes
    assert f"Passed over in {target}: 1 pictures (.avif 1)" in notes


def test_accents_are_matched_however_they_are_written(tmp_path):
    composed, apart = "Café", "Cafe\u0301 "
    assert match_classes([composed, "bar"], [apart]).shared == (composed,)


def test_runs_among_the_pictures_are_refused(folders, tmp_path):
    for inside in folders:
        with pytest.raises(ValueError, match=f"--runs: {inside / 'runs'} lies in {inside}"):
            folder_pair_dataset(*folders, "auto", inside / "runs" / "datasets")
        assert not (inside / "runs").exists()
    with pytest.raises(ValueError, match="--runs: .* lies in"):
        single_folder_dataset(folders[0], folders[0] / "runs" / "datasets")


def test_nested_folders_are_refused(folders, tmp_path):
    source, _ = folders
    for outer, inner in ((source, source / "bar"), (source / "bar", source)):
        with pytest.raises(ValueError, match="one lies in the other|class folders"):
            folder_pair_dataset(outer, inner, "none", tmp_path / "datasets")
    assert not (tmp_path / "datasets").exists()


def test_a_class_called_unknown_is_refused(folders, tmp_path):
    (folders[0] / "bar").rename(folders[0] / "Unknown")
    with pytest.raises(ValueError, match="'Unknown' could not be told"):
        folder_pair_dataset(*folders, "auto", tmp_path / "datasets")


@pytest.mark.parametrize(
    ("labels", "scenario", "message"),
    [
        ("some", "", "--target-labels: 'some' is not one of auto, folders, none"),
        ("auto", "pda", "--data.scenario: pda, but the folders' classes are opda"),
    ],
)
def test_wrong_options_are_named(folders, tmp_path, labels, scenario, message):
    with pytest.raises(ValueError, match=message):
        folder_pair_dataset(*folders, labels, tmp_path / "datasets", scenario)
    assert not (tmp_path / "datasets").exists()


def test_wrong_folders_are_named(folders, tmp_path):
    source, target = folders
    out = tmp_path / "datasets"
    with pytest.raises(ValueError, match="source too"):
        folder_pair_dataset(source, tmp_path / "renders" / ".." / "my drawings", "auto", out)
    with pytest.raises(ValueError, match=r"nowhere does not exist"):
        folder_pair_dataset(source, tmp_path / "nowhere", "auto", out)
    with pytest.raises(ValueError, match=r"bar has 0 class folders with pictures"):
        folder_pair_dataset(source / "bar", target, "auto", out)
    with pytest.raises(ValueError, match="no folder in .* is named like a class of the source"):
        folder_pair_dataset(source, target / "ri_ng", "folders", out)
    for picture in target.glob("*/*.png"):
        picture.write_text("no picture")
    with pytest.raises(ValueError, match="no picture in .*renders can be read"):
        folder_pair_dataset(source, target, "none", out)
    assert not out.exists()


def test_spaces_are_kept_and_line_breaks_refused(folders, tmp_path):
    source, target = folders
    (source / "bar" / "00.png").rename(source / "bar" / "a  b 3.png")
    pair = folder_pair_dataset(source, target, "auto", tmp_path / "datasets")
    items = domain_items(load_dataset_spec(str(pair.file)), pair.source)
    assert source / "bar" / "a  b 3.png" in [item.path for item in items]
    (source / "bar" / "a  b 3.png").rename(source / "bar" / "a\nb.png")
    with pytest.raises(ValueError, match="a line break"):
        folder_pair_dataset(source, target, "auto", tmp_path / "other")


def test_palette_pictures_are_read(folders, tmp_path):
    source, target = folders
    Image.open(source / "bar" / "00.png").convert("P").save(source / "bar" / "00.gif")
    assert folder_pair_dataset(source, target, "auto", tmp_path / "datasets").num_source == 13


def in_domain_flags(pictures, runs, *more):
    sizes = [flag for flag in arguments("x", runs) if not flag.startswith("--data.")]
    return [f"--data.dataset={pictures}", "--model.head=linear", *sizes, *more]


def test_a_folder_of_classes_trains_in_domain(folders, tmp_path, capsys):
    source, runs = folders[0], tmp_path / "runs"
    (source / "bar" / "broken.png").write_bytes(b"no picture")
    options = in_domain_flags(source, runs, "--data.holdout=0.25")
    assert main(["train", *options]) == 0
    printed = capsys.readouterr().out
    assert "Passed over, cannot be read" in printed
    assert "12 pictures of 3 classes (bar, cross, disc)" in printed
    (run,) = find_runs(runs)
    assert run.metrics("final")[0]["num_images"] == 3  # of four in each class
    assert run.classes() == ("bar", "cross", "disc")
    assert run.config["data"]["source"] == "my_drawings"
    assert main(["train", *options]) == 0  # the same pictures are the same run
    assert "Already trained" in capsys.readouterr().out
    assert main(["evaluate", str(run.folder)]) == 0
    shutil.rmtree(source)
    (compared,) = comparisons(find_runs(runs))  # tables need no pictures
    assert compared.domain == "my_drawings"


def test_a_folder_in_a_recipes_sweep(folders, tmp_path, capsys):
    recipe = CONFIGS / "experiments" / "in_domain" / "fine_tuning.yaml"
    options = in_domain_flags(folders[0], tmp_path / "runs")
    assert main(["sweep", str(recipe), *options, "--dry-run"]) == 0
    assert "my_drawings" in capsys.readouterr().out
    many = ["--data.images_per_class=1", "--train.batch_size=8"]
    assert main(["sweep", str(recipe), *options, *many]) == 1
    assert "8 is more than the 3 images to train on" in capsys.readouterr().err
    assert main(["sweep", str(recipe), *options, "--sweep.augmentations=[none]"]) == 0
    assert read_plan(tmp_path / "runs").experiments.keys() == {"flowers_tuned_my_drawings"}


def test_a_folder_with_parts(folders, tmp_path):
    whole = tmp_path / "split"
    for part in ("train", "valid"):
        shutil.copytree(folders[0], whole / part)
    single = single_folder_dataset(whole, tmp_path / "datasets")
    spec = load_dataset_spec(str(single.file))
    assert (spec.reader, spec.classes, single.domain) == ("image_folder", (), "split")
    runs = tmp_path / "runs"
    assert main(["train", *in_domain_flags(whole, runs)]) == 0
    (run,) = find_runs(runs)
    assert run.metrics("final")[0]["num_images"] == 12


def test_a_class_may_be_called_train(folders, tmp_path):
    (folders[0] / "bar").rename(folders[0] / "train")
    single = single_folder_dataset(folders[0], tmp_path / "datasets")
    assert load_dataset_spec(str(single.file)).classes == ("cross", "disc", "train")


def test_wrong_single_folders_are_named(folders, tmp_path, capsys):
    options = in_domain_flags(folders[0] / "bar", tmp_path / "runs")
    assert main(["train", *options]) == 1
    assert "bar holds no class folders; name a folder with" in capsys.readouterr().err
    for name in ("bar", "cross", "disc"):  # parts without train
        (folders[0] / name).rename(folders[0] / {"bar": "val", "cross": "test"}.get(name, name))
    shutil.rmtree(folders[0] / "disc")
    assert main(["train", *in_domain_flags(folders[0], tmp_path / "runs")]) == 1
    assert "holds test, val; name a folder with" in capsys.readouterr().err
    assert main(["train", *in_domain_flags(tmp_path / "none", tmp_path / "runs")]) == 1
    assert "no file or folder" in capsys.readouterr().err
    (folders[0] / "val").rename(folders[0] / "bar")
    options = in_domain_flags(folders[0], tmp_path / "runs", "--data.scenario=opda")
    assert main(["train", *options]) == 1
    assert "is a single domain; leave the scenario out" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "datasets").exists()


def test_targets_added_at_the_same_time_are_all_kept(folders, tmp_path, monkeypatch):
    source, target = folders
    shutil.copytree(target, tmp_path / "scans")
    Image.new("RGB", (9, 9)).save(tmp_path / "scans" / "square" / "one more.png")

    def add(images):
        return folder_pair_dataset(source, images, "auto", tmp_path / "runs" / "datasets")

    other, write = Thread(target=add, args=(tmp_path / "scans",)), data_folders._write_yaml

    def write_late(file, spec):
        if not other.ident:  # the first is about to write what it read before the second began
            other.start()
            other.join(0.3)
        write(file, spec)

    monkeypatch.setattr(data_folders, "_write_yaml", write_late)
    file = add(target).file
    other.join()
    domains = {name.rpartition("-")[0] for name in load_dataset_spec(str(file)).domains}
    assert domains == {"", "renders", "scans"}
