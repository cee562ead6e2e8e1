import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.tiny import CLASSES, arguments, make_dataset
from PIL import Image

import uda
from uda.cli.main import main
from uda.data.pixels import resize
from uda.evaluation.choices import chosen_thresholds, last_probabilities
from uda.evaluation.criteria import mixture_threshold, two_means_threshold
from uda.inference.export import METADATA, metadata
from uda.inference.model import UNKNOWN, load, picture_of
from uda.inference.pictures import find_pictures, predict, write_csv, write_sheet
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs, read_run
from uda.runs.hashing import config_hash


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset, and runs of every kind on it: folder name's beginning -> folder."""
    root = tmp_path_factory.mktemp("made")
    flags = arguments(make_dataset(root / "tiny"), root / "runs", "--data.target=Dark")
    assert main(["train", *flags]) == 0
    for method in ("lead", "shot_o"):
        assert main(["adapt", *flags, f"--adapt.method={method}", "--adapt.epochs=1"]) == 0
    own = [*flags, "--data.target=", "--data.scenario="]
    assert main(["train", *own, "--train.steps=3"]) == 0
    pda = [*flags, "--data.scenario=pda", "--train.steps=3"]
    for command in ("train", "adapt"):
        assert main([command, *pda, "--adapt.epochs=1"]) == 0
    folders = {run.folder.name.split("-s0-")[0]: run.folder for run in find_runs(root / "runs")}
    return root / "tiny" / "pictures", folders


@pytest.fixture
def pictures(made):
    return made[0]


@pytest.fixture
def lead(made):
    return made[1]["lead-Pl2Da-opda-none"]


@pytest.mark.parametrize("name", ["lead-Pl2Da-opda-none", "shot_o-Pl2Da-opda-none"])
def test_answers_are_what_the_run_predicted_of_its_target(made, name):
    folder = made[1][name]
    model = load(folder)
    kept = np.load(folder / "predictions.npz")
    names = (*CLASSES[:3], UNKNOWN)
    expected = {
        str(one): (names[label], score)
        for one, label, score in zip(
            kept["name"], kept["label"], kept["unknown_score"], strict=True
        )
    }
    paths = [path for path in find_pictures([str(made[0] / "Dark")]) if path.parent.name != "disc"]
    answered = predict(model, paths)
    assert len(paths) == len(expected) == 36
    for path, answer in zip(answered.paths, answered.answers, strict=True):
        label, score = expected[f"{path.parent.name}/{path.name}"]
        assert answer.label == label
        assert answer.unknown_score == pytest.approx(score, abs=1e-5)
        assert answer.nearest in CLASSES[:3]
        assert answer.label in (answer.nearest, UNKNOWN)


def test_thresholds(made):
    folders = made[1]
    assert load(folders["lead-Pl2Da-opda-none"]).threshold == 0.55
    assert load(folders["train-Pl-opda-none"]).threshold == 0.55
    assert load(folders["train-Pl-indomain-none"]).threshold is None
    assert load(folders["lead-Pl2Da-pda-none"]).threshold is None
    kept = np.load(folders["shot_o-Pl2Da-opda-none"] / "predictions.npz")
    unknown = kept["label"] == 3
    score = kept["unknown_score"]
    threshold = load(folders["shot_o-Pl2Da-opda-none"]).threshold
    run = read_run(folders["shot_o-Pl2Da-opda-none"])
    assert chosen_thresholds(run, last_probabilities(run))["fixed"] == threshold
    assert score[~unknown].max() < threshold < score[unknown].min()


