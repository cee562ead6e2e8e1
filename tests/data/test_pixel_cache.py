import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from helpers.phone import tag
from helpers.tiny import arguments, make_dataset

from genmix_aug.images import to_picture
from uda.cli.main import main
from uda.data import pixel_cache as image_cache
from uda.data import pixels as datasets
from uda.data.items import domain_items
from uda.data.pixels import PixelStore
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs


@pytest.fixture
def items(spec):
    return domain_items(spec, "Plain")


def number(items):
    return {name: k for k, name in enumerate(sorted({item.class_name for item in items}))}


def test_turned_pictures_are_not_taken_for_those_as_stored(items, tmp_path):
    for item in items:
        tag(item.path)
    for upright in (False, True, False):
        in_memory = PixelStore(upright=upright).decode(items, 24)
        assert torch.equal(PixelStore(0, tmp_path, upright).decode(items, 24), in_memory)
    assert len(list(tmp_path.glob("*.images"))) == 2


def test_mapped_pictures_are_those_in_memory(items, tmp_path):
    cache = tmp_path / "cache"
    in_memory = PixelStore().labelled(items, number(items), 24)
    mapped = PixelStore(0, cache).labelled(items, number(items), 24)
    assert torch.equal(in_memory.images, mapped.images)
    assert torch.equal(in_memory.labels, mapped.labels)
    assert in_memory.names == mapped.names
    memory_target, memory_items = PixelStore().unlabelled(items, 24)
    for _ in range(2):  # decoded, then read from the file
        mapped_target, mapped_items = PixelStore(0, cache).unlabelled(items, 24)
        assert torch.equal(memory_target.images, mapped_target.images)
        assert memory_items == mapped_items != items
    assert set(vars(mapped_target)) == {"images", "neighbours"}
    assert mapped_target.neighbours is None
    rows = torch.tensor([7, 0, 3])
    assert torch.equal(memory_target.images[rows], mapped_target.images[rows])
    assert len(list(cache.glob("*.images"))) == 2
    assert not list(cache.glob(".*.tmp*"))


def test_pictures_that_were_swapped_are_decoded_anew(items, tmp_path):
    """Size and time are equal, as archives and uncompressed formats make them."""
    for item in items[:2]:
        pixels = datasets.load_rgb(item.path)
        to_picture(pixels).save(item.path, "BMP")
        os.utime(item.path, (5, 5))
    before = PixelStore(0, tmp_path / "c").labelled(items, number(items), 24).images
    assert not torch.equal(before[0], before[1])
    aside = items[0].path.with_name("aside")
    items[0].path.rename(aside)
    items[1].path.rename(items[0].path)
    aside.rename(items[1].path)
    after = PixelStore(0, tmp_path / "c").labelled(items, number(items), 24).images
    assert torch.equal(after[0], before[1])
    assert torch.equal(after[1], before[0])


def _fill_slowly(folder, ready, fills):
    def fill(images):
        with open(fills, "a") as file:
            file.write("x")
        time.sleep(0.3)
        images.fill_(7)
        return range(len(images))

    ready.wait()
    images, numbers = image_cache.stored(folder, "key", (4, 3, 2, 2), fill)
    assert (images == 7).all()
    assert numbers == [0, 1, 2, 3]


