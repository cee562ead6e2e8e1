"""A run goes on, and is found again, with the pictures that it began with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.tiny import arguments, make_dataset
from helpers.training import Killed

from uda.cli.main import main
from uda.runs.folder import Run, find_runs

SHORT = ("--data.target=Dark", "--train.steps=2", "--train.batch_size=4", "--adapt.epochs=2")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with the tiny dataset, a trained source model and an adaptation of it."""
    root = tmp_path_factory.mktemp("made")
    flags = [*arguments(make_dataset(root, per_class=5), root / "runs"), *SHORT]
    assert main(["train", *flags]) == 0
    assert main(["adapt", *flags]) == 0
    return root


@pytest.fixture
def flags(made, tmp_path) -> list[str]:
    """Flags of the same runs, copied with the pictures to ``tmp_path``."""
    for name in ("pictures", "runs"):  # with other times and inodes
        shutil.copytree(made / name, tmp_path / name, copy_function=shutil.copy)
    options = arguments(made / "tiny.yaml", tmp_path / "runs", *SHORT)
    return [*options, f"--data.root={tmp_path / 'pictures'}"]


def run_of(folder: Path, stage: str) -> Run:
    (run,) = (run for run in find_runs(folder / "runs") if run.stage == stage)
    return run


def remove(pictures: Path, other: Path) -> str:
    for path in pictures.glob("*/0[01].png"):
        path.unlink()
    return "gone: bar/00.png, bar/01.png, cross/00.png and"


def replace(pictures: Path, other: Path) -> str:
    """Replace a picture by another of the same size and time."""
    path = pictures / "bar" / "00.png"
    size, time = path.stat().st_size, path.stat().st_mtime
    content = (other / "bar" / "00.png").read_bytes()[:size]
    path.write_bytes(content + b"\0" * (size - len(content)))
    os.utime(path, (time, time))
    return "changed: bar/00.png"


def add(pictures: Path, other: Path) -> str:
    shutil.copy(pictures / "bar" / "00.png", pictures / "bar" / "x.png")
    return "new: bar/x.png"


Change = Callable[[Path, Path], str]
CHANGES = pytest.mark.parametrize("change", [remove, replace, add])


