"""`uda adapt` under SIGKILL at the worst moments: a second call ends as an undisturbed run."""

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from helpers.tiny import arguments, make_dataset
from helpers.training import changed

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


def die(*_args, **_options):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(owner, name, call, when):
    """Let ``owner.name`` kill the process at its ``call``-th call.

    It does so before or after its work, or amid it, when half of the file has been written.
    """
    original, calls = getattr(owner, name), [0]

    def counted(*args, **options):
        calls[0] += 1
        if calls[0] < call:
            return original(*args, **options)
        if when == "after":
            original(*args, **options)
        elif when == "amid":
            Path(args[-1].name).write_bytes(b"PK half a file")
        return die()

    setattr(owner, name, counted)


def adapt_and_die(flags, owner, name, call, when):
    """Adapt in a process that is killed at the call."""
    owners = {"run": runs.Run, "optimizer": torch.optim.SGD, "os": os, "torch": torch}
    die_at(owners[owner], name, call, when)
    main(["adapt", *flags])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder with the runs, and the flags without ``--runs``."""
    folder = tmp_path_factory.mktemp("undisturbed")
    flags = [*arguments(make_dataset(folder), folder / "runs"), "--data.target=Dark"]
    assert main(["train", *flags]) == 0
    (folder / "source").mkdir()
    shutil.copytree(folder / "runs", folder / "source" / "runs")
    assert main(["adapt", *flags]) == 0
    return folder, [flag for flag in flags if not flag.startswith("--runs=")]


def outcome(folder):
    """Return the metrics, weights, predictions and file names of the adapted run."""
    (run,) = (run for run in find_runs(folder) if run.config["stage"] == "adapt")
    assert run.is_done
    lines = [
        {key: value for key, value in line.items() if key not in ("time", "version")}
        for kind in ("adapt", "evaluate")
        for line in run.metrics(kind)
    ]
    model = read_checkpoint(run.folder / "checkpoint.pt")["model"]
    files = sorted(path.name for path in run.folder.iterdir())
    return lines, model, (run.folder / "predictions.npz").read_bytes(), files


# An epoch is four steps; a run logs evaluate 0, adapt 1, evaluate 1, adapt 2, evaluate 2.
MOMENTS = [
    ("optimizer", "step", 2, "before"),  # in the first epoch: only epoch 0 is stored
    ("optimizer", "step", 7, "after"),  # in the second epoch
    ("run", "log", 2, "after"),  # trained, not evaluated
    ("run", "log", 3, "after"),  # evaluated, not saved: the epoch is logged again
    ("torch", "save", 2, "amid"),  # the first checkpoint must stay whole
    ("run", "save_checkpoint", 2, "after"),  # everything is written but `done`
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
    assert process.exitcode == -signal.SIGKILL, "it was not killed at that call"
    assert main(["adapt", *flags]) == 0
    lines, weights, predictions, files = outcome(whole / "runs")
    resumed = outcome(tmp_path / "runs")
    assert resumed[0] == lines
    assert [line["epoch"] for line in lines] == [1, 2, 0, 1, 2]
    assert not changed(resumed[1], weights)
    assert resumed[2] == predictions
    assert resumed[3] == files  # no temporary file stays


@pytest.mark.slow
def test_an_adaptation_that_is_killed_three_times_ends_as_an_undisturbed_one(undisturbed, tmp_path):
    whole, flags = undisturbed
    shutil.copytree(whole / "source" / "runs", tmp_path / "runs")
    flags = [*flags, f"--runs={tmp_path / 'runs'}"]
    for moment in (MOMENTS[0], MOMENTS[3], MOMENTS[5]):
        process = PROCESSES.Process(target=adapt_and_die, args=(flags, *moment))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    assert main(["adapt", *flags]) == 0
    expected, resumed = outcome(whole / "runs"), outcome(tmp_path / "runs")
    assert resumed[0] == expected[0]
    assert not changed(resumed[1], expected[1])
    assert resumed[3] == expected[3]
