"""The threshold of the source stage, from training to an exported file."""

import json

import numpy as np
import pytest
import torch
import yaml
from helpers.tiny import CLASSES, arguments, make_dataset

from uda.cli.main import main
from uda.evaluation.choices import chosen_thresholds, last_probabilities
from uda.evaluation.source_cut import source_cuts
from uda.inference.export import METADATA
from uda.inference.model import load
from uda.runs.folder import find_runs
from uda.training.bank import row_cosines, view_banks

WAY = ["--answer.views=2", "--answer.score=cosine", "--answer.threshold=source"]
WORDS = "2 views, cosine, source"


def flags_of(dataset, runs, *more):
    return arguments(dataset, runs, "--data.target=Dark", "--adapt.method=adabn", *more)


def runs_in(folder):
    """Return the source model's run, and the adaptations by their answer's threshold."""
    runs = find_runs(folder)
    (source,) = (run for run in runs if run.is_source_model)
    return source, {run.answer.get("threshold"): run for run in runs if run.is_adaptation}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The dataset, and a folder of runs with AdaBN that answers by the source's threshold."""
    root = tmp_path_factory.mktemp("source_cut")
    dataset = make_dataset(root / "tiny")
    assert main(["train", *flags_of(dataset, root / "runs")]) == 0
    assert main(["adapt", *flags_of(dataset, root / "runs", *WAY)]) == 0
    return dataset, root / "runs"


def test_the_threshold_is_kept_with_the_source_model_and_with_the_answers(tiny, capsys):
    dataset, runs = tiny
    source, adapted = runs_in(runs)
    ((way, cuts),) = source.choices("thresholds").items()
    assert way == "2 views, cosine"
    assert len(cuts) == 20
    cut = adapted["source"].source_cut()
    assert cut == pytest.approx(np.mean(cuts))
    answers = adapted["source"].predictions()
    assert np.array_equal(answers["label"] == 3, answers["unknown_score"] > cut)
    assert adapted[None].source_cut() is None
    assert main(["train", *flags_of(dataset, runs, *WAY)]) == 0
    printed = capsys.readouterr().out
    assert "Already trained" in printed
    assert f"Unknown above {cut:.3f} ({WORDS})" in printed


def test_evaluate_predict_export_and_report_go_by_it(tiny, tmp_path, capsys):
    dataset, runs = tiny
    run = runs_in(runs)[1]["source"]
    capsys.readouterr()
    assert main(["evaluate", str(run.folder)]) == 0
    assert f"{run.evaluations()[-1]['h_score']:.1f}" in capsys.readouterr().out
    model = load(run.folder)
    assert model.threshold == run.source_cut()
    paths = sorted((dataset.parent / "pictures" / "Dark").glob("*/*.png"))[:9]
    given = model.predict([model.prepare(path) for path in paths])
    files = {METADATA: ""}
    out = tmp_path / "model.pt2"
    assert main(["export", str(run.folder), "--format=torch", f"--out={out}"]) == 0
    program = torch.export.load(out, extra_files=files).module()
    assert json.loads(files[METADATA])["threshold"] == run.source_cut()
    label, *_ = program(torch.stack([model.prepare(path) for path in paths]).float() / 255)
    names = (*model.classes, "unknown")
    assert [names[k] for k in label.tolist()] == [prediction.label for prediction in given]
    assert chosen_thresholds(run, last_probabilities(run))["fixed"] == run.source_cut()
    assert main(["report", str(runs), "--formats=md"]) == 0
    assert f"AdaBN, {WORDS}" in (runs / "report.md").read_text()


