import math

import pytest
from helpers.tiny import arguments
from helpers.trees import LAYOUTS, grow

from uda.cli.main import main
from uda.config import CONFIGS
from uda.data.items import domain_items
from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.runs.folder import find_runs

SIZES = {  # of shared, source-private and target-private classes, as LEAD prints them
    ("office_home", "opda"): (10, 5, 50),
    ("office_home", "osda"): (25, 0, 40),
    ("office_home", "pda"): (25, 40, 0),
    ("office_31", "opda"): (10, 10, 11),
    ("office_31", "osda"): (10, 0, 11),
    ("office_31", "pda"): (10, 21, 0),
    ("visda_c", "opda"): (6, 3, 3),
    ("visda_c", "osda"): (6, 0, 6),
    ("visda_c", "pda"): (6, 6, 0),
    ("domainnet", "opda"): (150, 50, 145),
}


@pytest.mark.parametrize(("dataset", "scenario"), SIZES)
def test_splits_have_the_published_sizes(dataset, scenario):
    split = class_split(load_dataset_spec(dataset), scenario)
    parts = split.shared, split.source_private, split.target_private
    assert tuple(map(len, parts)) == SIZES[dataset, scenario]
    assert (CONFIGS / "experiments" / f"{dataset}_{scenario}.yaml").is_file()


def test_office_31_is_not_in_the_order_of_names():
    spec = load_dataset_spec("office_31")
    split = class_split(spec, "osda")
    assert split.shared[1] == "bike"  # bike_helmet, the next name, is source-private
    assert split.target_private[0] == "pen"
    assert spec.pair_name("Amazon", "Webcam") == "A2W"


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_the_real_layout_is_read(dataset, tmp_path):
    grow(tmp_path, dataset)
    spec = load_dataset_spec(dataset, str(tmp_path))
    assert set(LAYOUTS[dataset]) == set(spec.domains)
    for domain in LAYOUTS[dataset]:
        items = domain_items(spec, domain)
        assert len(items) == 2 * len(spec.classes)
        assert [item.class_name for item in items[::2]] == list(spec.classes)


@pytest.mark.parametrize("name", ["Real World", "Realworld", "RealWorld", "real_world"])
def test_folder_names_that_are_in_use(name, tmp_path):
    (tmp_path / name).mkdir()
    assert load_dataset_spec("office_home", str(tmp_path)).domains["RealWorld"] == name


def test_office_31_without_its_extra_level(tmp_path):
    (tmp_path / "amazon" / "bike").mkdir(parents=True)
    (tmp_path / "amazon" / "bike" / "frame_0001.JPG").touch()
    spec = load_dataset_spec("office_31", str(tmp_path))
    assert [item.path.name for item in domain_items(spec, "Amazon")] == ["frame_0001.JPG"]


def run_both(dataset, scenario, root, runs):
    source, target = list(LAYOUTS[dataset])[:2]
    flags = arguments(dataset, runs, f"--data.root={root}", f"--data.source={source}")
    config = str(CONFIGS / "experiments" / f"{dataset}_{scenario}.yaml")
    more = [f"--data.scenario={scenario}", f"--data.target={target}", "--adapt.epochs=1"]
    if dataset == "domainnet":
        more.append("--model.bottleneck_dim=256")  # more than its 200 classes
    elif dataset == "office_home":
        more.append("--model.bottleneck_dim=72")
    else:
        more.append("--model.bottleneck_dim=40")
    more.append("--adapt.options.lead={clusters: classes}")
    for command in ("train", "adapt"):
        assert main([command, config, *flags, *more, "--train.steps=2"]) == 0
    (run,) = [run for run in find_runs(runs) if run.config["stage"] == "adapt"]
    return run.metrics("evaluate")[-1]


LARGE = ("office_home", "domainnet")  # many classes, so many pictures to draw


@pytest.mark.parametrize(
    "dataset",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in LAYOUTS],
)
def test_a_miniature_is_checked_and_runs_end_to_end(dataset, tmp_path, capsys):
    grow(tmp_path / "data", dataset)
    check = ["data", "check", dataset, "--root", str(tmp_path / "data"), "--workers", "1"]
    assert main(check) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if "!" in line]
    # Two pictures of each class are fewer than expected; nothing else is wrong.
    assert len(wrong) == len(LAYOUTS[dataset])
    assert all("are expected" in line for line in wrong)
    last = run_both(dataset, "opda", tmp_path / "data", tmp_path / "runs")
    assert last["epoch"] == 1
    assert last["empty_classes"] == []


@pytest.mark.parametrize(("dataset", "scenario"), [both for both in SIZES if both[1] != "opda"])
def test_a_miniature_runs_the_other_scenarios(dataset, scenario, tmp_path):
    root = grow(tmp_path / "data", dataset, domains=2)
    last = run_both(dataset, scenario, root, tmp_path / "runs")
    shared, _, target_private = SIZES[dataset, scenario]
    assert last["num_images"] == 2 * (shared + target_private)
    assert math.isfinite(last["accuracy" if scenario == "pda" else "h_score"])


def test_splits_are_printed_by_name(capsys):
    assert main(["data", "splits", "office-31"]) == 0
    text = capsys.readouterr().out
    assert "Office-31, OPDA\n  shared (10): back_pack, bike, calculator," in text
    assert "source-private (0): none" in text
    assert main(["data", "splits", "office_home", "--scenario", "pda"]) == 0
    text = capsys.readouterr().out
    assert "OPDA" not in text
    assert "source-private (40): Glasses, Hammer, Helmet" in text
    assert main(["data", "splits", "domainnet", "--scenario", "pda"]) == 1
    assert "domainnet has no 'pda'; it has opda" in capsys.readouterr().err
