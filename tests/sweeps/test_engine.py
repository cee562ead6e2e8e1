"""The order and the fate of a sweep's jobs, with stages that only write that they are done."""

import threading
import time

import pytest

from uda.config import Experiment
from uda.runs.folder import open_run
from uda.runs.lock import RunBusyError, hold
from uda.sweeps import engine
from uda.sweeps.engine import Engine, run_jobs
from uda.sweeps.plan import Job


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.01)


@pytest.fixture
def jobs(tmp_path):
    """Two sources that need the same edits, and what starts from the first."""

    def job(name, stage, needs=None, prepares=""):
        run = open_run(tmp_path, name, {"stage": stage, "name": name})
        experiment = Experiment(runs=name)
        return Job(name, stage, stage, experiment, run, needs and needs.run.folder, prepares)

    first = job("a", "train", prepares="edits")
    return first, job("b", "train", prepares="edits"), job("c", "adapt", needs=first)


@pytest.fixture
def stages(jobs, monkeypatch):
    """What was done; ``faults`` has the error that a job ends in, by its name."""
    done, faults = [], {}
    runs = {job.experiment.runs: job.run for job in jobs}

    def stage(experiment):
        run = runs[experiment.runs]
        with run.lock():
            if experiment.runs in faults:
                raise faults[experiment.runs]
            done.append(experiment.runs)
            run.mark_done()

    monkeypatch.setattr(engine, "STAGES", dict.fromkeys(engine.STAGES, stage))
    return done, faults


def test_jobs_are_done_in_order_and_once(jobs, stages, capsys):
    done, _ = stages
    assert run_jobs(jobs, Engine()) == []
    assert run_jobs(jobs, Engine()) == []
    assert done == ["a", "b", "c"]
    assert capsys.readouterr().out.splitlines()[0].startswith("[1/3] a: ")


def test_a_job_that_needs_a_failed_run_waits_for_it(jobs, stages, capsys):
    done, faults = stages
    faults["a"] = KeyError("no disk")
    failures = run_jobs(jobs, Engine())
    first = jobs[0].run
    assert failures == ["a: KeyError: 'no disk'", f"c: waits for {first.folder.name}"]
    assert done == ["b"]
    text = (first.folder / "error.txt").read_text()
    assert text.startswith("KeyError: 'no disk'\nTraceback")
    assert "[1/3] a: KeyError: 'no disk'" in capsys.readouterr().out
    del faults["a"]
    assert run_jobs(jobs, Engine()) == []
    assert done == ["b", "a", "c"]
    assert not (first.folder / "error.txt").exists()


def test_what_another_command_works_on_is_done_later(jobs, stages, capsys):
    done, _ = stages
    is_held, release = threading.Event(), threading.Event()

    def other_command():
        with hold(jobs[0].run.folder):
            is_held.set()
            release.wait()

    thread = threading.Thread(target=other_command)
    thread.start()
    is_held.wait()
    sweep = threading.Thread(target=run_jobs, args=(jobs, Engine()))
    sweep.start()
    end = time.monotonic() + 30
    while "2 runs wait for another command" not in capsys.readouterr().out:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert done == ["b"]
    release.set()
    sweep.join()
    thread.join()
    assert done == ["b", "a", "c"]


def test_what_another_command_has_done_is_not_done_again(jobs, stages, capsys):
    done, faults = stages
    faults["a"] = RunBusyError("busy")
    jobs[1].run.start()

    def finish_elsewhere(seconds):
        jobs[0].run.mark_done()

    engine.time.sleep, sleep = finish_elsewhere, time.sleep
    try:
        assert run_jobs(jobs, Engine()) == []
    finally:
        engine.time.sleep = sleep
    assert done == ["b", "c"]
    assert "[2/3] a: done by another command" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus"),
    [
        ({"workers": 2}, 4, 0.5),
        ({"workers": 1}, 8, 1),
        ({"workers": 16}, 1, 1 / 16),
        ({"workers": 2, "cpus_per_run": 1.5, "gpus_per_run": 0}, 1.5, 0),
        ({"address": "auto"}, 1, 1),
        ({"address": "auto", "cpus_per_run": 4, "gpus_per_run": 0.25}, 4, 0.25),
    ],
)
def test_a_runs_share_of_the_machine(monkeypatch, settings, cpus, gpus):
    monkeypatch.setattr(engine, "cores", lambda: 8)
    assert Engine(**settings).cpus == cpus
    assert Engine(**settings).gpus(1) == gpus
    assert Engine(**settings).gpus(0) == settings.get("gpus_per_run", 0)


@pytest.mark.parametrize("settings", [{"workers": 0}, {"cpus_per_run": -1}, {"gpus_per_run": -1}])
def test_impossible_engines_are_refused(settings):
    with pytest.raises(ValueError, match="^" + next(iter(settings))):
        Engine(**settings)