def test_a_source_model_that_keeps_it_needs_no_picture_of_the_source(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny")
    flags = flags_of(dataset, tmp_path / "runs")
    assert main(["train", *flags, *WAY]) == 0
    (dataset.parent / "pictures" / "Plain").rename(tmp_path / "elsewhere")
    assert main(["adapt", *flags, *WAY]) == 0
    capsys.readouterr()
    assert main(["adapt", *flags, *WAY, "--answer.views=1"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "answer.threshold: source needs the source's pictures, once: " in error
    assert "`uda train` with the same options keeps it with the model" in error


def test_pictures_that_are_kept_apart_decide_where_there_are_some(tmp_path):
    dataset = make_dataset(tmp_path / "tiny")
    flags = flags_of(dataset, tmp_path / "runs", "--data.validation=0.4")
    assert main(["adapt", *flags, *WAY]) == 1  # before training
    assert main(["train", *flags, *WAY]) == 0
    assert main(["adapt", *flags, *WAY]) == 0
    source, adapted = runs_in(tmp_path / "runs")
    record = source.pictures()
    assert (record["training"]["count"], record["validation"]["count"]) == (15, 12)
    assert not source.best_checkpoint.exists()
    model = load(source.folder)
    names = [name for name in record["validation"]["hashes"]]
    folder = dataset.parent / "pictures" / "Plain"
    images = torch.stack([model.prepare(folder / name) for name in names])
    banks = list(view_banks(model.model, images, 28, 2, torch.device("cpu")))
    labels = np.array([model.classes.index(name.split("/")[0]) for name in names])
    cosines = torch.stack([row_cosines(bank) for bank in banks]).mean(dim=0)
    views = torch.stack([bank.probabilities for bank in banks])
    expected = np.mean(source_cuts("cosine", views, cosines, labels))
    assert adapted["source"].source_cut() == pytest.approx(expected, abs=1e-5)


def test_other_pictures_than_the_models_are_refused(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny")
    flags = flags_of(dataset, tmp_path / "runs")
    assert main(["train", *flags]) == 0
    (dataset.parent / "pictures" / "Plain" / CLASSES[0] / "00.png").unlink()
    capsys.readouterr()
    assert main(["adapt", *flags, *WAY]) == 1
    assert "made of other training pictures of Plain" in capsys.readouterr().err


def test_under_pda_it_rejects_too(tiny, tmp_path):
    dataset, _ = tiny
    flags = flags_of(dataset, tmp_path / "runs", "--data.scenario=pda")
    assert main(["train", *flags]) == 0
    assert main(["adapt", *flags, *WAY]) == 0
    source, adapted = runs_in(tmp_path / "runs")
    run = adapted["source"]
    answers = run.predictions()
    # A threshold below all scores rejects everything, whatever the scenario.
    source.save_choices("thresholds", {"2 views, cosine": [0.0]})
    (run.folder / "done").unlink()
    assert main(["adapt", *flags, *WAY]) == 0
    assert load(run.folder).threshold == 0
    assert (run.predictions()["label"] == len(CLASSES)).all()
    assert run.evaluations()[-1]["accuracy"] == 0
    assert run.predictions()["unknown_score"].tolist() == answers["unknown_score"].tolist()


def test_a_source_model_given_as_a_file_has_one_too(tiny, tmp_path):
    dataset, runs = tiny
    source, adapted = runs_in(runs)
    before = source.choices("thresholds")
    flags = flags_of(dataset, tmp_path / "runs", f"--adapt.checkpoint={source.checkpoint}")
    assert main(["adapt", *flags, *WAY]) == 0
    others = {run.answer.get("threshold"): run for run in find_runs(tmp_path / "runs")}
    assert others["source"].source_cut() == pytest.approx(adapted["source"].source_cut())
    assert source.choices("thresholds") == before


def test_an_adaptation_without_a_source_model_has_none(tiny, tmp_path, capsys):
    dataset, _ = tiny
    start = ["--adapt.method=ovanet", "--adapt.start=backbone"]
    assert main(["adapt", *flags_of(dataset, tmp_path / "runs", *WAY, *start)]) == 1
    assert "source comes from a source model, and adapt.start is backbone" in (
        capsys.readouterr().err
    )
    assert not list(tmp_path.glob("runs/*/config.yaml"))


def test_a_run_that_has_lost_it_is_named(tiny, tmp_path):
    _, runs = tiny
    run = runs_in(runs)[1]["source"]
    text = (run.folder / "metrics.jsonl").read_text()
    line = json.loads(text)
    del line["threshold"]
    (run.folder / "metrics.jsonl").write_text(json.dumps(line))
    try:
        with pytest.raises(ValueError, match="the threshold is not in it any more"):
            load(run.folder)
    finally:
        (run.folder / "metrics.jsonl").write_text(text)


def test_the_source_models_name_does_not_depend_on_it(tiny):
    source, adapted = runs_in(tiny[1])
    assert "answer" not in yaml.safe_load((source.folder / "config.yaml").read_text())
    assert adapted["source"].source == source.config
