"""The edit store: resumable, shared, and never serving a broken file."""

import errno
import json
import multiprocessing
import os

import pytest
import torch

from genmix_aug import edit_store
from genmix_aug.edit_store import (
    BrokenEditError,
    EditStore,
    MissingEditError,
    edit_key,
    image_digest,
    plan_edits,
    png_is_whole,
)


class Inverter:
    """A quick editor: inverts, shifted by the seed; counts its calls."""

    fingerprint = "inverter-v1"

    def __init__(self):
        self.batches = []

    def edit(self, images, prompts, seeds):
        self.batches.append((tuple(images.shape), list(prompts)))
        shift = torch.tensor([seed % 7 for seed in seeds], dtype=torch.uint8)
        return 255 - images + shift[:, None, None, None]


def pictures(count, size=(12, 9), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (3, *size), generator=generator).byte() for _ in range(count)]


def requests_for(images, per_image=2):
    return plan_edits([image_digest(image) for image in images], ["snowy", "mosaic"], per_image)


@pytest.fixture
def store(tmp_path):
    return EditStore(tmp_path / "store")


def fill(store, images, editor=None, **options):
    names = [f"image {k}.png" for k in range(len(images))]
    return store.fill(editor or Inverter(), images, names, requests_for(images), **options)


def test_edits_come_back_as_they_were_made(store):
    images = pictures(3)
    keys = fill(store, images)
    for key, (index, prompt, seed) in zip(keys, requests_for(images), strict=True):
        expected = Inverter().edit(images[index][None], [prompt], [seed])[0]
        assert torch.equal(store.read(key), expected)
        assert store.has(key)
        assert key == edit_key(images[index], prompt, seed, "inverter-v1")
        assert store.path(key).parent.name == key[:2]
    assert sorted(set(keys)) == store.keys()


def test_the_manifest_says_where_each_edit_came_from(store):
    images = pictures(2)
    keys = fill(store, images)
    records = {record["key"]: record for record in store.entries()}
    assert set(records) == set(keys)
    for key, (index, prompt, seed) in zip(keys, requests_for(images), strict=True):
        record = records[key]
        assert record["source"] == f"image {index}.png"
        assert (record["prompt"], record["seed"]) == (prompt, seed)
        assert record["editor"] == "inverter-v1"


def test_everything_that_matters_changes_the_key():
    image = pictures(1)[0]
    other = image.clone()
    other[0, 0, 0] ^= 1
    variants = [
        (image, "snowy", 0, "a"),
        (other, "snowy", 0, "a"),
        (image.reshape(3, 9, 12), "snowy", 0, "a"),
        (image, "mosaic", 0, "a"),
        (image, "snowy", 1, "a"),
        (image, "snowy", 0, "b"),
    ]
    assert len({edit_key(*variant) for variant in variants}) == len(variants)
    strided = image.permute(0, 2, 1).contiguous().permute(0, 2, 1)
    assert edit_key(strided, "snowy", 0, "a") == edit_key(image, "snowy", 0, "a")
    with pytest.raises(ValueError, match="uint8"):
        image_digest(image.float())


def test_only_what_is_missing_is_made(store):
    images = pictures(4)
    fill(store, images[:2])
    editor = Inverter()
    keys = fill(store, images, editor)
    assert sum(len(prompts) for _, prompts in editor.batches) == 4
    before = {key: store.path(key).stat().st_mtime_ns for key in keys}
    assert fill(store, images, editor) == keys
    assert {key: store.path(key).stat().st_mtime_ns for key in keys} == before
    assert len(store.missing(images, requests_for(images), "another editor")[1]) == 8


def test_equal_requests_are_made_once(store):
    image = pictures(1)[0]
    editor = Inverter()
    keys = store.fill(editor, [image, image], ["a", "b"], [(0, "snowy", 1), (1, "snowy", 1)])
    assert keys[0] == keys[1]
    assert sum(len(prompts) for _, prompts in editor.batches) == 1


def test_batches_are_of_one_size(store):
    images = [*pictures(3), *pictures(4, (5, 8)), *pictures(2, seed=1)]
    editor = Inverter()
    fill(store, images, editor, batch_size=4)
    sizes = [shape for shape, _ in editor.batches]
    assert all(shape[0] <= 4 for shape in sizes)
    assert sum(shape[0] for shape in sizes) == 18
    assert len(sizes) == 5  # 10 edits of one size in 3 batches, 8 of the other in 2


def test_many_sizes_are_not_all_held_at_once():
    images = [torch.zeros(3, 4, k + 1, dtype=torch.uint8) for k in range(40)]
    wanted = [(k, "snowy", 0) for k in range(40)]
    seen = []
    for batch in edit_store._batches(images, wanted, list(range(40)), batch_size=2):
        seen += [number for number, _ in batch]
        assert len(batch) == 1
    assert sorted(seen) == list(range(40))


