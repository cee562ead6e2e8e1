"""A model's class order is its run's, whatever became of the dataset's since."""

import shutil

import pytest
import torch
from helpers.tiny import CLASSES, arguments, make_dataset

from uda.cli.main import main
from uda.evaluation import robustness
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs, read_run

SHORT = ("--train.steps=3", "--train.robustness=false", "--data.target=Dark")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The dataset's file, flags, and a run of each kind: in one domain, a source model, LEAD's."""
    root = tmp_path_factory.mktemp("trained")
    flags = arguments(make_dataset(root / "tiny"), root / "runs", *SHORT)
    in_domain = ["--data.scenario=", "--data.target=", "--data.validation=0.2"]
    assert main(["train", *flags, *in_domain]) == 0
    assert main(["train", *flags]) == 0
    assert main(["adapt", *flags, "--adapt.epochs=1"]) == 0
    kinds = {run.folder.name.split("-")[0] + run.scenario: run for run in find_runs(root / "runs")}
    for run in kinds.values():
        always_bar(run.result_checkpoint)
    return root / "tiny" / "tiny.yaml", flags, kinds


def always_bar(file):
    """Let the model call everything a bar, so that its scores depend on the label of bars."""
    state = read_checkpoint(file)
    state["model"]["classifier.bias"][0] = 99
    torch.save(state, file)


@pytest.fixture(autouse=True)
def one_corruption(monkeypatch):
    """Evaluations of classifiers in one domain then take a fraction of the time."""
    monkeypatch.setattr(robustness, "SEVERITIES", (1,))
    monkeypatch.setattr(robustness, "CORRUPTIONS", {"brightness": robustness.brightness})


@pytest.fixture
def dataset(trained):
    """The dataset's file, which is as it was after the test."""
    file = trained[0]
    text = file.read_text()
    yield file
    file.write_text(text)


@pytest.fixture
def flags(trained):
    return trained[1]


@pytest.fixture
def run_of(trained):
    """The run of a kind: train (in one domain), trainopda or leadopda."""
    return trained[2].__getitem__


def swap(dataset, first, second):
    """Swap two names in the list of the dataset's file."""
    names = {first: second, second: first}
    lines = dataset.read_text().splitlines()
    swapped = [f"- {names.get(line[2:], line[2:])}" if line[:2] == "- " else line for line in lines]
    dataset.write_text("\n".join(swapped))
    assert swapped != lines


def evaluation(capsys, run):
    """Return the printed scores, and a line for each class."""
    capsys.readouterr()
    assert main(["evaluate", str(run.folder), "--per-class"]) == 0
    return sorted(capsys.readouterr().out.splitlines())


def error(capsys, *command):
    """Return the single line of a command that fails."""
    capsys.readouterr()
    assert main(list(map(str, command))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [("train", "bar", "ring"), ("leadopda", "bar", "cross")],
)
def test_scores_are_the_same_after_two_names_of_the_dataset_are_swapped(
    run_of, dataset, capsys, kind, first, second
):
    before = evaluation(capsys, run_of(kind))
    assert [line.split()[4] for line in before if "100.0 %" in line] == ["bar"]
    swap(dataset, first, second)
    assert evaluation(capsys, run_of(kind)) == before


def test_a_class_of_another_name_or_role_is_named(run_of, dataset, capsys):
    lead = run_of("leadopda").folder
    text = dataset.read_text()
    dataset.write_text(text.replace("- cross", "- zebra"))
    words = f"{lead}: a model with the class 'cross', where 'zebra' is expected"
    assert words in error(capsys, "evaluate", lead)
    dataset.write_text(text)
    swap(dataset, "cross", "disc")  # the source's alone
    words = "a model whose class 1 is 'cross', where 'disc' is expected"
    assert words in error(capsys, "evaluate", lead)
    swap(dataset, "bar", "ring")  # the target's alone
    assert "a model with the class 'bar', where 'ring' is" in error(capsys, "evaluate", lead)


def test_a_checkpoint_brings_its_classes_into_an_adaptation(
    run_of, dataset, flags, tmp_path, capsys
):
    source = run_of("trainopda")
    (tmp_path / "copy").mkdir()
    file = tmp_path / "copy" / "model.pt"
    shutil.copy(source.checkpoint, file)
    command = ["adapt", *flags, f"--adapt.checkpoint={file}", "--adapt.method=source_only"]
    scores = []
    for runs in ("as_trained", "swapped"):
        assert main([*command, f"--runs={tmp_path / runs}"]) == 0
        (run,) = find_runs(tmp_path / runs)
        assert run.classes() == source.classes() == CLASSES[:3]
        assert read_checkpoint(run.checkpoint)["classes"] == list(CLASSES[:3])
        (line,) = run.evaluations()
        scores.append({key: line[key] for key in ("h_score", "oscr", "auroc", "per_class")})
        swap(dataset, "bar", "cross")
    assert scores[0] == scores[1]
    assert scores[0]["per_class"] == {"bar": 100, "cross": 0, "ring": 0, "square": 0}
    line = error(capsys, *command, "--data.scenario=pda", f"--runs={tmp_path / 'more'}")
    assert f"{file}: a model of 3 classes, where the source has 5: without the class 'ring'" in line
    assert not (tmp_path / "more").exists()


