"""Work spread over processes."""

import os
import signal

import pytest

from genmix_aug.pools import process_map


def describe(number):
    quiet = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return number, os.getpid(), quiet, os.environ.get("MARK")


def mark():
    os.environ["MARK"] = "started"


def die(number):
    os._exit(3)


def test_a_single_worker_is_this_process():
    with process_map(1, "counts", start=mark) as run:
        assert list(run(describe, range(2))) == [describe(0), describe(1)]
    assert "MARK" not in os.environ


def test_workers_are_other_processes_that_ignore_the_keyboard():
    with process_map(2, "counts", chunk=3, start=mark) as run:
        described = list(run(describe, range(9)))
    assert [number for number, *_ in described] == list(range(9))
    assert os.getpid() not in {process for _, process, *_ in described}
    assert {(quiet, started) for *_, quiet, started in described} == {(True, "started")}


def test_a_dead_worker_is_one_clear_line():
    with (
        pytest.raises(ChildProcessError, match="a process that counts died .* with 1 worker"),
        process_map(2, "counts") as run,
    ):
        list(run(die, range(4)))
