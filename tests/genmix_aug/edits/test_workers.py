"""Many workers fill a store as one process does: killed, with their node, and interrupted."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.edit_workers import Noise, refuse_some, screen_of_some
from helpers.processes import gone, heed_interrupts, until
from PIL import Image

from genmix_aug.cli.main import main
from genmix_aug.edits import workers
from genmix_aug.edits.fill import Filler, FillSettings, Originals
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore
from genmix_aug.edits.workers import (
    Recipe,
    Worker,
    Workers,
    digests_of,
    fill_together,
    read_digests,
    shrinking_ranges,
    worker_pool,
)
from genmix_aug.images import ImageFiles, find_images

ROOT = Path(__file__).resolve().parents[3]
PATH = os.pathsep.join([str(ROOT), str(ROOT / "tests")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A hundred small pictures, the last of which is the first again."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(100):
        rng = np.random.default_rng(number % 99)
        pixels = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((12, 16, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def recipe_for(root, seconds_an_image=0.0):
    settings = FillSettings(batch_size=4, redraws=2)
    make_editor = partial(Noise, seconds_an_image)
    return Recipe(EditStore(root), make_editor, "noise-v1", screen_of_some, settings)


def requests_for(originals):
    return EditPlan(("snowy", "mosaic"), 2, "noise-v1").requests(originals.digests)


def originals_of(folder):
    files = ImageFiles(find_images(folder))
    names = [path.name for path in files.paths]
    return Originals(files, names, digests_of(files), {"folder": str(folder)})


def contents(root):
    """Every edit with its bytes, and the manifest without its times; no other file is there."""
    store = EditStore(root)
    assert not [path for path in root.rglob(".*") if path.is_file()]
    files = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.png")}
    records = [{k: v for k, v in each.items() if k != "time"} for each in store.entries()]
    return files, sorted(records, key=lambda record: record["key"])


def lines(root):
    return len(list(EditStore(root).lines()))


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    """What one process makes: the store, and the keys."""
    root = tmp_path_factory.mktemp("undisturbed")
    originals = originals_of(folder)
    settings = FillSettings(batch_size=4, screen=refuse_some, redraws=2)
    filler = Filler(EditStore(root), Noise(), originals, requests_for(originals), settings)
    keys = filler.fill()
    assert None in keys
    assert filler.rejected["flat"] > 20
    return contents(root), keys, filler.rejected


class PoolOfOne:
    """Stands in for Ray's: a worker in this process, whose last tasks are done first."""

    count = 2

    def __init__(self, recipe):
        self.worker = Worker(recipe)
        self.sent = []  # how many requests each task has

    def map(self, method, tasks):
        for name, arguments in reversed(list(tasks)):
            self.sent += [len(arguments[1])] if method == "fill" else []
            yield name, getattr(self.worker, method)(*arguments)


def test_chunks_make_together_what_one_process_makes(folder, tmp_path, undisturbed):
    recipe = recipe_for(tmp_path)
    pool, originals = PoolOfOne(recipe), originals_of(folder)
    assert read_digests(pool, originals.images) == originals.digests
    filled = fill_together(pool, recipe, originals, requests_for(originals))
    assert (contents(tmp_path), filled.keys, filled.rejected) == undisturbed
    assert lines(tmp_path) == len(list(EditStore(tmp_path).entries()))
    assert sum(pool.sent) == 2 * 99, "an image that is there twice is edited once"
    assert filled.remarks == {"were made": lines(tmp_path)}


def test_another_editor_on_a_node_is_refused(folder, tmp_path):
    recipe = Recipe(EditStore(tmp_path), Noise, "noise-v2")
    originals = originals_of(folder)
    with pytest.raises(ValueError, match="noise-v2 where .* and noise-v1 on .*: install the same"):
        fill_together(PoolOfOne(recipe), recipe, originals, requests_for(originals))


@pytest.mark.parametrize(("total", "count"), [(0, 1), (1, 8), (7, 2), (1000, 3), (10**6, 8)])
def test_ranges_shrink_towards_the_end(total, count):
    ranges = list(shrinking_ranges(total, count, 16))
    assert [number for each in ranges for number in each] == list(range(total))
    sizes = [len(each) for each in ranges]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes, default=0) <= 8 * 16
    assert all(size >= 16 for size in sizes[:-1])


@pytest.mark.parametrize(
    ("settings", "is_local"),
    [({}, True), ({"count": 1}, True), ({"count": 2}, False), ({"address": "auto"}, False)],
)
def test_a_single_worker_here_needs_no_ray(settings, is_local):
    assert Workers(**settings).is_local == is_local


def writers(root):
    """Processes that have written to the store and live."""
    names = [path.stem.split("-") for path in (root / "manifest").glob("*.jsonl")]
    return {pid for name in names if not gone(pid := int(name[1]))}


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of two nodes on this machine, a core each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", PATH)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_and_a_node_makes_the_same(
    folder, tmp_path, undisturbed, cluster
):
    store, notes = tmp_path / "store", []

    def destroy():
        victim, *_ = until(lambda: len(pids := writers(store)) == 2 and pids)
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(writers(store) - {victim}) == 2)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        notes.append(lines(store))

    thread = threading.Thread(target=destroy)
    thread.start()
    recipe = recipe_for(store, seconds_an_image=0.03)
    with worker_pool(recipe, Workers(address=cluster.address)) as pool:
        assert pool.count == 2
        originals = originals_of(folder)
        assert read_digests(pool, originals.images) == originals.digests
        filled = fill_together(pool, recipe, originals, requests_for(originals))
    thread.join()
    assert notes[0] < lines(store) - 50, "both were lost in mid-run"
    recipe.store.remove_abandoned()
    assert (contents(store), filled.keys) == undisturbed[:2]


def start_edit(folder, store, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "genmix_aug.cli", "edit", folder, "--store", store, *more],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PATH},
        preexec_fn=heed_interrupts,
    )  # fmt: skip


@pytest.mark.slow
def test_interrupted_it_leaves_nobody_at_work_and_goes_on(folder, tmp_path):
    flags = ("--prompts", "all", "--per-image", "6", "--batch-size", "4",
             "--features", "helpers.features:colours")  # fmt: skip
    store = tmp_path / "store"
    process = start_edit(folder, store, *flags, "--workers", "2")
    at_work = until(lambda: len(pids := writers(store)) == 2 and pids)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert out.splitlines()[-1] == "genmix: stopped; run the same command again to go on"
    assert "Traceback" not in out
    assert all(gone(pid) for pid in at_work)
    assert not list(Path("/tmp").glob(f"genmix-ray-{process.pid}-*"))
    assert not list(store.rglob("*.tmp"))
    made = lines(store)
    alone = ["edit", str(folder), *flags, "--store"]
    assert main([*alone, str(store)]) == 0
    assert main([*alone, str(tmp_path / "alone")]) == 0
    assert 0 < made < lines(tmp_path / "alone"), "interrupted in mid-run"
    assert contents(store) == contents(tmp_path / "alone")


def test_more_gpus_than_there_are_is_a_line(monkeypatch):
    monkeypatch.setattr(workers, "room_for", lambda cpus, gpus: int(4 / gpus))
    assert workers._count(Workers(8, 0.5), 0.5) == workers._count(Workers(address="auto"), 0.5) == 8
    with pytest.raises(ValueError, match="^--workers 2 --gpus-per-worker 4: this machine has .* 1"):
        workers._count(Workers(2, 4), 4)
    with pytest.raises(ValueError, match="^--workers 1 --gpus-per-worker 8: the cluster auto has "):
        workers._count(Workers(None, 8, "auto"), 8)