def test_three_lines_from_picture_to_answer(lead, pictures):
    path = pictures / "Dark" / "bar" / "00.png"
    model = uda.load(str(lead))
    answer = model(str(path))
    picture = Image.open(path).convert("RGB")
    array = np.array(picture)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for same in (path, picture, picture.convert("RGBA"), array, tensor):
        assert model(same) == answer
    assert answer.label in (*CLASSES[:3], UNKNOWN)
    assert 1 / 3 <= answer.probability <= 1
    assert 0 <= answer.entropy == answer.unknown_score <= 1
    with pytest.raises(ValueError, match=r"no\.png: no such file"):
        model("no.png")


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
def test_values_that_are_no_picture_are_told_so(values, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        picture_of(values)
    assert "expected uint8, or floats in [0, 1], as a tensor [3, H, W]" in str(error.value)


def test_a_copied_and_renamed_run_answers_alone(lead, pictures, tmp_path):
    shutil.copytree(lead, tmp_path / "model")
    model = load(tmp_path / "model" / "checkpoint.pt")
    assert model.classes == CLASSES[:3]
    picture = pictures / "Plain" / "bar" / "00.png"
    assert model(picture) == load(lead)(picture)


def test_a_named_checkpoint_is_the_one_that_answers(lead, tmp_path):
    shutil.copytree(lead, tmp_path / "model")
    last = read_checkpoint(tmp_path / "model" / "checkpoint.pt")
    best = {name: value.clone() for name, value in last["model"].items()}
    best["classifier.bias"] += 1
    torch.save({"model": best, "epoch": 1}, tmp_path / "model" / "best.pt")

    def bias(place):
        return load(tmp_path / "model" / place, "cpu").model.classifier.bias

    assert torch.equal(bias("checkpoint.pt"), last["model"]["classifier.bias"])
    assert torch.equal(bias("best.pt"), best["classifier.bias"])
    assert torch.equal(bias(""), best["classifier.bias"])  # the run's result
    with pytest.raises(ValueError, match="classes.json: not a readable checkpoint"):
        bias("classes.json")


def test_what_is_no_picture_is_named(lead):
    model = load(lead, "cpu")
    for wrong in (["a.png"], b"png", None):
        with pytest.raises(
            ValueError, match="not a picture: a .*; expected a path, a Pillow image"
        ):
            model(wrong)


def in_precision(folder, precision, into):
    """A copy of a run, as if it had been made in another precision."""
    config = dict(read_run(folder).config)
    config["source"] = {**config["source"], "precision": precision}
    name = folder.name.rsplit("-", 1)[0]
    copy = into / f"{name}-{config_hash(config)}"
    shutil.copytree(folder, copy)
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    return copy


def test_a_float16_run_answers_without_a_gpu(lead, pictures, tmp_path, capsys):
    half = in_precision(lead, "float16", tmp_path)
    picture = pictures / "Dark" / "bar" / "00.png"
    model = load(half, "cpu")
    assert model(picture) == load(lead, "cpu")(picture)
    told = "float16 needs a GPU: this run's model answers in float32 here"
    assert capsys.readouterr().err.splitlines() == [told]
    given = [str(picture.parent), f"--out={tmp_path / 'a.csv'}", "--device=cpu"]
    assert main(["predict", str(half), *given]) == 0
    assert told in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is evaluated in float16 there")
def test_a_float16_run_is_evaluated_without_a_gpu(lead, tmp_path, capsys):
    half = in_precision(lead, "float16", tmp_path)
    scores = []
    for folder in (lead, half):
        assert main(["evaluate", str(folder)]) == 0
        scores.append(capsys.readouterr())
    assert scores[0].out == scores[1].out
    assert "float16 needs a GPU" in scores[1].err
    assert not scores[0].err


def test_runs_from_before_classes_were_kept(lead, tmp_path, pictures):
    copy = tmp_path / "model"
    shutil.copytree(lead, copy)
    (copy / "classes.json").unlink()
    assert load(copy).classes == CLASSES[:3]  # from the dataset's file, which is still there
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


def test_what_cannot_be_loaded_is_named(lead, tmp_path):
    with pytest.raises(ValueError, match="no config.yaml"):
        load(tmp_path)
    with pytest.raises(ValueError, match="device: 'cuda:99' cannot be used"):
        load(lead, "cuda:99")
    shutil.copytree(lead, tmp_path / "half")
    (tmp_path / "half" / "done").unlink()
    with pytest.raises(ValueError, match="not finished"):
        load(tmp_path / "half")


def test_pictures_come_from_folders_lists_globs_and_files(pictures, tmp_path):
    bar = pictures / "Plain" / "bar"
    everything = [bar / f"{i:02d}.png" for i in range(9)]
    assert find_pictures([str(bar)]) == everything
    assert find_pictures([str(bar / "0[0-2].png"), str(bar / "01.png")]) == everything[:3]
    assert len(find_pictures([str(pictures / "**" / "*.png")])) == 90
    shutil.copy(everything[0], tmp_path / "a b 7.png")
    lines = f"a b 7.png\n\na b 7.png 4\n{everything[1]}\t-1\nmissing.png 3\n"
    (tmp_path / "list.txt").write_text(lines)
    found = find_pictures([str(tmp_path / "list.txt")])
    assert found == [tmp_path / "a b 7.png", everything[1], tmp_path / "missing.png"]
    for nothing in (str(tmp_path / "*.jpg"), str(tmp_path / "no")):
        with pytest.raises(ValueError, match="no picture there"):
            find_pictures([nothing])


def test_another_threshold(lead, pictures, tmp_path, capsys):
    model = load(lead)
    answers = [model(path) for path in sorted((pictures / "Dark").glob("*/*.png"))]
    scores = np.array([answer.unknown_score for answer in answers])
    kept = np.load(lead / "predictions.npz")["unknown_score"]
    for given, cut in (
        ("0.3", 0.3),
        ("mixture", mixture_threshold(kept)),
        ("two-means", two_means_threshold(kept)),
    ):
        assert load(lead, threshold=given).threshold == pytest.approx(cut, abs=2e-3)  # float16
        assert uda.load(lead, "cpu", given).threshold == load(lead, threshold=given).threshold
    out = tmp_path / "answers.csv"
    asked = ["predict", str(lead), str(pictures / "Dark"), "--out", str(out)]
    assert main([*asked, "--threshold=0.3"]) == 0
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["class"] == UNKNOWN for row in rows) == (scores > 0.3).sum()
    capsys.readouterr()
    for wrong in ("1.5", "otsu", "nan"):
        assert main([*asked, f"--threshold={wrong}"]) == 1
        assert f"'{wrong}' is neither a number" in capsys.readouterr().err


