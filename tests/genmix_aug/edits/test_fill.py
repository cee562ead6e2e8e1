"""Filling a store under SIGKILL, with several writers, on a full disk and after damage."""

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from helpers.edit_workers import Noise, refuse_some
from helpers.edits import fill as fill_store
from helpers.edits import random_images, requests_for
from tqdm import tqdm

from genmix_aug.edits import store as edit_store
from genmix_aug.edits.store import BrokenEditError, EditStore

FORK = multiprocessing.get_context("fork")
NUM_IMAGES, PROMPTS, PER_IMAGE = 120, ("snowy", "mosaic", "sunset"), 3


def fill(store, seconds_an_image=0.0):
    images = random_images(NUM_IMAGES, (20, 16))
    requests = requests_for(images, PROMPTS, PER_IMAGE)
    settings = {"batch_size": 4, "screen": refuse_some, "redraws": 2}
    return fill_store(store, Noise(seconds_an_image), images, requests, **settings)


def files(store):
    """Return every file of the store except the manifests, with its bytes."""
    return {
        path.relative_to(store.root).as_posix(): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file() and path.parent.name != "manifest"
    }


def check_sound(store):
    """Check that every stored edit is whole, readable and accounted for."""
    keys = store.keys()
    for key in keys:
        assert store.has(key)
        assert store.read(key).shape == (3, 20, 16)
    records = {record["key"]: record["reason"] for record in store.entries()}
    assert {key for key, reason in records.items() if not reason} == set(store.keys())
    assert {key for key, reason in records.items() if reason} == set(store.rejected_keys())
    assert not set(store.keys()) & set(store.rejected_keys())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = EditStore(tmp_path_factory.mktemp("undisturbed"))
    keys = fill(store)
    assert None in keys, "some requests run out of redraws"
    assert len(store.rejected_keys()) > 20
    return files(store)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dies_in(point, count):
    """Make the `count`-th pass of a point inside a write the process's last."""
    left = [count]

    def passing():
        left[0] -= 1
        return left[0] < 0

    real_write, real_flush, real_replace = Path.write_bytes, edit_store.flush, os.replace
    if point == "half-written":

        def write_bytes(path, data):
            if not passing():
                return real_write(path, data)
            with open(path, "wb") as file:
                file.write(data[: len(data) // 2])
            die()

        Path.write_bytes = write_bytes
    elif point == "unflushed":
        edit_store.flush = lambda path: die() if passing() else real_flush(path)
    elif point == "unnamed":
        edit_store.os.replace = lambda *names: die() if passing() else real_replace(*names)
    elif point == "half a line":
        real_record = EditStore.record

        def record(store, records):
            if not passing():
                return real_record(store, records)
            file = store._manifest_file()
            file.write(json.dumps(records[0])[:40].encode())
            die()

        EditStore.record = record


def _fill_and_die(root, ready, point, count):
    # Forked processes share the lock of tqdm's bars: a process killed with it would stop all.
    tqdm.set_lock(threading.RLock())
    dies_in(point, count)
    ready.set()
    fill(EditStore(root), seconds_an_image=0.004)


@pytest.mark.slow
def test_twenty_kills_leave_what_an_undisturbed_run_leaves(tmp_path, undisturbed):
    """Eight deaths inside a write, twelve at random moments; the store is sound after each."""
    rng = random.Random(0)
    points = ["half-written", "unflushed", "unnamed", "half a line"] * 2
    plan = [(point, number) for number, point in enumerate(points)] + [("", 0)] * 12
    rng.shuffle(plan)
    store = EditStore(tmp_path / "store")
    killed = 0
    for point, count in plan:
        ready = FORK.Event()
        writer = FORK.Process(target=_fill_and_die, args=(store.root, ready, point, count))
        writer.start()
        assert ready.wait(60)
        if not point:
            time.sleep(rng.uniform(0.0, 0.06))
            os.kill(writer.pid, signal.SIGKILL)
        writer.join(60)
        assert writer.exitcode == -signal.SIGKILL, "it finished before it was killed"
        killed += 1
        check_sound(store)
    assert killed == 20
    assert len(store.keys()) < sum("rejected" not in name for name in undisturbed), "work was left"
    fill(store)
    assert files(store) == undisturbed, "no temporary file is left either"
    check_sound(store)


def _fill_together(root, barrier):
    barrier.wait()
    fill(EditStore(root))


@pytest.mark.slow
def test_two_writers_on_one_store(tmp_path, undisturbed):
    store = EditStore(tmp_path / "store")
    barrier = FORK.Barrier(2)
    writers = [FORK.Process(target=_fill_together, args=(store.root, barrier)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert files(store) == undisturbed
    check_sound(store)


def _hold_a_half_written_edit(root, ready, done):
    store = EditStore(root)
    name = Path(store._manifest_file().name).stem
    folder = store.root / "ab"
    folder.mkdir(parents=True)
    (folder / f".{'ab' * 20}.{name}.tmp").write_bytes(b"half")
    ready.set()
    done.wait(60)


def test_a_living_writers_files_are_left_alone(tmp_path):
    store = EditStore(tmp_path / "store")
    ready, done = FORK.Event(), FORK.Event()
    writer = FORK.Process(target=_hold_a_half_written_edit, args=(store.root, ready, done))
    writer.start()
    assert ready.wait(60)
    assert store.remove_abandoned(older_than_s=0) == 0
    assert len(list(store.root.rglob("*.tmp"))) == 1
    done.set()
    writer.join(60)
    assert store.remove_abandoned() == 1, "its writer is gone"


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 120 kB; the test is skipped where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here; the quota below is tried everywhere")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_keeps_what_is_there(small_disk, tmp_path, undisturbed):
    store = EditStore(small_disk / "store")
    with pytest.raises(OSError, match="No space left") as raised:
        fill(store)
    assert raised.value.errno == errno.ENOSPC
    assert len(store.keys()) > 5
    assert not list(store.root.rglob("*.tmp"))
    check_sound(store)
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    fill(store)
    assert files(store) == undisturbed
    check_sound(store)


@pytest.mark.slow
def test_a_quota_by_size_keeps_what_is_there(tmp_path, monkeypatch, undisturbed):
    """As a disk does: what still fits of a file is written, then ENOSPC."""
    left = [60_000]
    real = Path.write_bytes

    def write_bytes(path, data):
        real(path, data[: max(0, left[0])])
        left[0] -= len(data)
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    store = EditStore(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(OSError, match="No space left"):
            fill(store)
    assert len(store.keys()) > 5
    assert not list(store.root.rglob("*.tmp"))
    check_sound(store)
    fill(store)
    assert files(store) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["png", "jpeg"])
@pytest.mark.parametrize("then", ["png", "jpeg"])
def test_truncated_edits_are_made_again(tmp_path, image_format, then):
    """In the format that the store writes by then; the broken files are gone."""
    store = EditStore(tmp_path / "store", image_format)
    fill(store)
    whole = files(store)
    for keys, find in ((store.keys(), store.find), (store.rejected_keys(), store.find_rejected)):
        for number, key in enumerate(keys[:5]):
            data = find(key).read_bytes()
            find(key).write_bytes(data[: len(data) * number // 5])
    with pytest.raises(BrokenEditError, match=store.keys()[0]):
        store.read(store.keys()[0])
    again = EditStore(store.root, then)
    fill(again)
    if then == image_format:
        assert files(again) == whole
    assert {name.partition(".")[0] for name in files(again)} == {
        name.partition(".")[0] for name in whole
    }
    assert len(files(again)) == len(whole)
    check_sound(again)
