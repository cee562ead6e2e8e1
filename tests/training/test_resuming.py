"""`uda adapt` under SIGKILL, at moments chosen to hurt: it ends as if nothing had happened."""

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main
from uda.runs import folder as runs
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "timm",
        "uda.training.adapt",
        "uda.augment",
        "uda.cli",
        "uda.evaluation.evaluate",
        "uda.methods",
        "uda.reports.writing",
    ]
)


def die(*_given, **_more):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(owner, name, call, when):
    """Make ``owner.name`` kill the process at its ``call``-th call: before or after it has done its
    work, or, of a writer to a path, once a part of the file is there."""
    original, calls = getattr(owner, name), [0]

    def counted(*given, **more):
        calls[0] += 1
        if calls[0] < call:
            return original(*given, **more)
        if when == "after":
            original(*given, **more)
        elif when == "amid":
            Path(given[-1]).write_bytes(b"PK half a file")
        return die()

    setattr(owner, name, counted)


def adapt_and_die(flags, owner, name, call, when):
    """The body of a process that must not survive."""
    owners = {"run": runs.Run, "optimizer": torch.optim.SGD, "os": os, "torch": torch}
    die_at(owners[owner], name, call, when)
    main(["adapt", *flags])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folder of the runs, and the flags without ``--runs``."""
    folder = tmp_path_factory.mktemp("undisturbed")
    own = [f"--runs={folder / 'runs'}", "--data.target=Dark"]
    flags = [*arguments(make_dataset(folder), folder / "runs"), *own[1:]]
    assert main(["train", *flags]) == 0
    (folder / "source").mkdir()
    shutil.copytree(folder / "runs", folder / "source" / "runs")
    assert main(["adapt", *flags]) == 0
    return folder, [flag for flag in flags if not flag.startswith("--runs=")]


def outcome(folder):
    """Metrics as reports read them, weights and predictions of the one adapted run."""
    (run,) = (run for run in find_runs(folder) if run.config["stage"] == "adapt")
    assert run.is_done
    lines = [
        {key: value for key, value in line.items() if key not in ("time", "version")}
        for kind in ("adapt", "evaluate")
        for line in run.metrics(kind)
    ]
    model = read_checkpoint(run.folder / "checkpoint.pt")["model"]
    left = sorted(path.name for path in run.folder.iterdir())
    return lines, model, (run.folder / "predictions.npz").read_bytes(), left


# An epoch is four steps; a run logs evaluate 0, adapt 1, evaluate 1, adapt 2, evaluate 2.
MOMENTS = [
    ("optimizer", "step", 2, "before"),  # in the first epoch: nothing but epoch 0 is there
    ("optimizer", "step", 7, "after"),  # in the second one
    ("run", "log", 2, "after"),  # trained, not evaluated
    ("run", "log", 3, "after"),  # evaluated, not saved: the epoch is logged again
    ("torch", "save", 2, "amid"),  # the first checkpoint must stay whole
    ("run", "save_checkpoint", 2, "after"),  # all is there but `done`
    ("os", "replace", 3, "before"),
]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: f"{m[1]}-{m[2]}-{m[3]}")
def test_a_killed_adaptation_ends_as_an_undisturbed_one(undisturbed, tmp_path, moment):
    whole, flags = undisturbed
    shutil.copytree(whole / "source" / "runs", tmp_path / "runs")
    flags = [*flags, f"--runs={tmp_path / 'runs'}"]
    process = PROCESSES.Process(target=adapt_and_die, args=(flags, *moment))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, "it was not killed there"
    assert main(["adapt", *flags]) == 0
    lines, weights, predictions, left = outcome(whole / "runs")
    found_lines, found_weights, found_predictions, found_left = outcome(tmp_path / "runs")
    assert found_lines == lines
    assert [line["epoch"] for line in found_lines] == [1, 2, 0, 1, 2]
    assert all(torch.equal(found_weights[name], value) for name, value in weights.items())
    assert found_predictions == predictions
    assert found_left == left  # no temporary file stays


@pytest.mark.slow
def test_killed_again_and_again(undisturbed, tmp_path):
    whole, flags = undisturbed
    shutil.copytree(whole / "source" / "runs", tmp_path / "runs")
    flags = [*flags, f"--runs={tmp_path / 'runs'}"]
    for moment in (MOMENTS[0], MOMENTS[3], MOMENTS[5]):
        process = PROCESSES.Process(target=adapt_and_die, args=(flags, *moment))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    assert main(["adapt", *flags]) == 0
    expected, found = outcome(whole / "runs"), outcome(tmp_path / "runs")
    assert found[0] == expected[0]
    assert all(torch.equal(found[1][name], value) for name, value in expected[1].items())
    assert found[3] == expected[3]
