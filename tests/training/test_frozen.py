"""The pretrained backbone as it is, beside the model: as neighbours, and as an opinion."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main
from uda.config import ComputeConfig
from uda.data.items import domain_items
from uda.data.pixels import PixelStore
from uda.data.spec import load_dataset_spec
from uda.inference.model import load
from uda.methods.co_learn import Opinion
from uda.models.backbones import build_backbone
from uda.reports.choices import purities
from uda.reports.rows import boards
from uda.reports.tables.setting import setting_tables
from uda.runs.folder import find_runs
from uda.training.bank import forward_all, read_bank
from uda.training.frozen import frozen_backbone, frozen_features

NAME = "timm:test_efficientnet"
CPU = torch.device("cpu")
CO_LEARN = ["--adapt.method=adabn", "--adapt.options.adabn.entropy_threshold=0.998"]
CO_LEARN += ["--answer.labels=co-learn"]
FROZEN = ["--adapt.method=glc", "--adapt.options.glc.clusters=features"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The flags, and the runs of a source model whose backbone has a file of weights."""
    root = tmp_path_factory.mktemp("frozen")
    dataset, weights = make_dataset(root / "tiny"), root / "backbone.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(build_backbone(NAME, "none")[0].state_dict(), weights)
    more = f"--model.weights={weights}", f"--compute.cache={root / 'cache'}", "--data.target=Dark"
    flags = arguments(dataset, root / "runs", *more)
    assert main(["train", *flags]) == 0
    assert main(["adapt", *flags, *CO_LEARN]) == 0
    assert main(["adapt", *flags, *FROZEN, "--adapt.neighbours=frozen"]) == 0
    runs = {
        (run.method, "labels" in run.answer): run
        for run in find_runs(root / "runs")
        if run.is_adaptation
    }
    return root, flags, runs


def test_co_learn_answers_by_both_networks(tiny):
    root, _, runs = tiny
    plain, moved = runs["adabn", False], runs["adabn", True]
    items = domain_items(load_dataset_spec(plain.dataset), "Dark")
    items = [item for item in items if item.class_name != "disc"]  # which is the source's alone
    images = PixelStore().unlabelled(items, 32)[0].images
    network = frozen_backbone(NAME, str(root / "backbone.pth"), 32)
    compute = ComputeConfig(cache=str(root / "cache"))
    frozen = frozen_features(network, NAME, images, CPU, compute)
    assert len(list((root / "cache").glob("*.images"))) == 1  # nothing was computed again
    # The run's bank is rounded to float16, which would change who is surer.
    bank = forward_all(load(plain.folder).model, images, 28, CPU)
    expected = Opinion.of(bank.probabilities, frozen).agree(bank.probabilities, frozen)
    torch.testing.assert_close(read_bank(moved, 0).probabilities, expected, atol=2e-3, rtol=0)
    before, after = plain.predictions(), moved.predictions()
    known = before["label"] < 3
    assert known.any()
    assert (after["label"] < 3).tolist() == known.tolist()
    assert (after["label"][known] == expected.argmax(1).numpy()[known]).all()
    np.testing.assert_allclose(after["unknown_score"], before["unknown_score"], atol=1e-5)


def test_single_pictures_get_the_labels_of_the_whole_targets_opinion(tiny, tmp_path):
    root, _, runs = tiny
    run = runs["adabn", True]
    pictures, out = root / "tiny" / "pictures" / "Dark", tmp_path / "answers.csv"
    assert main(["predict", str(run.folder), str(pictures), f"--out={out}"]) == 0
    rows = csv.DictReader(out.open())
    labels = {str(Path(row["path"]).relative_to(pictures)): row["class"] for row in rows}
    names = (*run.classes(), "unknown")
    answers = run.predictions()
    expected = {
        name: names[label] for name, label in zip(answers["name"], answers["label"], strict=True)
    }
    assert {name: labels[name] for name in expected} == expected
    assert main(["evaluate", str(run.folder)]) == 0


def test_two_networks_are_not_exported_and_a_lost_opinion_is_named(tiny, tmp_path, capsys):
    root, _, runs = tiny
    run = runs["adabn", True]
    assert main(["export", str(run.folder), f"--out={tmp_path / 'a.onnx'}"]) == 1
    assert "answer.labels: co-learn asks a second network" in capsys.readouterr().err
    copy = shutil.copytree(run.folder, tmp_path / run.folder.name)
    (copy / "opinion.npz").unlink()
    assert main(["predict", str(copy), str(root / "tiny" / "pictures" / "Dark")]) == 1
    assert "opinion.npz: missing" in capsys.readouterr().err


def test_frozen_neighbours_are_part_of_the_name_and_scored(tiny):
    *_, runs = tiny
    run = runs["glc", False]
    assert run.adapt["neighbours"] == "frozen"
    (line,) = run.metrics("neighbours")
    assert 0 <= line["purity"] <= 100
    found = purities(run)
    assert found["chosen"] == line["purity"]
    assert found == purities(run)  # which is kept
    assert run.choices("purity") == {name: [value] for name, value in found.items()}
    ((setting, board),) = boards(list(runs.values())).items()
    table = setting_tables(setting, board)["purity"]
    cells = {line.title: [cell.text for cell in line.cells] for line in table.lines}
    frozen = "GLC (adapt.neighbours=frozen)"
    assert set(cells) == {"AdaBN", frozen}  # answers move no feature
    assert cells[frozen] == [f"{value:.1f}" for value in found.values()]
    assert cells["AdaBN"][2] == "–"


def test_neighbours_of_a_method_that_asks_for_none_are_refused(tiny, capsys):
    _, flags, _ = tiny
    assert main(["adapt", *flags, "--adapt.method=adabn", "--adapt.neighbours=frozen"]) == 1
    assert "adapt.neighbours: adabn learns from no neighbours" in capsys.readouterr().err
    assert main(["adapt", *flags, "--adapt.neighbours=nearest"]) == 1
    assert "'nearest' is not one of bank, frozen, oracle" in capsys.readouterr().err