def is_killed(command: list[str], monkeypatch: pytest.MonkeyPatch, epochs: int = 1) -> None:
    """Kill the command after so many epochs: 0 or 1."""
    save = Run.save_checkpoint

    def save_and_die(*args, **options):
        if epochs:
            save(*args, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_checkpoint", save_and_die)
        with pytest.raises(Killed):
            main(command)


@CHANGES
@pytest.mark.parametrize(("stage", "domain"), [("train", "Plain"), ("adapt", "Dark")])
def test_a_finished_run_is_not_that_of_other_pictures(
    fails_with, flags, tmp_path, stage, domain, change: Change
):
    pictures = tmp_path / "pictures"
    words = change(pictures / domain, pictures / {"Plain": "Dark", "Dark": "Plain"}[domain])
    fails_with([stage, *flags], str(run_of(tmp_path, stage).folder), f"of {domain} (", words)


@CHANGES
def test_a_training_goes_on_with_the_pictures_that_it_began_with(
    fails_with, flags, tmp_path, monkeypatch, change: Change
):
    shutil.rmtree(tmp_path / "runs")
    flags.append("--train.steps=9")
    is_killed(["train", *flags], monkeypatch)
    words = change(tmp_path / "pictures" / "Plain", tmp_path / "pictures" / "Dark")
    fails_with(["train", *flags], "other training pictures of Plain (15 then, ", words)
    assert not run_of(tmp_path, "train").is_done


@CHANGES
def test_an_adaptation_goes_on_with_the_pictures_that_it_began_with(
    fails_with, flags, tmp_path, monkeypatch, change: Change
):
    shutil.rmtree(run_of(tmp_path, "adapt").folder)
    is_killed(["adapt", *flags], monkeypatch)
    words = change(tmp_path / "pictures" / "Dark", tmp_path / "pictures" / "Plain")
    fails_with(["adapt", *flags], "other target pictures of Dark (20 then, ", words)
    run = run_of(tmp_path, "adapt")
    assert not run.is_done
    assert {line["num_images"] for line in run.metrics("evaluate")} == {20}


def test_a_run_that_was_killed_before_its_first_epoch_begins_with_what_there_is(
    flags, tmp_path, monkeypatch
):
    shutil.rmtree(tmp_path / "runs")
    is_killed(["train", *flags], monkeypatch, epochs=0)
    assert run_of(tmp_path, "train").pictures()["training"]["count"] == 15
    add(tmp_path / "pictures" / "Plain", tmp_path)
    assert main(["train", *flags]) == 0
    assert run_of(tmp_path, "train").pictures()["training"]["count"] == 16


def test_moved_pictures_are_the_same_and_are_read_once(flags, tmp_path, capsys, monkeypatch):
    for stage in ("train", "adapt"):
        assert main([stage, *flags]) == 0
    assert capsys.readouterr().out.count("Already ") == 2
    monkeypatch.setattr("uda.data.fingerprints.content_hash", None)  # cannot be called
    for stage in ("train", "adapt"):
        assert main([stage, *flags]) == 0
    assert capsys.readouterr().out.count("Already ") == 2


def test_moved_pictures_are_the_same_where_runs_are_read_only(flags, capsys, monkeypatch):
    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr(Run, "save_pictures", refuse)
    assert main(["train", *flags]) == 0
    assert "Already trained" in capsys.readouterr().out


def test_a_run_from_before_such_records_is_taken_as_it_is(flags, tmp_path, capsys):
    for stage, domain in (("train", "Plain"), ("adapt", "Dark")):
        record = run_of(tmp_path, stage).folder / "pictures.json"
        record.unlink()
        add(tmp_path / "pictures" / domain, tmp_path)
        assert main([stage, *flags]) == 0
        assert not record.exists()
    assert capsys.readouterr().out.count("Already ") == 2


def test_an_older_training_does_not_go_on_with_more_pictures(
    fails_with, flags, tmp_path, monkeypatch
):
    shutil.rmtree(tmp_path / "runs")
    flags.append("--train.steps=9")
    is_killed(["train", *flags], monkeypatch)
    (run_of(tmp_path, "train").folder / "pictures.json").unlink()
    add(tmp_path / "pictures" / "Plain", tmp_path)
    fails_with(["train", *flags], "begun with 15 pictures, and these are 16")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove, "(20 then, 12 now; gone: bar/00.png, bar/01.png, cross/00.png and"),
        (replace, "(20 then, 20 now; of the same names, with other content)"),
        (add, "(20 then, 21 now; new: bar/x.png)"),
    ],
)
def test_an_older_adaptation_does_not_go_on_with_others(
    fails_with, flags, tmp_path, monkeypatch, change: Change, words
):
    shutil.rmtree(run_of(tmp_path, "adapt").folder)
    is_killed(["adapt", *flags], monkeypatch)
    record = run_of(tmp_path, "adapt").folder / "pictures.json"
    record.unlink()
    change(tmp_path / "pictures" / "Dark", tmp_path / "pictures" / "Plain")
    fails_with(["adapt", *flags], f"other target pictures of Dark {words}")
    shutil.rmtree(tmp_path / "pictures")
    shutil.copytree(Path(flags[0].partition("=")[2]).parent / "pictures", tmp_path / "pictures")
    assert main(["adapt", *flags]) == 0
    assert record.exists()


def test_the_source_model_of_other_pictures_is_not_adapted(fails_with, flags, tmp_path):
    shutil.rmtree(run_of(tmp_path, "adapt").folder)
    words = add(tmp_path / "pictures" / "Plain", tmp_path)
    fails_with(["adapt", *flags], "other training pictures of Plain (15 then, 16 now", words)
    checkpoint = run_of(tmp_path, "train").checkpoint
    assert main(["adapt", *flags, f"--adapt.checkpoint={checkpoint}"]) == 0


def test_adaptation_needs_no_picture_of_the_source(flags, tmp_path):
    shutil.rmtree(tmp_path / "pictures" / "Plain")
    shutil.rmtree(run_of(tmp_path, "adapt").folder)
    assert main(["adapt", *flags]) == 0