def test_predict_writes_a_table_and_a_sheet(lead, pictures, tmp_path, capsys):
    bad, out, sheet = tmp_path / "bad.jpg", tmp_path / "answers.csv", tmp_path / "unknown.png"
    bad.write_text("no picture")
    given = ["predict", str(lead), str(pictures / "Dark"), str(bad)]
    assert main([*given, "--out", str(out), "--sheet", str(sheet)]) == 0
    told = capsys.readouterr()
    assert f"passed over: cannot read image {bad}" in told.err
    assert "1 could not be read" in told.out
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 45
    assert rows[0]["path"] == str(pictures / "Dark" / "bar" / "00.png")
    for row in rows:
        assert (row["class"] == UNKNOWN) == (float(row["unknown_score"]) > 0.55)
    unknown = sum(row["class"] == UNKNOWN for row in rows)
    assert f"45 pictures: {unknown} unknown, {45 - unknown} of known classes" in told.out
    assert sheet.is_file() == bool(unknown)


def test_the_sheet_shows_the_surest_first(lead, pictures, tmp_path):
    model = load(lead)
    answered = predict(model, find_pictures([str(pictures / "Dark")]))
    always = type(answered)(
        answered.paths,
        tuple(
            type(answer)(
                UNKNOWN, answer.nearest, answer.probability, answer.entropy, answer.entropy
            )
            for answer in answered.answers
        ),
        {},
    )
    scores = [answer.unknown_score for _, answer in always.unknown]
    assert scores == sorted(scores, reverse=True)
    assert write_sheet(always, tmp_path / "unknown.png") == 45
    with Image.open(tmp_path / "unknown.png") as sheet:
        assert sheet.width > 8 * 120
        assert sheet.height > 6 * 120
    none = type(answered)((), (), {})
    assert write_sheet(none, tmp_path / "none.png") == 0
    assert not (tmp_path / "none.png").exists()
    write_csv(none, tmp_path / "none.csv")
    assert len((tmp_path / "none.csv").read_text().splitlines()) == 1


def test_mistakes_get_one_line(lead, pictures, tmp_path, capsys):
    for given, words in (
        ([str(lead), str(tmp_path / "no")], "no picture there"),
        ([str(tmp_path), str(pictures)], "no config.yaml"),
        ([str(lead), str(pictures), "--sheet", "x.jpg"], "must end in .png"),
    ):
        assert main(["predict", *given, "--out", str(tmp_path / "out.csv")]) == 1
        error = capsys.readouterr().err.strip()
        assert words in error
        assert "\n" not in error
    assert not (tmp_path / "out.csv").exists()
    (tmp_path / "bad.jpg").write_text("no picture")
    given = [str(lead), str(tmp_path / "bad.jpg"), f"--out={tmp_path / 'out.csv'}"]
    assert main(["predict", *given]) == 1
    told = capsys.readouterr()
    assert "passed over: cannot read image" in told.err
    assert told.err.splitlines()[-1].endswith("none of 1 pictures could be read; nothing written")
    assert not told.out
    assert not (tmp_path / "out.csv").exists()


def test_importing_uda_needs_no_torch():
    code = "import sys, uda; uda.load; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
    )