def test_a_single_process_of_two_fills(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(2)
    arguments = (tmp_path / "c", ready, tmp_path / "fills")
    both = [context.Process(target=_fill_slowly, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "fills").read_text() == "x"


def test_a_folder_deleted_meanwhile_mixes_no_two_fillings(tmp_path):
    def interrupted(images):
        images.fill_(1)
        shutil.rmtree(tmp_path / "c")
        # In a thread of its own, as another process would: a lock is its thread's.
        another = Thread(target=image_cache.stored, args=(tmp_path / "c", "key", (2, 1), other))
        another.start()
        another.join()
        return [3, 4]

    def other(images):
        images.fill_(2)
        return [5, 6]

    with pytest.raises(FileNotFoundError):
        image_cache.stored(tmp_path / "c", "key", (2, 1), interrupted)
    images, numbers = image_cache.stored(tmp_path / "c", "key", (2, 1), lambda t: [0, 0])
    assert (images.tolist(), numbers) == ([[2], [2]], [5, 6])


def test_pictures_are_decoded_once_while_their_files_stay(items, tmp_path, monkeypatch):
    decoded = []
    original = datasets.load_rgb
    monkeypatch.setattr(
        datasets, "load_rgb", lambda path, *more: decoded.append(path) or original(path, *more)
    )
    for _ in range(3):
        PixelStore(0, tmp_path / "c").unlabelled(items, 24)
    assert len(decoded) == len(items)
    PixelStore(0, tmp_path / "c").unlabelled(items, 25)  # another size
    assert len(decoded) == 2 * len(items)
    os.utime(items[0].path, (1, 1))  # another picture
    PixelStore(0, tmp_path / "c").unlabelled(items, 24)
    assert len(decoded) == 3 * len(items)
    PixelStore(0, tmp_path / "c").unlabelled(items[1:], 24)  # fewer of them
    assert len(decoded) == 4 * len(items) - 1


def test_the_limit_decides():
    shape = (2, 3, 16, 16)
    assert image_cache.fits(shape, 1536 / 2**30)
    assert not image_cache.fits(shape, 1535 / 2**30)


def test_a_cut_file_is_made_again(items, tmp_path):
    whole, _ = PixelStore(0, tmp_path).unlabelled(items, 24)
    expected = whole.images.clone()
    (file,) = tmp_path.glob("*.images")
    file.write_bytes(file.read_bytes()[:-9])
    assert torch.equal(PixelStore(0, tmp_path).unlabelled(items, 24)[0].images, expected)


def test_a_filling_that_fails_leaves_no_file(items, tmp_path):
    cache = tmp_path / "cache"
    items[3].path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot read image .*; remove or replace it"):
        PixelStore(0, cache).unlabelled(items, 24)
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from uda.data.pixel_cache import stored

def fill(images):
    images[:] = 7
    os.kill(os.getpid(), signal.SIGKILL)

stored(Path(sys.argv[1]), "key", (4, 3, 5, 5), fill)
"""


def test_a_killed_filling_is_begun_anew(tmp_path):
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".*.tmp*"))) == 1

    def fill(images):
        images[:] = 9
        return [3, 2, 1, 0]

    images, numbers = image_cache.stored(tmp_path, "key", (4, 3, 5, 5), fill)
    assert images.unique().tolist() == [9]
    assert numbers == [3, 2, 1, 0]
    assert not list(tmp_path.glob(".*.tmp*"))


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_reorder_is_indexing_in_place(count):
    rng = np.random.default_rng(count)
    for _ in range(5):
        images = torch.from_numpy(rng.integers(0, 256, (count, 3, 2, 2), dtype=np.uint8))
        order = rng.permutation(count).tolist()
        expected = images[order]
        image_cache.reorder(images, order)
        assert torch.equal(images, expected)


def test_resized_sets_are_the_same_in_memory_and_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "RESIZE_BATCH", 4)
    images = torch.randint(0, 256, (9, 3, 21, 21), dtype=torch.uint8)
    expected = datasets.resize(images, 13)
    assert torch.equal(PixelStore().resize(images, 13), expected)
    mapped = PixelStore(0, tmp_path / "cache").resize(images, 13)
    assert torch.equal(mapped, expected)
    assert list((tmp_path / "cache").iterdir()) == []  # a file without a name
    assert PixelStore(0, tmp_path / "cache").resize(images, 21) is images


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 2**29})
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"compute.cache: .* has 0.5 GiB free .* take 3.0;"):
        image_cache.allocate((1024, 3, 1024, 1024), 1, tmp_path)


@pytest.mark.slow
def test_whole_runs_do_not_depend_on_the_limit(tmp_path):
    dataset = make_dataset(tmp_path / "tiny")
    weights = []
    for name, limit in (("memory", "4"), ("mapped", "0")):
        flags = arguments(dataset, tmp_path / name / "runs", "--data.target=Dark")
        flags += [f"--compute.image_memory_gb={limit}", f"--compute.cache={tmp_path / 'cache'}"]
        flags += ["--augment.name=genmix", "--images.resize_px=30"]
        assert main(["train", *flags]) == 0
        assert not list((tmp_path / "cache").glob("*.images")) or limit == "0"
        assert main(["adapt", *flags]) == 0
        runs = find_runs(tmp_path / name / "runs")
        weights.append(
            {run.folder.name: read_checkpoint(run.folder / "checkpoint.pt") for run in runs}
        )
    memory, mapped = weights
    assert memory.keys() == mapped.keys()
    for name, state in memory.items():
        assert all(torch.equal(mapped[name]["model"][key], v) for key, v in state["model"].items())
    assert len(list((tmp_path / "cache").glob("*.images"))) == 2  # source and target