@pytest.mark.parametrize("fail_at", [0, 1, 3, 6, 7])
def test_killed_inside_a_write_then_finished(store, monkeypatch, fail_at):
    """Whatever write the process dies in, the rest is whole and a second run completes it."""
    images = pictures(4)
    calls, real = [], os.replace

    def dies(source, target):
        calls.append(target)
        if len(calls) > fail_at:
            raise KeyboardInterrupt
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(edit_store.os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            fill(store, images, batch_size=3)
    assert len(store.keys()) == fail_at
    kept = store.keys()
    assert all(store.has(key) for key in kept)
    assert {record["key"] for record in store.entries()} == set(store.keys())
    assert not list(store.root.rglob("*.tmp"))
    keys = fill(store, images)
    assert store.keys() == sorted(keys)
    assert {record["key"] for record in store.entries()} == set(keys)


def test_a_full_disk_leaves_nothing_half_written(store, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(edit_store, "_flush", full)
        with pytest.raises(OSError, match="No space left"):
            fill(store, pictures(2))
    assert store.keys() == []
    assert not list(store.root.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "other", "appended"])
def test_a_damaged_edit_is_not_served_and_is_made_again(store, damage):
    images = pictures(2)
    keys = fill(store, images)
    path = store.path(keys[1])
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "truncated": whole[:-20],
            "empty": b"",
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "other": b"not a picture at all",
            "appended": whole + b"x",
        }[damage]
    )
    assert not store.has(keys[1])
    with pytest.raises(BrokenEditError, match=keys[1]):
        store.read(keys[1])
    editor = Inverter()
    fill(store, images, editor)
    assert [len(prompts) for _, prompts in editor.batches] == [1]
    assert path.read_bytes() == whole


def test_every_cut_of_a_png_is_noticed(store):
    key = fill(store, pictures(1))[0]
    data = store.path(key).read_bytes()
    assert png_is_whole(data)
    assert not any(png_is_whole(data[:length]) for length in range(len(data)))


def test_a_missing_edit_is_named(store):
    assert not store.has("ab" * 20)
    with pytest.raises(MissingEditError, match="abab"):
        store.read("ab" * 20)
    assert not store.root.exists(), "looking makes nothing"


def test_a_torn_line_in_the_manifest_is_passed_over(store):
    keys = fill(store, pictures(2))
    file = next((store.root / "manifest").glob("*.jsonl"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines) + lines[0][: len(lines[0]) // 2])
    assert {record["key"] for record in store.entries()} == set(keys)
    assert all(json.loads(line) for line in lines)


def test_leftovers_of_killed_writers_are_swept_when_old(store):
    keys = fill(store, pictures(1))
    left = store.path(keys[0]).with_name(f".{keys[0]}.99.abc.tmp")
    left.write_bytes(b"half")
    assert store.sweep() == 0, "its writer may still be at work"
    os.utime(left, (0, 0))
    fill(store, pictures(1))
    assert not left.exists()
    assert store.keys() == sorted(set(keys))


def _fill_in_a_process(root, barrier):
    barrier.wait()
    fill(EditStore(root), pictures(30), batch_size=4)


def test_two_writers_on_one_store(store, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    writers = [
        context.Process(target=_fill_in_a_process, args=(store.root, barrier)) for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    undisturbed = EditStore(tmp_path / "undisturbed")
    keys = fill(undisturbed, pictures(30))
    assert store.keys() == undisturbed.keys()
    for key in keys:
        assert store.path(key).read_bytes() == undisturbed.path(key).read_bytes()
    assert {record["key"] for record in store.entries()} == set(keys)
    assert not list(store.root.rglob("*.tmp"))


def test_plans_depend_on_content_alone():
    images = pictures(3)
    digests = [image_digest(image) for image in images]
    plan = plan_edits(digests, ["snowy", "mosaic", "sunset"], 5, seed=1)
    assert len({seed for _, _, seed in plan}) == len(plan) == 15
    backwards = plan_edits(digests[::-1], ["snowy", "mosaic", "sunset"], 5, seed=1)
    assert {(2 - index, prompt, seed) for index, prompt, seed in backwards} == set(plan)
    fewer = plan_edits(digests, ["snowy", "mosaic", "sunset"], 2, seed=1)
    assert set(fewer) <= set(plan)


def test_a_senseless_batch_size_is_refused(store):
    with pytest.raises(ValueError, match="batch_size"):
        fill(store, pictures(1), batch_size=0)
