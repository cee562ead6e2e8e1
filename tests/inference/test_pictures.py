import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import CLASSES
from PIL import Image

from uda.cli.main import main
from uda.inference.model import UNKNOWN, ImagePrediction, load
from uda.inference.pictures import (
    PredictedImages,
    find_pictures,
    predict,
    write_csv,
    write_sheet,
)


@pytest.mark.parametrize("name", ["lead-Pl2Da-opda-none", "shot_o-Pl2Da-opda-none"])
def test_predictions_are_those_of_the_run_on_its_target(runs, pictures, name):
    folder = runs[name]
    model = load(folder)
    saved = np.load(folder / "predictions.npz")
    names = (*CLASSES[:3], UNKNOWN)
    expected = {
        str(picture): (names[label], score)
        for picture, label, score in zip(
            saved["name"], saved["label"], saved["unknown_score"], strict=True
        )
    }
    paths = [path for path in find_pictures([str(pictures / "Dark")]) if path.parent.name != "disc"]
    predicted = predict(model, paths)
    assert len(paths) == len(expected) == 36
    for path, prediction in zip(predicted.paths, predicted.predictions, strict=True):
        label, score = expected[f"{path.parent.name}/{path.name}"]
        assert prediction.label == label
        assert prediction.unknown_score == pytest.approx(score, abs=1e-5)
        assert prediction.nearest in CLASSES[:3]
        assert prediction.label in (prediction.nearest, UNKNOWN)


def test_pictures_come_from_folders_lists_globs_and_files(pictures, tmp_path):
    bar = pictures / "Plain" / "bar"
    everything = [bar / f"{i:02d}.png" for i in range(9)]
    assert find_pictures([str(bar)]) == everything
    assert find_pictures([str(bar / "0[0-2].png"), str(bar / "01.png")]) == everything[:3]
    assert len(find_pictures([str(pictures / "**" / "*.png")])) == 90
    shutil.copy(everything[0], tmp_path / "a b 7.png")
    lines = f"a b 7.png\n\na b 7.png 4\n{everything[1]}\t-1\nmissing.png 3\n"
    (tmp_path / "list.txt").write_text(lines)
    listed = find_pictures([str(tmp_path / "list.txt")])
    assert listed == [tmp_path / "a b 7.png", everything[1], tmp_path / "missing.png"]
    for nothing in (str(tmp_path / "*.jpg"), str(tmp_path / "no")):
        with pytest.raises(ValueError, match="no picture there"):
            find_pictures([nothing])


def test_predict_writes_a_table_and_a_sheet(lead, pictures, tmp_path, capsys):
    bad, out, sheet = tmp_path / "bad.jpg", tmp_path / "answers.csv", tmp_path / "unknown.png"
    bad.write_text("no picture")
    command = ["predict", str(lead), str(pictures / "Dark"), str(bad)]
    assert main([*command, "--out", str(out), "--sheet", str(sheet)]) == 0
    printed = capsys.readouterr()
    assert f"passed over: cannot read image {bad}" in printed.err
    assert "1 could not be read" in printed.out
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 45
    assert rows[0]["path"] == str(pictures / "Dark" / "bar" / "00.png")
    for row in rows:
        assert (row["class"] == UNKNOWN) == (float(row["unknown_score"]) > 0.55)
    unknown = sum(row["class"] == UNKNOWN for row in rows)
    assert f"45 pictures: {unknown} unknown, {45 - unknown} of known classes" in printed.out
    assert sheet.is_file() == bool(unknown)


def test_the_sheet_begins_with_the_highest_unknown_score(lead, pictures, tmp_path):
    model = load(lead)
    predicted = predict(model, find_pictures([str(pictures / "Dark")]))
    unknown = tuple(
        replace(prediction, label=UNKNOWN, unknown_score=prediction.entropy)
        for prediction in predicted.predictions
    )
    all_unknown = replace(predicted, predictions=unknown, unreadable={})
    scores = [prediction.unknown_score for _, prediction in all_unknown.unknown]
    assert scores == sorted(scores, reverse=True)
    assert write_sheet(all_unknown, tmp_path / "unknown.png") == (45, [])
    with Image.open(tmp_path / "unknown.png") as sheet:
        assert sheet.width > 8 * 120
        assert sheet.height > 6 * 120
    none = PredictedImages((), (), {})
    assert write_sheet(none, tmp_path / "none.png") == (0, [])
    assert not (tmp_path / "none.png").exists()
    write_csv(none, tmp_path / "none.csv")
    assert len((tmp_path / "none.csv").read_text().splitlines()) == 1


def test_mistakes_get_a_single_line(lead, pictures, tmp_path, capsys):
    for flags, words in (
        ([str(lead), str(tmp_path / "no")], "no picture there"),
        ([str(tmp_path), str(pictures)], "no config.yaml"),
        ([str(lead), str(pictures), "--sheet", "x.jpg"], "must end in .png"),
    ):
        assert main(["predict", *flags, "--out", str(tmp_path / "out.csv")]) == 1
        error = capsys.readouterr().err.strip()
        assert words in error
        assert "\n" not in error
    assert not (tmp_path / "out.csv").exists()
    (tmp_path / "bad.jpg").write_text("no picture")
    flags = [str(lead), str(tmp_path / "bad.jpg"), f"--out={tmp_path / 'out.csv'}"]
    assert main(["predict", *flags]) == 1
    printed = capsys.readouterr()
    assert "passed over: cannot read image" in printed.err
    assert printed.err.splitlines()[-1].endswith(
        "none of 1 pictures could be read; nothing written"
    )
    assert not printed.out
    assert not (tmp_path / "out.csv").exists()


def test_no_path_in_the_table_is_a_spreadsheets_formula_and_each_names_its_file(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names = ["=cmd|' calc'!A0.png", "+1.png", "-1.png", "@x.png", "plain.png", "\t=1.png"]
    for name in names:
        Path(name).touch()
    prediction = ImagePrediction("=known", "=known", 1.0, 0.0, 0.0)
    predicted = PredictedImages(tuple(map(Path, names)), (prediction,) * len(names), {})
    write_csv(predicted, Path("answers.csv"))
    with open("answers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == names
    assert all(row["path"][0] not in "=+-@\t\r" and Path(row["path"]).is_file() for row in rows)
    assert {row["class"] for row in rows} == {"=known"}  # as the model has it