def test_an_adaptation_is_not_that_of_a_source_model_trained_anew(fails_with, flags, tmp_path):
    shutil.rmtree(run_of(tmp_path, "train").folder)
    add(tmp_path / "pictures" / "Plain", tmp_path)
    assert main(["train", *flags]) == 0
    words = "another source model, trained on other pictures (15 then, 16 now)"
    fails_with(["adapt", *flags], str(run_of(tmp_path, "adapt").folder), words)


def test_evaluate_says_that_the_target_is_another(flags, tmp_path, capsys):
    adapted = run_of(tmp_path, "adapt").folder
    root = f"--root={tmp_path / 'pictures'}"
    assert main(["evaluate", str(adapted), root]) == 0
    assert "was adapted to" not in capsys.readouterr().out
    words = add(tmp_path / "pictures" / "Dark", tmp_path)
    assert main(["evaluate", str(adapted), root]) == 0
    assert f"was adapted to other target pictures of Dark (20 then, 21 now; {words}" in (
        capsys.readouterr().out
    )


def test_evaluate_does_not_take_pictures_that_were_trained_on_for_held_out_ones(
    fails_with, flags, tmp_path
):
    flags = [*flags, "--data.scenario=", "--data.target=", f"--runs={tmp_path / 'in_domain'}"]
    assert main(["train", *flags]) == 0
    (run,) = find_runs(tmp_path / "in_domain")
    assert set(run.pictures()) == {"training", "test"}
    remove(tmp_path / "pictures" / "Plain", tmp_path)
    command = ["evaluate", str(run.folder), f"--root={tmp_path / 'pictures'}"]
    fails_with(command, "other training pictures of Plain")


def test_a_sweep_does_not_count_runs_of_other_pictures(fails_with, flags, tmp_path, capsys):
    sweep = ["sweep", *flags, "--sweep.pairs=[Pl2Da]", "--sweep.methods=[lead]"]
    sweep.append("--sweep.augmentations=[none]")
    assert main(sweep) == 0
    assert "All 2 runs are done" in capsys.readouterr().out
    assert len(run_of(tmp_path, "adapt").pictures()["target"]["seen"]) == 2
    add(tmp_path / "pictures" / "Plain", tmp_path)
    fails_with(sweep, "other training pictures of Plain (15 then, 16 now")
    add(tmp_path / "pictures" / "Dark", tmp_path)
    for more in ([], ["--dry-run"]):
        fails_with([*sweep, *more], "other training pictures", "(1 more of these runs are not")
    shutil.rmtree(tmp_path / "pictures")
    assert main([*sweep, "--dry-run"]) == 0


@pytest.mark.parametrize("content", ["", "[]", '{"training": 3}', '{"training": {"seen": 3}}'])
def test_a_broken_record_is_named(fails_with, flags, tmp_path, content):
    record = run_of(tmp_path, "train").folder / "pictures.json"
    record.write_text(content)
    fails_with(["train", *flags], str(record), "not a record of pictures")


def test_pictures_that_change_class_are_other_pictures(fails_with, flags, made, tmp_path):
    """A list file says of which class they are."""
    lists = tmp_path / "lists"
    shutil.copytree(made / "pictures", lists)
    (lists / "Plain" / "cross" / "00.png").rename(lists / "Plain" / "cross" / "x.png")
    files = sorted(lists.glob("Plain/*/*.png"))
    lines = [f"{path.relative_to(lists)} {number // 5}\n" for number, path in enumerate(files)]
    (lists / "Plain.txt").write_text("".join(lines))
    spec = tmp_path / "lists.yaml"
    text = (made / "tiny.yaml").read_text().replace("Plain: Plain", "Plain: Plain.txt")
    spec.write_text(text)
    options = [flag for flag in flags if not flag.startswith("--data.dataset")]
    options += [f"--data.dataset={spec}", f"--data.root={lists}"]
    assert main(["train", *options]) == 0
    text = (lists / "Plain.txt").read_text()
    (lists / "Plain.txt").write_text(text.replace("cross/x.png 1", "cross/x.png 0"))
    fails_with(["train", *options], "15 then, 15 now; new: bar/x.png; gone: cross/x.png")
