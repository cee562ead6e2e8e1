import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.phone import noise, save_tagged
from helpers.tiny import CLASSES
from PIL import Image

import uda
from genmix_aug.images import load_rgb
from uda.cli.main import main
from uda.evaluation.choices import chosen_thresholds, last_probabilities
from uda.evaluation.criteria import mixture_threshold, two_means_threshold
from uda.inference.model import UNKNOWN, load, picture_of
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import read_run


def test_thresholds(runs):
    assert load(runs["lead-Pl2Da-opda-none"]).threshold == 0.55
    assert load(runs["train-Pl-opda-none"]).threshold == 0.55
    assert load(runs["train-Pl-indomain-none"]).threshold is None
    assert load(runs["lead-Pl2Da-pda-none"]).threshold is None
    saved = np.load(runs["shot_o-Pl2Da-opda-none"] / "predictions.npz")
    unknown = saved["label"] == 3
    score = saved["unknown_score"]
    threshold = load(runs["shot_o-Pl2Da-opda-none"]).threshold
    run = read_run(runs["shot_o-Pl2Da-opda-none"])
    assert chosen_thresholds(run, last_probabilities(run))["fixed"] == threshold
    assert score[~unknown].max() < threshold < score[unknown].min()


def test_three_lines_from_picture_to_prediction(lead, pictures):
    path = pictures / "Dark" / "bar" / "00.png"
    model = uda.load(str(lead))
    prediction = model(str(path))
    picture = Image.open(path).convert("RGB")
    array = np.array(picture)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for same in (path, picture, picture.convert("RGBA"), array, tensor):
        assert model(same) == prediction
    assert prediction.label in (*CLASSES[:3], UNKNOWN)
    assert 1 / 3 <= prediction.probability <= 1
    assert 0 <= prediction.entropy == prediction.unknown_score <= 1
    with pytest.raises(ValueError, match=r"no\.png: no such file"):
        model("no.png")


def test_a_phones_picture_is_turned_unless_the_run_is_older(lead, tmp_path, capsys):
    stored, phone = tmp_path / "stored.png", tmp_path / "phone.png"
    noise(40, 60).save(stored)
    save_tagged(phone, noise(40, 60))
    model = load(lead)
    upright = model.prepare(stored).rot90(-1, (1, 2))
    assert torch.equal(model.prepare(phone), load_rgb(phone, 32))
    assert (model.prepare(phone).int() - upright.int()).abs().float().mean() < 4  # resized first
    assert torch.equal(model.prepare(Image.open(phone)), model.prepare(phone))
    older = tmp_path / "older"
    shutil.copytree(lead, older)
    (older / "upright").unlink()
    assert torch.equal(load(older).prepare(phone), model.prepare(stored))
    assert torch.equal(load(older).prepare(Image.open(phone)), model.prepare(stored))
    command = ["predict", str(older), str(phone), f"--out={tmp_path / 'a.csv'}"]
    assert main(command) == 0
    assert "made before pictures were turned as their EXIF tags say" in capsys.readouterr().err


