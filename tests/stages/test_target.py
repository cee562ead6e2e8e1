"""An adaptation that answers otherwise than its method does."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main
from uda.inference.export import METADATA
from uda.inference.model import load
from uda.runs.folder import find_runs

SIX_VIEWS = ["--answer.views=6", "--answer.score=cosine", "--answer.threshold=two-means"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The dataset, flags, and the runs of AdaBN as published and with six views."""
    root = tmp_path_factory.mktemp("answers")
    dataset = make_dataset(root / "tiny")
    flags = arguments(dataset, root / "runs", "--data.target=Dark", "--adapt.method=adabn")
    assert main(["train", *flags]) == 0
    assert main(["adapt", *flags, *SIX_VIEWS]) == 0
    plain, six = sorted(
        (run for run in find_runs(root / "runs") if run.is_adaptation), key=lambda r: len(r.answer)
    )
    return dataset, flags, plain, six


def test_the_model_is_adapted_once_and_answers_anew(tiny, capsys):
    _, flags, plain, six = tiny
    assert plain.config == {key: value for key, value in six.config.items() if key != "answer"}
    assert six.answer == {"views": 6, "score": "cosine", "threshold": "two-means"}
    assert six.checkpoint.read_bytes() == plain.checkpoint.read_bytes()
    (line,) = six.metrics("evaluate")
    assert line["num_images"] == plain.metrics("evaluate")[-1]["num_images"]
    stamp = plain.checkpoint.stat().st_mtime_ns
    assert main(["adapt", *flags, *SIX_VIEWS]) == 0
    out = capsys.readouterr().out
    assert "Already adapted" in out
    assert "adabn (6 views, cosine, two-means), augmentation none" in out
    assert main(["adapt", *flags, "--answer.threshold=mixture"]) == 0
    assert plain.checkpoint.stat().st_mtime_ns == stamp


def test_evaluate_predict_and_export_answer_as_the_run_does(tiny, tmp_path, capsys):
    dataset, _, _, six = tiny
    pictures = dataset.parent / "pictures" / "Dark"
    capsys.readouterr()
    assert main(["evaluate", str(six.folder)]) == 0
    assert f"{six.metrics('evaluate')[-1]['h_score']:.1f}" in capsys.readouterr().out
    model, answers = load(six.folder), six.predictions()
    paths = sorted(pictures.glob("*/*.png"))
    by_name = dict(zip(answers["name"], range(len(paths)), strict=False))
    given = model.predict([model.prepare(path) for path in paths])
    names = (*model.classes, "unknown")
    scored = [
        (p, by_name.get(f"{path.parent.name}/{path.name}"))
        for p, path in zip(given, paths, strict=True)
    ]
    scored = [(prediction, row) for prediction, row in scored if row is not None]
    assert len(scored) == len(answers["label"])
    for prediction, row in scored:
        assert prediction.label == names[answers["label"][row]]
        assert prediction.unknown_score == pytest.approx(answers["unknown_score"][row], abs=1e-4)
    out = tmp_path / "model.pt2"
    assert main(["export", str(six.folder), "--format=torch", f"--out={out}"]) == 0
    files = {METADATA: ""}
    program = torch.export.load(out, extra_files=files).module()
    about = json.loads(files[METADATA])
    assert (about["views"], about["score"]) == (6, "cosine")
    batch = torch.stack([model.prepare(path) for path in paths[:9]]).float() / 255
    label, *_, score = program(batch)
    assert [names[k] for k in label.tolist()] == [prediction.label for prediction in given[:9]]
    expected = [prediction.unknown_score for prediction in given[:9]]
    np.testing.assert_allclose(score.detach().numpy(), expected, atol=1e-3)


def test_a_sweep_compares_answers_and_adapts_once(tiny, capsys):
    _, flags, plain, six = tiny
    methods = [
        "adabn",
        {"method": "adabn", "answer": {"views": 6, "score": "cosine", "threshold": "two-means"}},
        {"method": "adabn", "title": "Two views", "answer": {"views": 2, "threshold": 0.5}},
    ]
    sweep = [flag for flag in flags if not flag.startswith(("--data.source", "--data.target"))]
    sweep += ["--sweep.pairs=[Pl2Da]", "--sweep.augmentations=[none]", "--workers=1"]
    assert main(["sweep", *sweep, f"--sweep.methods={json.dumps(methods)}"]) == 0
    rows = capsys.readouterr().out
    for title in ("AdaBN ", "AdaBN, 6 views, cosine, two-means", "Two views"):
        assert title in rows
    answers = [run.answer for run in find_runs(plain.folder.parent) if run.is_adaptation]
    assert {"views": 2, "threshold": "0.5"} in answers
    assert plain.answer in answers
    assert six.answer in answers


def test_a_wrong_key_in_a_sweep_is_named(tiny, capsys):
    _, flags, _, _ = tiny
    wrong = json.dumps([{"method": "adabn", "answer": {"view": 6}}])
    assert main(["sweep", *flags, f"--sweep.methods={wrong}", "--workers=1"]) == 1
    assert "answer: unknown key 'view'; known: views, score, threshold" in capsys.readouterr().err


def test_the_published_way_of_an_older_run_keeps_its_name(tiny):
    _, _, plain, _ = tiny
    assert "answer" not in yaml.safe_load((plain.folder / "config.yaml").read_text())
    assert replace(plain).answer == {}
