"""Which job of a sweep comes next, with other machines at work on the same runs."""

import pytest

from uda.config import Experiment
from uda.runs import lock as locks
from uda.runs.folder import open_run
from uda.sweeps.engine import Outcome, Schedule
from uda.sweeps.plan import Job


@pytest.fixture
def jobs(tmp_path):
    """Two sources that need the same edits, and what starts from the first."""

    def job(name, stage, needs=None, prepares=""):
        run = open_run(tmp_path, name, {"stage": stage, "name": name})
        return Job(name, stage, stage, Experiment(), run, needs and needs.run.folder, prepares)

    first = job("a", "train", prepares="edits")
    return first, job("b", "train", prepares="edits"), job("c", "adapt", needs=first)


def begun(job):
    job.run.log(kind="train", epoch=1)


def test_one_prepares_and_the_others_follow(jobs):
    schedule = Schedule(jobs, started=0)
    assert schedule.next_job() is jobs[0]
    schedule.running.append(jobs[0])
    assert schedule.next_job() is None
    begun(jobs[0])
    assert schedule.next_job() is jobs[1]
    assert schedule.next_job() is None
    jobs[0].run.mark_done()
    assert schedule.next_job() is jobs[2]
    assert not schedule.waiting


def test_what_others_hold_is_passed_over(jobs, capsys):
    schedule = Schedule(jobs, started=0)
    with locks.hold(jobs[0].run.folder):
        assert schedule.next_job() is None  # b waits for the edits that the other machine makes
        assert schedule.next_job() is None
        assert capsys.readouterr().out.count("3 runs are left to other workers") == 1
        begun(jobs[0])
        assert schedule.next_job() is jobs[1]
        jobs[0].run.mark_done()
    assert schedule.next_job() is jobs[2]
    assert "[1/3] a: done by another worker" in capsys.readouterr().out


def test_a_run_that_another_process_took_meanwhile_is_looked_at_again(jobs):
    schedule = Schedule(jobs[:1], started=0)
    job = schedule.next_job()
    assert job is jobs[0]
    schedule.ended(job, Outcome(busy=True))
    assert schedule.next_job() is job
    assert not schedule.failures


def test_a_job_that_needs_a_failed_run_waits_for_it(jobs, tmp_path, capsys):
    schedule = Schedule(jobs, started=0)
    first = schedule.next_job()
    assert first is jobs[0]
    first.run.start()
    schedule.ended(first, Outcome(error="no disk\nTraceback"))
    assert (first.run.folder / "error.txt").read_text() == "no disk\nTraceback\n"
    assert schedule.next_job() is jobs[1]
    assert schedule.next_job() is None
    assert not schedule.waiting
    assert schedule.failures == ["a: no disk", f"c: waits for {first.run.folder.name}"]
    assert "[1/3] a: no disk" in capsys.readouterr().out
    again = Schedule(jobs, started=locks.now(tmp_path) + 1)  # another command, later
    assert again.next_job() is first
    again.ended(first, Outcome(seconds=3))
    assert not (first.run.folder / "error.txt").exists()


def test_what_failed_elsewhere_is_tried_here_once_and_last(jobs):
    """The other machine may be the one at fault."""
    first, second, adaptation = jobs
    first.run.start()
    (first.run.folder / "error.txt").write_text("no GPU\n")
    schedule = Schedule(jobs, started=0)
    assert schedule.next_job() is second
    begun(second)
    assert schedule.next_job() is first
    first.run.mark_done()
    schedule.ended(first, Outcome(seconds=3))
    assert schedule.next_job() is adaptation
    adaptation.run.start()
    (adaptation.run.folder / "error.txt").write_text("no GPU\n")  # of the other machine, again
    schedule.ended(adaptation, Outcome(error="no disk"))
    assert schedule.next_job() is None
    assert not schedule.waiting
    assert schedule.failures == ["c: no disk"]


def test_a_shared_sweep_goes_on_without_what_failed_elsewhere(jobs):
    """What needs it is not given up, but waits for it to be tried here."""
    first, second, adaptation = jobs
    schedule = Schedule(jobs, started=0)
    with locks.hold(first.run.folder):
        begun(first)
        assert schedule.next_job() is second
        assert schedule.next_job() is None
    (first.run.folder / "error.txt").write_text("no GPU\n")
    assert schedule.next_job() is first
    schedule.running.append(first)
    assert schedule.next_job() is None
    assert schedule.waiting == [adaptation]
    assert not schedule.failures