def test_values_are_taken_where_they_leave_no_doubt():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    floats = tensor / 255
    for same in (
        *(tensor, tensor[None], tensor.permute(1, 2, 0), floats, floats.double()[None]),
        *(array, array[None], array.transpose(2, 0, 1), array / 255, floats.requires_grad_()),
    ):
        assert np.array_equal(np.asarray(picture_of(same)), array)
    assert picture_of(array[..., 0]).mode == "L"
    square = torch.from_numpy(array[:3, :, :]).permute(0, 2, 1)  # [3, 3, 7]: a tensor's way
    assert picture_of(square).size == (7, 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (torch.zeros(2, 3, 5, 7), "float32 [2, 3, 5, 7]"),
        (torch.zeros(3, 5, 7, dtype=torch.int64), "int64 [3, 5, 7]"),
        (torch.full((3, 5, 7), 1.5), "these go from 1.5 to 1.5"),
        (torch.full((3, 5, 7), float("nan")), "these go from nan to nan"),
        (torch.zeros(8, 5, 7), "float32 [8, 5, 7]"),
        (np.zeros(5), "float64 [5]"),
        (np.zeros((0, 5, 3)), "float64 [0, 5, 3]"),
    ],
)
def test_values_that_are_no_picture_are_refused(values, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        picture_of(values)
    assert "expected uint8, or floats in [0, 1], as a tensor [3, H, W]" in str(error.value)


def test_a_copied_and_renamed_run_still_predicts(lead, pictures, tmp_path):
    shutil.copytree(lead, tmp_path / "model")
    model = load(tmp_path / "model" / "checkpoint.pt")
    assert model.classes == CLASSES[:3]
    picture = pictures / "Plain" / "bar" / "00.png"
    assert model(picture) == load(lead)(picture)


def test_a_named_checkpoint_is_the_loaded_checkpoint(lead, tmp_path):
    shutil.copytree(lead, tmp_path / "model")
    last = read_checkpoint(tmp_path / "model" / "checkpoint.pt")
    best = {name: value.clone() for name, value in last["model"].items()}
    best["classifier.bias"] += 1
    torch.save({"model": best, "epoch": 1}, tmp_path / "model" / "best.pt")

    def bias(name):
        return load(tmp_path / "model" / name, "cpu").model.classifier.bias

    assert torch.equal(bias("checkpoint.pt"), last["model"]["classifier.bias"])
    assert torch.equal(bias("best.pt"), best["classifier.bias"])
    assert torch.equal(bias(""), best["classifier.bias"])  # the run's result
    with pytest.raises(ValueError, match="classes.json: not a readable checkpoint"):
        bias("classes.json")


def test_objects_that_are_no_picture_are_named(lead):
    model = load(lead, "cpu")
    for wrong in (["a.png"], b"png", None):
        with pytest.raises(
            ValueError, match="not a picture: a .*; expected a path, a Pillow image"
        ):
            model(wrong)


def test_a_float16_run_predicts_without_a_gpu(lead, pictures, tmp_path, capsys, in_precision):
    half = in_precision(lead, "float16")
    picture = pictures / "Dark" / "bar" / "00.png"
    model = load(half, "cpu")
    assert model(picture) == load(lead, "cpu")(picture)
    notice = "float16 needs a GPU: this run's model answers in float32 here"
    assert capsys.readouterr().err.splitlines() == [notice]
    flags = [str(picture.parent), f"--out={tmp_path / 'a.csv'}", "--device=cpu"]
    assert main(["predict", str(half), *flags]) == 0
    assert notice in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is evaluated in float16 on a GPU")
def test_a_float16_run_is_evaluated_without_a_gpu(lead, capsys, in_precision):
    half = in_precision(lead, "float16")
    scores = []
    for folder in (lead, half):
        assert main(["evaluate", str(folder)]) == 0
        scores.append(capsys.readouterr())
    assert scores[0].out == scores[1].out
    assert "float16 needs a GPU" in scores[1].err
    assert not scores[0].err


def test_class_names_of_older_runs_come_from_the_dataset(lead, tmp_path, pictures):
    copy = tmp_path / "model"
    shutil.copytree(lead, copy)
    (copy / "classes.json").unlink()
    assert load(copy).classes == CLASSES[:3]  # from the dataset's file, which still exists
    (copy / "classes.json").write_text("{}")
    with pytest.raises(ValueError, match=r"classes\.json: not a list of class names"):
        load(copy)
    (copy / "classes.json").unlink()
    file = pictures.parent / "tiny.yaml"
    text = file.read_text()
    try:
        file.write_text(text.replace("- bar", "- beam"))
        with pytest.raises(ValueError, match="no classes.json in it, and .* has other classes"):
            load(copy)
        file.unlink()
        with pytest.raises(ValueError, match="no classes.json in it, and data.dataset: no file"):
            load(copy)
    finally:
        file.write_text(text)


def test_runs_that_cannot_be_loaded_are_named(lead, tmp_path):
    with pytest.raises(ValueError, match="no config.yaml"):
        load(tmp_path)
    with pytest.raises(ValueError, match="device: 'cuda:99' cannot be used"):
        load(lead, "cuda:99")
    shutil.copytree(lead, tmp_path / "half")
    (tmp_path / "half" / "done").unlink()
    with pytest.raises(ValueError, match="not finished"):
        load(tmp_path / "half")


def test_another_threshold(lead, pictures, tmp_path, capsys):
    model = load(lead)
    predictions = [model(path) for path in sorted((pictures / "Dark").glob("*/*.png"))]
    scores = np.array([prediction.unknown_score for prediction in predictions])
    saved = np.load(lead / "predictions.npz")["unknown_score"]
    for threshold, expected in (
        ("0.3", 0.3),
        ("mixture", mixture_threshold(saved)),
        ("two-means", two_means_threshold(saved)),
    ):
        assert load(lead, threshold=threshold).threshold == pytest.approx(
            expected, abs=2e-3
        )  # float16
        assert (
            uda.load(lead, "cpu", threshold).threshold == load(lead, threshold=threshold).threshold
        )
    out = tmp_path / "answers.csv"
    command = ["predict", str(lead), str(pictures / "Dark"), "--out", str(out)]
    assert main([*command, "--threshold=0.3"]) == 0
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["class"] == UNKNOWN for row in rows) == (scores > 0.3).sum()
    capsys.readouterr()
    for wrong in ("1.5", "otsu", "nan"):
        assert main([*command, f"--threshold={wrong}"]) == 1
        assert f"'{wrong}' is neither a number" in capsys.readouterr().err


def test_importing_uda_needs_no_torch():
    code = "import sys, uda; uda.load; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
    )
