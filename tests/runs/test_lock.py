import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from uda.runs import lock
from uda.runs.lock import RunBusyError, hold, hold_in_turn

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys, time; from pathlib import Path; from uda.runs.lock import hold\n"
    "with hold(Path(sys.argv[1])):\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
)


@pytest.fixture
def holding(tmp_path):
    """A process that holds the lock of the run in ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path, holding):
    with pytest.raises(RunBusyError) as refused, hold(tmp_path / "run"):
        pass
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 'run'}: process {holding.pid} of ")
    assert "\n" not in message
    holding.kill()  # no chance to release
    holding.wait()
    with hold(tmp_path / "run"):
        assert (tmp_path / ".locks" / "run.holder").read_text().startswith(f"process {os.getpid()}")
    assert not list(tmp_path.iterdir())


def test_who_waits_says_for_whom_once_and_goes_on(tmp_path, holding, monkeypatch):
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.05)
    lines = []

    def say(line):
        lines.append(line)
        threading.Timer(0.3, holding.kill).start()

    with hold_in_turn(tmp_path / "run", say):
        assert holding.wait() == -signal.SIGKILL
        with pytest.raises(RunBusyError), hold(tmp_path / "run"):
            pass
    (line,) = lines
    assert line.startswith(f"{tmp_path / 'run'}: process {holding.pid} of ")
    assert line.endswith("is at work on this run; waiting for it")


def test_an_interrupted_holder_releases(tmp_path, holding):
    holding.send_signal(signal.SIGINT)
    holding.wait()
    assert not (tmp_path / "run").exists()  # it wrote nothing, so no folder stays
    with hold(tmp_path / "run"):
        pass


@pytest.mark.parametrize("target", ["nowhere/below", "file"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path, target):
    (tmp_path / "file").write_text("")
    (tmp_path / "runs").symlink_to(tmp_path / target)
    folder = tmp_path / "runs" / "train-0123456789"
    message = f"^{folder}: no folder can be made there; name another one"
    with pytest.raises(ValueError, match=message), hold(folder):
        pass


def test_threads_of_a_process_exclude_each_other(tmp_path):
    with hold(tmp_path / "run"), pytest.raises(RunBusyError), hold(tmp_path / "run"):
        pass
    with pytest.raises(RuntimeError), hold(tmp_path / "run"):
        raise RuntimeError
    with hold(tmp_path / "run"):
        pass


def count(folder, path, times):
    """Add 1 to the number in a file, many times, under the lock."""
    for _ in range(times):
        while True:
            try:
                with hold(folder):
                    number = int(path.read_text())
                    time.sleep(0.001)
                    path.write_text(str(number + 1))
                break
            except RunBusyError:
                time.sleep(0.001)


def test_processes_take_turns(tmp_path):
    path = tmp_path / "number"
    path.write_text("0")
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=count, args=(tmp_path / "run", path, 20)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert path.read_text() == "80"