def test_checkpoints_without_classes_go_by_the_dataset(run_of, flags, dataset, tmp_path):
    older = read_checkpoint(run_of("trainopda").checkpoint)
    del older["classes"]
    torch.save(older, tmp_path / "older.pt")
    more = [f"--adapt.checkpoint={tmp_path / 'older.pt'}", "--adapt.method=source_only"]
    assert main(["adapt", *flags, *more, f"--runs={tmp_path / 'runs'}"]) == 0
    (run,) = find_runs(tmp_path / "runs")
    assert run.classes() == CLASSES[:3]


def test_older_runs_go_by_the_dataset_while_it_has_their_classes(run_of, dataset, tmp_path, capsys):
    for kind in ("train", "leadopda"):
        run = read_run(shutil.copytree(run_of(kind).folder, tmp_path / run_of(kind).folder.name))
        before = evaluation(capsys, run)
        (run.folder / "classes.json").unlink()
        for path in (run.checkpoint, run.best_checkpoint):
            if path.is_file():
                state = read_checkpoint(path)
                assert tuple(state.pop("classes")) == CLASSES[: 5 if kind == "train" else 3]
                torch.save(state, path)
        assert evaluation(capsys, run) == before
        swap(dataset, "bar", "cross")
        words = f"{run.folder}: no classes.json in it, and tiny has other classes by now"
        assert words in error(capsys, "evaluate", run.folder)
        swap(dataset, "bar", "cross")


def test_a_checkpoint_of_other_classes_in_a_run_is_refused(run_of, tmp_path, capsys):
    """A file that was copied into another run's folder is not read by that run's classes."""
    lead = shutil.copytree(run_of("leadopda").folder, tmp_path / run_of("leadopda").folder.name)
    file = lead / "checkpoint.pt"
    state = read_checkpoint(file)
    torch.save({**state, "classes": ["cross", "bar", "disc"]}, file)
    words = f"{file}: a model whose class 0 is 'cross', where 'bar' is expected"
    picture = tmp_path / "none.png"
    shutil.copy(run_of("leadopda").folder.parent.parent / "tiny/pictures/Dark/bar/00.png", picture)
    for command in (
        ("evaluate", lead),
        ("predict", file, picture, "--out", tmp_path / "a.csv"),
    ):
        assert words in error(capsys, *command)
    for wrong in ("bar cross disc", ["bar", "bar", "cross"]):
        torch.save({**state, "classes": wrong}, file)
        assert f"{file}: its classes are not a list of names" in error(capsys, "evaluate", lead)
    assert not (tmp_path / "a.csv").exists()


@pytest.fixture
def photos(tmp_path):
    """A folder of the parts train and val, and the flags to train on it."""
    dataset = make_dataset(tmp_path / "tiny", per_class=6)
    for part in ("train", "val"):
        shutil.copytree(tmp_path / "tiny" / "pictures" / "Plain", tmp_path / "photos" / part)
    flags = [
        flag
        for flag in arguments(dataset, tmp_path / "runs", *SHORT[:2], "--data.scenario=")
        if not flag.startswith(("--data.dataset", "--data.source"))
    ]
    return tmp_path / "photos", [*flags, f"--data.dataset={tmp_path / 'photos'}"]


def rename(folder, name, new):
    for part in folder.iterdir():
        (part / name).rename(part / new)


def test_a_renamed_class_folder_is_named_whoever_loads_the_model(photos, tmp_path, capsys):
    folder, flags = photos
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "runs")
    before = evaluation(capsys, run)
    rename(folder, "bar", "zebra")
    words = f"{run.folder}: a model with the class 'bar', where 'zebra' is expected"
    sweep = ["sweep", *flags, "--sweep.seeds=[0]", "--sweep.augmentations=[none]"]
    for command in (["evaluate", run.folder], ["train", *flags], sweep):
        assert words in error(capsys, *command)
    (run.folder / "done").unlink()  # as if it had been interrupted
    assert words in error(capsys, "train", *flags)
    rename(folder, "zebra", "bar")
    assert main(["train", *flags]) == 0
    assert evaluation(capsys, run) == before


def test_an_interrupted_training_knows_its_classes_by_its_checkpoint_too(photos, tmp_path, capsys):
    folder, flags = photos
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "runs")
    for name in ("done", "classes.json", "pictures.json"):
        (run.folder / name).unlink()
    rename(folder, "bar", "zebra")
    line = error(capsys, "train", *flags)
    assert f"{run.checkpoint}: a model with the class 'bar', where 'zebra' is" in line
    assert f"delete {run.folder} to begin it anew" in line
