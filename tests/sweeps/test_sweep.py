"""Whole sweeps, in processes: killed, shared, failing and interrupted."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import processes
from helpers.processes import gone, heed_interrupts
from helpers.tiny import arguments, make_dataset

from genmix_aug.cluster import PREFIX, TEMPORARY
from uda.cli.main import main
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs
from uda.runs.lock import hold
from uda.sweeps.record import read_plan

ROOT = Path(__file__).resolve().parents[2]
until = partial(processes.until, seconds=90)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    """The same runs by single commands."""
    runs = tmp_path_factory.mktemp("single") / "runs"
    for augment in ("none", "genmix"):
        flags = arguments(dataset, runs, f"--augment.name={augment}", "--data.target=Dark")
        assert main(["train", *flags]) == 0
        for method in ("source_only", "lead"):
            assert main(["adapt", *flags, f"--adapt.method={method}"]) == 0
    return outcomes(runs)


def outcomes(runs):
    """Each run's lines and weights."""
    results = {}
    for run in find_runs(runs):
        assert run.is_done
        clocks = ("time", "seconds")
        lines = [{k: v for k, v in line.items() if k not in clocks} for line in run.metrics()]
        weights = read_checkpoint(run.folder / "checkpoint.pt")["model"]
        results[run.folder.name] = (lines, weights)
    return results


def assert_same(results, expected):
    assert results.keys() == expected.keys()
    for name, (lines, weights) in expected.items():
        assert sorted(results[name][0], key=str) == sorted(lines, key=str)
        assert all(torch.equal(results[name][1][key], value) for key, value in weights.items())


def sweep_arguments(dataset, runs, *more):
    return ["sweep", *arguments(dataset, runs, "--sweep.pairs=[Pl2Da]", *more)]


def start_sweep(dataset, runs, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "uda.cli", *sweep_arguments(dataset, runs, *more)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=heed_interrupts,
    )  # fmt: skip


def workers_at_work(runs):
    """Processes that hold locks."""
    pids = set()
    for path in (runs / ".locks").glob("*.holder"):
        with suppress(FileNotFoundError):  # released meanwhile
            if holder := re.match(r"process (\d+) ", path.read_text()):  # else not written yet
                pids.add(int(holder[1]))
    return {pid for pid in pids if not gone(pid)}


@pytest.mark.slow
def test_killed_and_resumed_is_as_undisturbed(dataset, undisturbed, tmp_path, capsys):
    runs = tmp_path / "runs"
    process = start_sweep(dataset, runs, "--workers=2")
    try:
        until(lambda: list(runs.glob("*/done")))
        at_work = until(lambda: workers_at_work(runs))
    finally:
        process.kill()
    process.wait()
    until(lambda: all(gone(pid) for pid in at_work))  # the workers end with it
    assert len(list(runs.glob("*/done"))) < 6
    assert main(sweep_arguments(dataset, runs)) == 0
    assert "All 6 runs are done" in capsys.readouterr().out
    assert_same(outcomes(runs), undisturbed)
    written = read_plan(runs)
    assert written is not None
    assert [run.row_title for run in written.expected] == [
        "Source-only", "Source + GenMix", "LEAD", "LEAD + GenMix"
    ]  # fmt: skip
    assert all(run.done for run in written.expected)


@pytest.mark.slow
def test_two_commands_share_a_folder(dataset, undisturbed, tmp_path):
    runs = tmp_path / "runs"
    both = [start_sweep(dataset, runs, "--workers=1") for _ in range(2)]
    texts = [process.communicate(timeout=150)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert_same(outcomes(runs), undisturbed)
    for run in find_runs(runs):  # nothing was done twice
        lines = (run.folder / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == len(run.metrics())


@pytest.mark.slow
def test_failing_runs_and_dying_workers_do_not_stop_it(tmp_path, capsys):
    dataset, runs = make_dataset(tmp_path / "tiny"), tmp_path / "runs"
    picture = dataset.parent / "pictures" / "Dark" / "bar" / "00.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:60])
    flags = ("--sweep.pairs=[Pl2Da,Da2Pl]", "--sweep.augmentations=[none]")
    assert main(sweep_arguments(dataset, runs, *flags)) == 1
    out, error = capsys.readouterr()
    assert out.count("00.png") >= 3  # Da, and the adaptations to it: as they end
    assert "LEAD Da2Pl s0: waits for train-Da-opda-none-s0" in out
    assert error.splitlines()[-1].startswith("uda: error: 5 of 6 runs are missing")
    assert len(list(runs.glob("*/error.txt"))) == 3
    picture.write_bytes(whole)

    process = start_sweep(dataset, runs, *flags, "--sweep.methods=[lead]", "--workers=2")
    victim, *_ = until(lambda: workers_at_work(runs))
    os.kill(victim, signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out  # another worker takes its run
    assert "All 4 runs are done" in out

    assert main(sweep_arguments(dataset, runs, *flags)) == 0
    assert not list(runs.glob("*/error.txt"))


def interrupt(process):
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does


def terminate(process):
    process.terminate()  # as `kill`, Slurm and systemd do


@pytest.mark.slow
@pytest.mark.parametrize("stop", [interrupt, terminate])
def test_interrupted_it_leaves_nobody_at_work(dataset, tmp_path, stop):
    runs = tmp_path / "runs"
    process = start_sweep(dataset, runs, "--workers=2", "--train.steps=3000")
    at_work = until(lambda: len(pids := workers_at_work(runs)) == 2 and pids)
    stop(process)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.splitlines()[-1].startswith("Stopped.")
    assert "Traceback" not in out
    until(lambda: all(gone(pid) for pid in at_work), seconds=10)
    assert not list(Path(TEMPORARY or tempfile.gettempdir()).glob(f"{PREFIX}-{process.pid}-*"))
    for path in runs.glob("train-*"):
        with hold(path):
            pass


@pytest.fixture
def cluster():
    """A Ray cluster of two nodes on this machine, a core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_and_a_node_makes_the_same(
    dataset, undisturbed, tmp_path, cluster
):
    runs = tmp_path / "runs"
    process = start_sweep(dataset, runs, f"--address={cluster.address}")
    victim, *_ = until(lambda: workers_at_work(runs))
    os.kill(victim, signal.SIGKILL)
    until(lambda: workers_at_work(runs) - {victim})
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    out, _ = process.communicate(timeout=150)
    assert process.returncode == 0, out
    assert "All 6 runs are done" in out
    assert_same(outcomes(runs), undisturbed)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_a_missing_cluster_is_named(dataset, tmp_path, capsys, address):
    assert main(sweep_arguments(dataset, tmp_path / "runs", f"--address={address}")) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"uda: error: address: no Ray cluster at '{address}'; start one")
