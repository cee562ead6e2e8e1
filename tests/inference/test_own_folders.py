import shutil
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.own_folders import make_folders
from helpers.tiny import arguments

from uda.cli.main import main
from uda.runs import lock
from uda.runs.folder import find_runs
from uda.runs.lock import hold


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """A source of bar, cross, disc and a target of disc, ring, square."""
    return make_folders(tmp_path)


def flags(folders, runs, *more):
    source, target = folders
    sizes = [flag for flag in arguments("x", runs) if not flag.startswith("--data.")]
    command = ["run", f"--source={source}", f"--target={target}", *sizes]
    return [*command, "--adapt.options.lead.clusters=classes", *more]


@pytest.mark.slow
def test_run_trains_adapts_and_answers(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "my runs"
    command = flags(folders, Path("my runs"))
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "Classes in both (1): disc" in text
    assert "That is opda" in text
    assert "12 pictures: " in text
    (run,) = [run for run in find_runs(runs) if run.answer]  # of six views
    assert run.folder.name.startswith("adabn-answered-")
    assert f"uda predict 'my runs/{run.folder.name}' FOLDER" in text
    rows = (run.folder / "predictions.csv").read_text().splitlines()
    assert len(rows) == 13
    answers = (run.folder / "answers.md").read_text()
    assert "Matched: the target's 'D-isc' is the source's 'disc'" in answers
    assert f"uda evaluate 'my runs/{run.folder.name}' --per-class" in answers
    assert "\nScores: H-score " in answers
    assert "Thresholds chosen without labels: " in answers
    assert main(command) == 0
    assert "Already adapted" in capsys.readouterr().out
    # From elsewhere, and where the runs have been moved to.
    monkeypatch.chdir(tmp_path / "pictures")
    assert main(["evaluate", str(run.folder), "--per-class"]) == 0
    assert main(["report", str(runs)]) == 0
    moved = runs.rename(tmp_path / "moved")
    assert main(["evaluate", str(moved / run.folder.name)]) == 0
    # As a small file, too.
    assert main(["pack", str(moved), f"--out={tmp_path / 'p.jsonl'}"]) == 0
    assert main(["unpack", str(tmp_path / "p.jsonl"), str(tmp_path / "back")]) == 0
    assert main(["report", str(tmp_path / "back"), "--formats=md"]) == 0
    assert (tmp_path / "back" / "tables").is_dir()


@pytest.mark.slow
def test_a_source_model_in_training_by_another_command_is_waited_for(
    folders, tmp_path, capsys, monkeypatch
):
    command = flags(folders, tmp_path / "runs")
    assert main(command) == 0
    runs = {run.folder.name.split("-my_")[0]: run.folder for run in find_runs(tmp_path / "runs")}
    assert runs.keys() == {"train", "adabn", "adabn-answered"}
    done = {stage: (folder / "done").read_text() for stage, folder in runs.items()}
    for folder in runs.values():
        (folder / "done").unlink()
    held = ExitStack()
    for folder in runs.values():
        held.enter_context(hold(folder))

    def finish(seconds):
        for stage, folder in runs.items():
            (folder / "done").write_text(done[stage])
        held.close()

    capsys.readouterr()
    monkeypatch.setattr(lock, "time", SimpleNamespace(sleep=finish))  # while this command waits
    assert main(command) == 0
    text = capsys.readouterr().out
    assert text.count("is at work on this run; waiting for it\n") == 1
    assert "pictures: " in text


def test_run_without_labels_names_the_missing_scores(folders, tmp_path, capsys):
    assert main(flags(folders, tmp_path / "runs", "--target-labels=none")) == 0
    text = capsys.readouterr().out
    assert "Which classes the target holds is not known; run as opda" in text
    assert "not scored, as the target has no labels" in text
    assert "Not measured, for want of target labels" in text
    assert main(["report", str(tmp_path / "runs")]) == 0
    printed = capsys.readouterr().out
    assert "answers without labels" in printed
    assert "H-score by epoch" not in (tmp_path / "runs" / "report.md").read_text()
    assert not list((tmp_path / "runs").glob("tables/*_per_class.csv"))
    assert main(["select", str(tmp_path / "runs")]) == 0
    assert "epochs chosen without labels" in capsys.readouterr().out


def test_the_sources_threshold_may_reject_whatever_the_scenario(folders, tmp_path, capsys):
    more = ["--data.scenario=pda", "--target-labels=none", "--answer.threshold=source"]
    assert main(flags(folders, tmp_path / "runs", *more)) == 0
    text = capsys.readouterr().out
    assert "run as pda, some may be unknown" in text
    (run,) = [run for run in find_runs(tmp_path / "runs") if run.answer]
    assert f"the answers' is {run.source_cut():.2f}" in text
    unknown = sum(run.predictions()["label"] == len(run.classes()))
    assert f"12 pictures: {unknown} unknown" in text
    assert "run as pda, some may be unknown" in run.answers_md.read_text()


def test_run_on_a_closed_set_of_few_pictures(folders, tmp_path, capsys):
    source, target = folders
    shutil.rmtree(source / "bar")
    for name in ("ri_ng", "square"):
        shutil.rmtree(target / name)
    for i in range(4, 8):
        shutil.copy(target / "D-isc" / f"0{i - 4}.png", target / "D-isc" / f"0{i}.png")
    shutil.copytree(target / "D-isc", target / "cross")
    more = ["--adapt.batch_size=64", "--train.batch_size=32"]
    assert main(flags(folders, tmp_path / "runs", *more)) == 0
    text = capsys.readouterr().out
    assert "That is a closed set: the same classes, nothing is unknown" in text
    assert "adapt.batch_size is 16, all that there are, not 64" in text
    assert "accuracy" in text.lower()
    assert "16 pictures: 0 unknown" in text


def test_run_refuses_what_it_cannot_use(folders, tmp_path, capsys):
    assert main(flags(folders, tmp_path / "runs", "--data.source=Plain")) == 1
    assert "leave --data.source out" in capsys.readouterr().err
    assert main(["run", "--source=x"]) == 2
    assert "target" in capsys.readouterr().err
    assert main(flags((tmp_path / "no", folders[1]), tmp_path / "runs")) == 1
    assert "no does not exist" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    narrow = ["--adapt.method=lead", "--model.bottleneck_dim=3"]
    assert main(flags(folders, tmp_path / "runs", *narrow)) == 1
    assert "3 for 3; say --model.bottleneck_dim 4, or another" in capsys.readouterr().err
    assert main(flags(folders, tmp_path / "runs", "--adapt.method=leed")) == 1
    assert "adapt.method: 'leed' is not one of" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("train-*"))


def test_few_pictures_are_answered_for_but_not_adapted_to(folders, tmp_path, capsys):
    for picture in [*folders[1].glob("*/*.png")][1:]:
        picture.unlink()
    assert main(flags(folders, tmp_path / "runs")) == 1
    assert "has 1 pictures, too few to adapt to" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main(flags(folders, tmp_path / "runs", "--adapt.method=source_only")) == 0
    assert "1 pictures: " in capsys.readouterr().out