def prepared(path, about):
    """As the metadata describes it, by other means than the project's."""
    picture = Image.open(path).convert("RGB")
    for px in (about["decode_px"], about["px"]):
        picture = picture.resize((px, px), Image.Resampling.BILINEAR)
    return np.array(picture, dtype=np.float32).transpose(2, 0, 1)[None] / 255


def check_outputs(outputs, model, path):
    label, probability, entropy, probabilities = (np.asarray(value) for value in outputs)
    answer = model(path)
    assert (*model.classes, UNKNOWN)[int(label[0])] == answer.label
    assert probability[0] == pytest.approx(answer.probability, abs=1e-4)
    assert entropy[0] == pytest.approx(answer.entropy, abs=1e-4)
    assert probabilities.shape == (1, 3)


@pytest.mark.slow
def test_export_to_torch(lead, pictures, tmp_path, capsys):
    out, path = tmp_path / "model.pt2", pictures / "Dark" / "ring" / "03.png"
    assert main(["export", str(lead), "--format=torch", f"--out={out}"]) == 0
    said = "in float32: its answers differ from those of the model in float32 by at most"
    assert said in capsys.readouterr().out
    files = {METADATA: ""}
    program = torch.export.load(out, extra_files=files).module()
    about = json.loads(files[METADATA])
    assert about["classes"] == list(CLASSES[:3])
    assert about["threshold"] == 0.55
    model = load(lead)
    check_outputs(program(torch.from_numpy(prepared(path, about))), model, path)
    assert model(path) == load(lead)(path)  # exporting has left the model as it was
    assert len(program(torch.rand(5, 3, 32, 32))[0]) == 5


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_run_in_less_precision_is_exported_in_float32(lead, pictures, tmp_path, precision):
    lower = in_precision(lead, precision, tmp_path)
    out, path = tmp_path / "model.pt2", pictures / "Dark" / "ring" / "03.png"
    assert main(["export", str(lower), "--format=torch", f"--out={out}"]) == 0
    model = load(lead)
    outputs = torch.export.load(out).module()(torch.from_numpy(prepared(path, metadata(model))))
    check_outputs(outputs, model, path)


def test_metadata_say_how_pictures_are_prepared(lead, tmp_path):
    path = tmp_path / "large.png"
    values = np.random.default_rng(0).integers(0, 256, (200, 120, 3), np.uint8)
    Image.fromarray(values).resize((300, 400), Image.Resampling.BICUBIC).save(path)
    model = load(lead)
    images = replace(model.experiment.images, decode_px=80, resize_px=40)
    model = replace(model, experiment=replace(model.experiment, images=images))
    about = metadata(model)
    assert "80 x 80, then to 40 x 40" in about["input"]
    expected = resize(model.prepared(path)[None], 40).numpy() / 255
    # Rounded twice on both ways, by Pillow here and by torch there.
    np.testing.assert_allclose(prepared(path, about), expected, atol=1.01 / 255)


@pytest.mark.slow
def test_export_to_onnx(lead, pictures, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out, path = tmp_path / "model.onnx", pictures / "Dark" / "ring" / "03.png"
    assert main(["export", str(lead), f"--out={out}"]) == 0
    session = onnxruntime.InferenceSession(str(out))
    about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    assert [one.name for one in session.get_outputs()] == about["outputs"]
    outputs = session.run(None, {"images": prepared(path, about)})
    check_outputs(outputs, load(lead), path)


@pytest.mark.slow
def test_export_refuses_what_it_cannot_write(lead, tmp_path, capsys, monkeypatch):
    assert main(["export", str(lead), "--format=keras", f"--out={tmp_path / 'm'}"]) == 1
    assert "'keras' is not one of onnx, torch" in capsys.readouterr().err
    assert main(["export", str(lead), "--format=torch", f"--out={tmp_path / 'm.pt'}"]) == 1
    assert "must end in .pt2" in capsys.readouterr().err
    assert main(["export", str(lead), f"--out={tmp_path / 'm.pt'}"]) == 1
    assert "must end in .onnx: " in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", str(lead), f"--out={tmp_path / 'm.onnx'}"]) == 1
    assert "onnxruntime is not installed; in the project" in capsys.readouterr().err
    monkeypatch.setattr("uda.inference.export.TOLERANCE", -1.0)
    assert main(["export", str(lead), "--format=torch", f"--out={tmp_path / 'm.pt2'}"]) == 1
    assert "m.pt2: not written: its answers differ" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
