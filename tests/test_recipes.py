"""Every in-domain recipe in miniature: on its dataset's real layout, with a tiny network."""

from pathlib import Path

import pytest
from helpers.in_domain_trees import TREES, without_checksums

from uda.cli.main import main
from uda.config import CONFIGS, read_yaml
from uda.data.items import Item
from uda.data.partition import holdout_split
from uda.data.spec import load_dataset_spec
from uda.models.backbones import PREACT, TORCHVISION
from uda.reports.published import FOLDER
from uda.runs.folder import find_runs

RECIPES = sorted((CONFIGS / "experiments" / "in_domain").glob("*.yaml"))
TINY = [
    "--images.decode_px=32", "--images.resize_px=32", "--images.crop_px=28",
    "--model.backbone=timm:test_efficientnet", "--model.weights=none",
    "--train.steps=2", "--train.batch_size=4", "--compute.precision=float32",
    "--device=cpu", "--threads=1",
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipes_miniature_trains(recipe, tmp_path, monkeypatch):
    without_checksums(monkeypatch)
    dataset = read_yaml(recipe)["data"]["dataset"]
    TREES[dataset](tmp_path / "data")
    more = [f"--data.root={tmp_path / 'data'}", f"--runs={tmp_path / 'runs'}"]
    more.append(f"--store={tmp_path / 'edits'}")
    assert main(["train", str(recipe), *TINY, *more]) == 0
    (run,) = find_runs(tmp_path / "runs")
    assert run.metrics("final")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipes_sweep_is_planned(recipe, tmp_path, capsys):
    assert main(["sweep", str(recipe), "--dry-run", f"--runs={tmp_path}"]) == 0
    raw = read_yaml(recipe)
    rows = raw["sweep"]["augmentations"]
    assert f"{len(rows) * len(raw['sweep']['seeds'])} " in capsys.readouterr().out
    assert raw["model"]["backbone"] in (*TORCHVISION, *PREACT)
    assert raw["sweep"]["pairs"] == [raw["data"]["source"]]
    table = read_yaml(FOLDER / "in_domain.yaml")[str(raw["sweep"]["published"])]
    title = load_dataset_spec(raw["data"]["dataset"]).title
    assert {title.replace(" ", "-"), "any"} & table.keys()


def test_the_emoji_recipe_holds_out_a_fifth_of_every_class():
    raw = read_yaml(CONFIGS / "experiments" / "emoji_home_in_domain.yaml")
    for size in range(2, 60):
        items = [Item(Path(f"{number:05x}"), "a") for number in range(size)]
        _, test = holdout_split(items, raw["data"]["holdout"])
        assert len(test) >= size / 5, size
