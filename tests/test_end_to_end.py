"""Whole runs through the command line: tiny pictures, EmojiHome itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import arguments, make_dataset
from PIL import Image

from genmix_aug.cli.main import main as genmix
from uda.cli.main import main
from uda.config import CONFIGS
from uda.runs.folder import find_runs, read_run

ROOT = Path(__file__).resolve().parents[1]


def run_four(flags, target):
    """Make the runs of Source-only and LEAD, without and with GenMix."""
    for augment in ("none", "genmix"):
        options = [*flags, f"--augment.name={augment}", f"--data.target={target}"]
        assert main(["train", *options]) == 0
        assert main(["adapt", *options, "--adapt.method=source_only"]) == 0
        assert main(["adapt", *options, "--adapt.method=lead"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["opda", "osda", "pda"])
def test_tiny_pair(tmp_path, capsys, scenario):
    dataset = make_dataset(tmp_path / "tiny")
    flags = arguments(dataset, tmp_path / "runs", f"--data.scenario={scenario}")
    run_four(flags, "Dark")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "runs"), "--title=Tiny"]) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if re.match("Source|LEAD", line)]
    assert [re.split(r" {2,}", row)[0] for row in rows] == [
        "Source-only",
        "Source + GenMix",
        "LEAD",
        "LEAD + GenMix",
        "Source + GenMix − Source-only",
        "LEAD − Source-only",
        "LEAD + GenMix − Source + GenMix",
        "LEAD + GenMix − LEAD",
    ]
    assert "samples" in (tmp_path / "runs" / "report.html").read_text()
    text = (tmp_path / "runs" / "report.md").read_text()
    figures = re.findall(r"\]\((.*?\.png)\)", text)
    assert len(figures) == 3
    for figure in figures:
        with Image.open(tmp_path / "runs" / figure) as image:
            assert min(image.size) > 300
            assert np.asarray(image).std() > 5  # something is drawn
    runs = {run.folder.name.rsplit("-", 1)[0]: run for run in find_runs(tmp_path / "runs")}
    again = runs[f"lead-Pl2Da-{scenario}-genmix-s0"].folder / "experiment.yaml"
    assert main(["adapt", str(again)]) == 0
    assert "Already adapted" in capsys.readouterr().out
    plain, mixed = (runs[f"train-Pl-{scenario}-{name}-s0"] for name in ("none", "genmix"))
    # Equal optimiser steps and images; a part of them augmented.
    counts = [run.metrics("train")[-1] for run in (plain, mixed)]
    assert counts[0]["step"] == counts[1]["step"]
    assert counts[0]["images"] == counts[1]["images"]
    assert counts[0]["augmented"] == 0 < counts[1]["augmented"]
    # `uda evaluate` gives the last epoch's score again.
    lead = runs[f"lead-Pl2Da-{scenario}-genmix-s0"]
    last = lead.metrics("evaluate")[-1]
    root = f"--root={dataset.parent / 'pictures'}"
    assert main(["evaluate", str(lead.folder), root, "--per-class"]) == 0
    output = capsys.readouterr().out
    score = "accuracy" if scenario == "pda" else "h_score"
    assert f"{last[score]:.1f}" in output
    assert "bar (shared)" in output


@pytest.mark.slow
def test_in_domain_training_and_evaluation(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny")
    flags = arguments(dataset, tmp_path / "runs", "--data.scenario=", "--augment.name=genmix")
    assert main(["train", *flags]) == 0
    assert "On 10 held-out images: top-1" in capsys.readouterr().out
    (run,) = find_runs(tmp_path / "runs")
    last = run.metrics("evaluate")[-1]
    assert last["num_images"] == 10
    assert last["top1"] <= last["top5"] == 100
    assert main(["evaluate", str(run.folder)]) == 0
    assert f"top-1 {last['top1']:.1f}, top-5 100.0" in capsys.readouterr().out
    assert main(["evaluate", str(run.folder), "--per-class"]) == 0
    lines = re.findall(r"(?m)^ *([\d.]+) %  of +2  (\w+)$", capsys.readouterr().out)
    assert [name for _, name in lines] == ["bar", "cross", "disc", "ring", "square"]
    assert sum(float(value) for value, _ in lines) / 5 == pytest.approx(last["top1"])


@pytest.mark.slow
@pytest.mark.parametrize("editor", ["filters", "instruct-pix2pix"])
def test_genmix_edit_makes_what_training_takes(tmp_path, editor, tiny_pipeline):
    """One store serves `genmix edit` and `uda train`, whichever editor fills it."""
    dataset = make_dataset(tmp_path / "tiny", per_class=4)
    options = ""
    if editor != "filters":
        options = f"model={tiny_pipeline},device=cpu,preset=fast,steps=2,resolution=64"
    store, runs = tmp_path / "edits", tmp_path / "runs"
    edit = ["edit", str(dataset.parent / "pictures" / "Plain"), f"--store={store}"]
    edit += ["--per-image=2", f"--editor={editor}", f"--editor-options={options}"]
    assert genmix(edit) == 0
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    assert sum(path.suffix == ".png" for path in before) >= 20 * 2
    flags = arguments(dataset, runs, "--augment.name=genmix")
    flags += [f"--augment.options.genmix.editor={editor}"]
    flags += [f"--augment.options.genmix.editor_options={options}"] if options else []
    assert main(["train", *flags]) == 0
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()} == before
    config = find_runs(runs)[0].config["augment"]["options"]
    assert config["editor"].startswith(editor), "the run says what made its edits"


@pytest.mark.slow
def test_pair_script(tmp_path):
    """scripts/adapt_pair.sh on a dataset that has a YAML file only."""
    dataset = make_dataset(tmp_path / "tiny")
    flags = arguments(dataset, tmp_path / "runs")
    flags = [flag for flag in flags if not flag.startswith(("--data.source", "--data.scenario"))]
    done = subprocess.run(
        ["bash", "scripts/adapt_pair.sh", "Plain", "Dark", "osda", *flags],
        cwd=ROOT, capture_output=True, text=True, env=_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "LEAD + GenMix" in done.stdout
    run = read_run(next((tmp_path / "runs").glob("lead-*")))
    assert run.metrics()[-1]["epoch"] == 2


@pytest.mark.slow
def test_emoji_home_pair(emoji_home_root, tmp_path, capsys):
    """The real pictures, backbone and recipe, a few steps of it."""
    flags = [f"--config={CONFIGS / 'experiments' / 'emoji_home_opda.yaml'}",
             f"--data.root={emoji_home_root}", f"--runs={tmp_path / 'runs'}",
             f"--store={tmp_path / 'edits'}", "--train.steps=3", "--adapt.epochs=1",
             "--adapt.batch_size=32", "--augment.name=genmix",
             "--augment.options.genmix={edits_per_image: 1, num_fractals: 4}",
             "--adapt.options.lead={clusters: features}", "--threads=1"]  # fmt: skip
    assert main(["train", *flags]) == 0
    assert main(["adapt", *flags]) == 0
    assert "Twemoji → Fluent3D, opda, lead" in capsys.readouterr().out
    run = next(run for run in find_runs(tmp_path / "runs") if run.is_adaptation)
    last = run.metrics("evaluate")[-1]
    assert last["num_images"] > 1000
    assert last["empty_classes"] == []
    assert 0 <= last["h_score"] <= 100


def _environment():
    bin_folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
