import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from uda.runs import lock as locks
from uda.runs.lock import RunBusyError, hold, holder, now

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys, time; from pathlib import Path; from uda.runs.lock import hold\n"
    "with hold(Path(sys.argv[1])):\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
)


def holding(folder):
    """Start a process that holds the folder's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "ready\n"
    return process


def age(path, seconds):
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    process = holding(tmp_path)
    try:
        with pytest.raises(RunBusyError) as refused, hold(tmp_path):
            pass
        for word in (str(tmp_path), str(process.pid), holder(tmp_path).host):
            assert word in str(refused.value)
        assert "\n" not in str(refused.value)
        process.kill()  # no chance to release
        process.wait()
        assert (tmp_path / "lock").exists()
        assert holder(tmp_path) is None
        with hold(tmp_path):
            assert holder(tmp_path).pid == os.getpid()
    finally:
        process.kill()
    assert holder(tmp_path) is None


def test_an_interrupted_holder_releases(tmp_path):
    process = holding(tmp_path / "run")
    process.send_signal(signal.SIGINT)
    process.wait()
    assert not (tmp_path / "run").exists()  # it wrote nothing, so no folder stays


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """In another process, which can be stopped if it tries for ever."""
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")
    folder = tmp_path / "runs" / "train-0123456789"
    done = subprocess.run(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    message = f"ValueError: {folder}: no folder can be made there; name another one (--runs)"
    assert done.stderr.splitlines()[-1] == message
    assert not (tmp_path / "nowhere").exists()


def test_threads_of_a_process_exclude_each_other(tmp_path):
    with hold(tmp_path), pytest.raises(RunBusyError), hold(tmp_path):
        pass
    with pytest.raises(RuntimeError), hold(tmp_path):
        raise RuntimeError
    assert holder(tmp_path) is None


def elsewhere(folder, **other):
    """Write the lock of another machine; return its path."""
    values = {"host": "far", "space": "s", "pid": os.getpid(), "token": "t", **other}
    (folder / "lock").write_text(json.dumps(values))
    return folder / "lock"


@pytest.mark.parametrize("other", [{"host": "far"}, {"space": "another container"}])
def test_a_lock_of_another_machine_is_respected_until_it_is_stale(tmp_path, other):
    values = {"host": locks.socket.gethostname(), "space": locks._space(), "pid": 2**22 + 1}
    path = elsewhere(tmp_path, **{**values, **other})  # no local process has this number
    assert holder(tmp_path) is not None
    age(path, locks.STALE_SECONDS - 30)
    with pytest.raises(RunBusyError), hold(tmp_path):
        pass
    age(path, 60)
    with hold(tmp_path):
        assert holder(tmp_path).token != "t"
    assert list(tmp_path.parent.glob(f"{tmp_path.name}/*")) == []


def test_a_truncated_lock_is_respected_until_it_is_stale(tmp_path):
    (tmp_path / "lock").write_text('{"host": "f')
    with pytest.raises(RunBusyError, match="another process"), hold(tmp_path):
        pass
    age(tmp_path / "lock", locks.STALE_SECONDS + 10)
    with hold(tmp_path):
        pass


def test_the_holder_renews_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.02)
    with hold(tmp_path):
        age(tmp_path / "lock", 1000)
        end = time.monotonic() + 5
        while now(tmp_path) - (tmp_path / "lock").stat().st_mtime > 100:
            assert time.monotonic() < end, "no beat"
            time.sleep(0.01)


def test_a_holder_that_lost_its_lock_does_not_touch_the_next_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.02)
    with hold(tmp_path):
        path = elsewhere(tmp_path)  # another machine has taken it over
        age(path, 50)
        before = path.stat().st_mtime
        time.sleep(0.1)
        assert path.stat().st_mtime == before
    assert holder(tmp_path).token == "t"


@pytest.mark.parametrize("_", range(20))
def test_only_the_first_of_many_takes_a_stale_lock_over(tmp_path, monkeypatch, _):
    read = locks._read

    def read_and_wait(path):  # lets others act before this thread does
        content = read(path)
        time.sleep(random.random() / 200)
        return content

    monkeypatch.setattr(locks, "_read", read_and_wait)
    age(elsewhere(tmp_path), 1000)
    start, done, got, busy = threading.Barrier(8), threading.Semaphore(0), [], []
    release = threading.Event()

    def take():
        start.wait()
        try:
            with hold(tmp_path):
                got.append(holder(tmp_path))
                done.release()
                release.wait(10)
        except RunBusyError as error:
            busy.append(str(error))
            done.release()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _thread in threads:
        assert done.acquire(timeout=10)
    release.set()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert len(busy) == 7
    assert got[0].pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_while_taking_over_does_not_block_the_lock(tmp_path):
    age(elsewhere(tmp_path), 1000)
    claim = tmp_path / ".lock.t.tmp"
    claim.touch()
    with pytest.raises(RunBusyError), hold(tmp_path):
        pass
    age(claim, 1000)
    with pytest.raises(RunBusyError), hold(tmp_path):  # removes the stale claim
        pass
    with hold(tmp_path):
        assert holder(tmp_path).pid == os.getpid()


def take_turns(folder, counter, turns):
    """Add to a number in a file, which only works if nobody else does so at the same time."""
    done = 0
    while done < turns:
        try:
            with hold(folder):
                value = int(counter.read_text())
                time.sleep(0.001)
                counter.write_text(str(value + 1))
                done += 1
        except RunBusyError:
            time.sleep(0.002)


def test_processes_take_turns(tmp_path):
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=take_turns, args=(tmp_path / "run", tmp_path / "counter", 20))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert (tmp_path / "counter").read_text() == "60"
