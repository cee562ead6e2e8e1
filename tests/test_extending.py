"""The examples of docs/extending.md, run as they are printed."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml
from helpers.made_runs import PAIRS, finished
from helpers.tiny import arguments, make_dataset

from genmix_aug.editors import EDITORS
from uda.augment import AUGMENTATIONS
from uda.cli.main import main
from uda.data.spec import load_dataset_spec
from uda.methods import METHODS
from uda.reports.figures import FIGURES
from uda.reports.writing import write_report
from uda.runs.folder import find_runs

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "extending.md").read_text()
PYTHON = re.findall(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def example(monkeypatch):
    """Load the module of a file whose text the page prints."""

    def load(file):
        (text,) = (text for name, text in PYTHON if name == file)
        name = file.removesuffix(".py").replace("/", ".")
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(text, file, "exec"), module.__dict__)
        return module

    return load


def test_the_dataset_of_the_page_is_read(tmp_path):
    (text,) = re.findall(r"```yaml\n(# things.yaml\n.*?)```", PAGE, re.DOTALL)
    (tmp_path / "things.yaml").write_text(text)
    spec = load_dataset_spec(str(tmp_path / "things.yaml"))
    assert set(spec.scenarios) == {"opda", "osda", "pda"}
    assert spec.pair_name("Photo", "Drawing") == "Ph2Dr"
    assert yaml.safe_load(text)["images"] == {"Photo": 79}


@pytest.mark.slow
def test_the_method_and_the_augmentation_of_the_page_run(tmp_path, monkeypatch, example, capsys):
    """A file and an entry are enough for commands, options and tables."""
    method = example("uda/methods/self_training.py").SelfTraining
    monkeypatch.setitem(METHODS, method.name, method)
    grey = example("uda/augment/grey.py").GreyAugmentation
    monkeypatch.setitem(AUGMENTATIONS, grey.name, grey)
    dataset = make_dataset(tmp_path / "tiny", per_class=8)
    # With the highest threshold every picture is learnt from.
    more = ["--augment.name=grey", "--adapt.options.self_training.entropy_threshold=1.0"]
    flags = arguments(dataset, tmp_path / "runs", *more)
    assert main(["train", *flags]) == 0
    assert main(["adapt", *flags, "--data.target=Dark", "--adapt.method=self_training"]) == 0
    (run,) = (run for run in find_runs(tmp_path / "runs") if run.config["stage"] == "adapt")
    assert run.is_done
    assert all("loss_ce" in line for line in run.metrics("adapt"))
    assert main(["report", str(tmp_path / "runs")]) == 0
    assert "Self-training + Grey" in capsys.readouterr().out
    with pytest.raises(ValueError, match="ce_weight: 0 must be positive"):
        method(open_set=True, ce_weight=0)
    with pytest.raises(ValueError, match="probability: 2 is not in 0 to 1"):
        grey(probability=2)


@pytest.mark.slow
def test_the_joint_method_of_the_page_runs_with_genmix(tmp_path, monkeypatch, example):
    method = example("uda/methods/dann.py").Dann
    monkeypatch.setitem(METHODS, method.name, method)
    dataset = make_dataset(tmp_path / "tiny", per_class=6)
    more = ["--data.target=Dark", "--adapt.method=dann", "--adapt.start=backbone"]
    flags = arguments(dataset, tmp_path / "runs", *more, "--augment.name=genmix")
    assert main(["adapt", *flags, f"--store={tmp_path / 'store'}"]) == 0
    (run,) = find_runs(tmp_path / "runs")
    assert all({"loss_ce", "loss_domain"} <= line.keys() for line in run.metrics("adapt"))
    assert main(["evaluate", str(run.folder)]) == 0


def test_the_editor_of_the_page_edits(monkeypatch, example):
    editor = example("genmix_aug/editors/duotone.py").DuotoneEditor
    monkeypatch.setitem(EDITORS, "duotone", editor)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    prompts, seeds = ["sepia", "blueprint", "sepia"], [1, 2, 3]
    edits = EDITORS["duotone"]().edit(images, prompts, seeds)
    alone = EDITORS["duotone"]().edit(images[1:2], prompts[1:2], seeds[1:2])
    assert torch.equal(edits[1:2], alone)
    assert not torch.equal(edits, images)


def test_the_figure_of_the_page_is_in_the_report(tmp_path, monkeypatch, example):
    figure = example("uda/reports/figures/averages.py").AveragesFigure()
    monkeypatch.setitem(FIGURES, figure.name, figure)
    dataset = make_dataset(tmp_path / "tiny", per_class=1)
    runs = tmp_path / "runs"
    for pair in PAIRS:
        finished(runs, dataset, "lead", "none", 0, [40.0, 50.0], pair)
    write_report(runs, "Title", ["md", "html"])
    image = "![Tiny, OPDA: H-score, averages](figures/tiny_opda_averages.png)"
    assert image in (runs / "report.md").read_text()
    assert (runs / "figures" / "tiny_opda_averages.png").is_file()
    page = (runs / "report.html").read_text()
    assert '<h3 id="tiny_opda-averages">Averages</h3>' in page
    assert 'aria-label="Tiny, OPDA: H-score, averages"' in page
