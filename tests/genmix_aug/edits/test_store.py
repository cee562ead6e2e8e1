"""The edit store and filling it: resumable, shared, and never serving a broken file."""

import errno
import json
import os
import pickle
from itertools import islice

import pytest
import torch
from helpers import edits
from helpers.edits import random_images

from genmix_aug.digests import image_digest
from genmix_aug.editors import Editor
from genmix_aug.edits import store as edit_store
from genmix_aug.edits.keys import attempts, edit_key
from genmix_aug.edits.store import BrokenEditError, EditStore, MissingEditError
from genmix_aug.screening.checks import Verdict


class Inverter(Editor):
    """A quick editor: inverts, shifted by the seed; counts its calls."""

    fingerprint = ""

    def __init__(self, fingerprint="inverter-v1"):
        self.fingerprint = fingerprint
        self.batches = []

    def edit(self, images, prompts, seeds):
        self.batches.append((tuple(images.shape), list(prompts)))
        shift = torch.tensor([seed % 7 for seed in seeds], dtype=torch.uint8)
        return 255 - images + shift[:, None, None, None]


def requests_for(images, per_image=2):
    return edits.requests_for(images, ["snowy", "mosaic"], per_image)


@pytest.fixture
def store(tmp_path):
    return EditStore(tmp_path / "store")


def fill(store, images, editor=None, **options):
    return edits.fill(store, editor or Inverter(), images, requests_for(images), **options)


def test_edits_come_back_as_they_were_made(store):
    images = random_images(3)
    keys = fill(store, images)
    for key, (index, prompt, seed) in zip(keys, requests_for(images), strict=True):
        expected = Inverter().edit(images[index][None], [prompt], [seed])[0]
        assert torch.equal(store.read(key), expected)
        assert store.has(key)
        assert key == edit_key(image_digest(images[index]), prompt, seed, "inverter-v1")
        assert store.path(key).parent.name == key[:2]
    assert sorted(set(keys)) == store.keys()


def test_the_manifest_says_where_each_edit_came_from(store):
    images = random_images(2)
    keys = fill(store, images)
    records = {record["key"]: record for record in store.entries()}
    assert set(records) == set(keys)
    for key, (index, prompt, seed) in zip(keys, requests_for(images), strict=True):
        record = records[key]
        assert record["source"] == f"image {index}"
        assert (record["prompt"], record["seed"]) == (prompt, seed)
        assert record["editor"] == "inverter-v1"


def test_only_what_is_missing_is_made(store):
    images = random_images(4)
    fill(store, images[:2])
    editor = Inverter()
    keys = fill(store, images, editor)
    assert sum(len(prompts) for _, prompts in editor.batches) == 4
    before = {key: store.path(key).stat().st_mtime_ns for key in keys}
    assert fill(store, images, editor) == keys
    assert {key: store.path(key).stat().st_mtime_ns for key in keys} == before
    other = edits.filler(store, Inverter("another editor"), images, requests_for(images))
    assert len(other.missing()[1]) == 8


def test_equal_requests_are_made_once(store):
    image = random_images(1)[0]
    editor = Inverter()
    keys = edits.fill(store, editor, [image, image], [(0, "snowy", 1), (1, "snowy", 1)])
    assert keys[0] == keys[1]
    assert sum(len(prompts) for _, prompts in editor.batches) == 1


def test_batches_are_of_one_size(store):
    images = [*random_images(3), *random_images(4, (5, 8)), *random_images(2, seed=1)]
    editor = Inverter()
    fill(store, images, editor, batch_size=4)
    sizes = [shape for shape, _ in editor.batches]
    assert all(shape[0] <= 4 for shape in sizes)
    assert sum(shape[0] for shape in sizes) == 18
    assert len(sizes) == 5  # 10 edits of a size in 3 batches, 8 of the other in 2


@pytest.mark.parametrize("fail_at", [0, 1, 3, 6, 7])
def test_stopped_from_the_keyboard_then_finished(store, monkeypatch, fail_at):
    """Whatever write it is stopped in, the rest is whole and a second run completes it."""
    images = random_images(4)
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
        patch.setattr(edit_store, "flush", full)
        with pytest.raises(OSError, match="No space left"):
            fill(store, random_images(2))
    assert store.keys() == []
    assert not list(store.root.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "other", "appended"])
def test_a_damaged_edit_is_not_served_and_is_made_again(store, damage):
    images = random_images(2)
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


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_a_damaged_edit_whose_redraw_is_rejected_is_out_of_service(store, image_format):
    """Made without a screen, damaged, and made anew under a screen that rejects it."""
    images = random_images(1)
    first = fill(EditStore(store.root, image_format), images)[0]
    broken = store.find(first)
    broken.write_bytes(broken.read_bytes()[:-20])

    def screen(originals, edits):
        return [Verdict("flat" if bad else "", {}) for bad in verdicts[: len(edits)]]

    verdicts = [True, False]
    image, prompt, seed = requests_for(images)[0]
    keys = fill(store, images, screen=screen, batch_size=1)
    assert keys[0] is None
    assert not broken.exists()
    assert store.served(image_digest(images[image]), prompt, seed, "inverter-v1") is None
    verdicts[0] = False
    again = fill(store, images, screen=screen, redraws=4)[0]
    assert again not in (None, first)
    assert store.served(image_digest(images[image]), prompt, seed, "inverter-v1") == again


def test_a_rejection_leaves_a_whole_accepted_edit_in_service(store):
    """Another process accepted it meanwhile, by another screen."""
    (key, *_), edit = fill(store, random_images(1)), random_images(1)[0]
    store.write({key: edit}, rejected=[key])
    assert store.has(key)


def test_a_missing_edit_is_named(store):
    assert not store.has("ab" * 20)
    with pytest.raises(MissingEditError, match="abab"):
        store.read("ab" * 20)
    assert not store.root.exists(), "looking makes nothing"


def test_a_torn_line_in_the_manifest_is_passed_over(store):
    keys = fill(store, random_images(2))
    file = next((store.root / "manifest").glob("*.jsonl"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines) + lines[0][: len(lines[0]) // 2])
    assert {record["key"] for record in store.entries()} == set(keys)
    assert all(json.loads(line) for line in lines)


def test_the_latest_record_of_an_edit_counts_once(store):
    keys = fill(store, random_images(2))
    record = next(record for record in store.entries() if record["key"] == keys[1])
    for shift in (1.0, 2.0):
        store.record([{**record, "scores": {"shift": shift}}])
    records = list(store.entries())
    assert sorted(each["key"] for each in records) == sorted(keys)
    assert next(r["scores"] for r in records if r["key"] == keys[1]) == {"shift": 2.0}


def test_records_written_meanwhile_wait_for_the_next_reader(store):
    keys = fill(store, random_images(3))
    records = store.entries()
    read = [next(records)]
    store.record([read[0]])  # read twice by now, it would be two
    fill(store, random_images(6))
    read += records
    assert sorted(record["key"] for record in read) == sorted(keys)


def test_edits_that_were_whole_are_not_read_again_at_the_end(store, monkeypatch):
    images = random_images(4)
    fill(store, images[:2])
    looked_at = []
    has = EditStore.has
    monkeypatch.setattr(EditStore, "has", lambda self, key: looked_at.append(key) or has(self, key))
    keys = fill(store, images)
    assert [looked_at.count(key) for key in keys] == [1] * 4 + [3] * 4


def test_a_line_torn_by_a_full_disk_spoils_no_other(store, monkeypatch):
    keys = fill(store, random_images(1))

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    record = dict(next(store.entries()))
    with monkeypatch.context() as patch:
        patch.setattr(edit_store.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.record([record])
    torn = max((store.root / "manifest").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert torn.read_text() == "" or torn.read_text().endswith("}\n")
    torn.write_text(torn.read_text() + json.dumps(record)[:-20])
    keys += fill(store, random_images(2, seed=7))
    assert {record["key"] for record in store.entries()} == set(keys)


def test_a_forked_writer_has_a_manifest_of_its_own(store):
    images = random_images(2)
    fill(store, images[:1])
    child = os.fork()
    if child == 0:
        fill(store, images[1:])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list((store.root / "manifest").iterdir())) == 2


def test_leftovers_of_killed_writers_are_swept_when_old(store):
    keys = fill(store, random_images(1))
    left = store.path(keys[0]).with_name(f".{keys[0]}.99.abc.tmp")
    left.write_bytes(b"half")
    assert store.remove_abandoned() == 0, "its writer may still be at work"
    os.utime(left, (0, 0))
    fill(store, random_images(1))
    assert not left.exists()
    assert store.keys() == sorted(set(keys))


def test_a_senseless_batch_size_is_refused(store):
    with pytest.raises(ValueError, match="batch_size"):
        fill(store, random_images(1), batch_size=0)


def test_what_is_rejected_is_redrawn_and_never_served(store):
    """Each request is served by its first seed that the screen accepts, if any."""
    images = random_images(3)
    digests = [image_digest(image) for image in images]
    requests = edits.requests_for(images, ["snowy"], 3)

    def screen(originals, edits):
        changes = (edits.int() - (255 - originals.int())) % 256
        shifts = changes[:, 0, 0, 0].tolist()
        return [Verdict("white" if shift < 3 else "", {"shift": shift}) for shift in shifts]

    keys = edits.fill(store, Inverter(), images, requests, screen=screen, redraws=1)
    redrawn = 0
    for key, (index, prompt, seed) in zip(keys, requests, strict=True):
        tries = islice(attempts(digests[index], prompt, seed, "inverter-v1"), 2)
        first = next((attempt for attempt in tries if attempt.seed % 7 >= 3), None)
        assert key == (first and first.key)
        assert store.served(digests[index], prompt, seed, "inverter-v1") == key
        redrawn += first is not None and first.number == 1
        if key:
            assert store.read(key) is not None
    assert redrawn
    assert None in keys
    records = list(store.entries())
    assert {r["key"] for r in records if not r["reason"]} == set(store.keys()) == set(keys) - {None}
    assert {r["key"] for r in records if r["reason"] == "white"} == set(store.rejected_keys())
    assert all((r["scores"]["shift"] < 3) == (r["reason"] == "white") for r in records)
    again = edits.filler(store, Inverter(), images, requests, redraws=1)
    assert again.missing() == (keys, [])
    with pytest.raises(MissingEditError):
        store.read(store.rejected_keys()[0])
    # More redraws go on from here; without a screen, what was rejected stays rejected.
    more = edits.fill(store, Inverter(), images, requests, redraws=2)
    assert None not in more
    assert [key for key in keys if key] == [k for k, old in zip(more, keys, strict=True) if old]


def test_an_edit_can_be_rejected_afterwards(store):
    images = random_images(2)
    keys = fill(store, images)
    record = next(record for record in store.entries() if record["key"] == keys[1])
    store.reject({**record, "scores": {"contrast": 0.5}}, "flat")
    assert store.rejected_keys() == [keys[1]]
    assert not store.has(keys[1])
    after = next(record for record in store.entries() if record["key"] == keys[1])
    assert (after["reason"], after["scores"]) == ("flat", {"contrast": 0.5})
    index, prompt, seed = requests_for(images)[1]
    digest = image_digest(images[index])
    assert store.served(digest, prompt, seed, "inverter-v1") is None
    redrawn = fill(store, images)[1]
    second = list(islice(attempts(digest, prompt, seed, "inverter-v1"), 2))[1]
    assert redrawn == second.key
    store.reject(record, "flat")  # not stored any more: nothing to do


def test_requests_without_an_edit_are_named(store):
    with pytest.raises(MissingEditError, match="no edit of this image under 'snowy' by inverter"):
        store.served("00", "snowy", 1, "inverter-v1")


def test_jpeg_stores_and_png_stores_read_each_other(store):
    images = random_images(2, (40, 33))
    keys = fill(store, images)
    jpeg = EditStore(store.root, "jpeg")
    assert fill(jpeg, images) == keys
    assert all(path.suffix == ".png" for path in map(store.find, keys)), "none is made twice"
    store.find(keys[0]).unlink()
    fill(jpeg, images)
    assert store.find(keys[0]).suffix == ".jpg"
    assert store.has(keys[0])
    assert store.keys() == sorted(keys)
    with pytest.raises(ValueError, match="webp"):
        EditStore(store.root, "webp")


def test_a_store_goes_to_worker_processes(store):
    keys = fill(store, random_images(1))
    copy = pickle.loads(pickle.dumps(store))
    assert torch.equal(copy.read(keys[0]), store.read(keys[0]))
    assert copy.path(keys[0]) == store.path(keys[0])


def test_a_picture_that_changed_in_the_meantime_is_named(store):
    images = random_images(2)
    requests = edits.requests_for(images, ["snowy"], 1)
    filler = edits.filler(store, Inverter(), images, requests, batch_size=1)
    images[1] = 255 - images[1]
    with pytest.raises(ValueError, match="image 1 changed in the meantime"):
        filler.fill()
    assert len(store.keys()) == 1


@pytest.mark.parametrize(
    "line", ["null", "3", '"text"', "[]", "{}", '{"key": 3, "reason": "", "time": 1}', "NaN"]
)
def test_a_line_that_is_no_record_is_passed_over(store, line):
    keys = fill(store, random_images(2))
    file = next((store.root / "manifest").glob("*.jsonl"))
    file.write_text(line + "\n" + file.read_text() + line + "\n")
    assert {record["key"] for record in store.entries()} == set(keys)


@pytest.mark.parametrize(
    "change",
    [
        *({"square_px": value} for value in ("8", -1, 10**9, [8], None)),
        *({"folder": 3}, {"scores": []}, {"screen": {}}, {"attempt": "1"}, {"seed": "x"}),
    ],
    ids=str,
)
def test_a_record_of_other_types_is_passed_over(store, change):
    first, *others = fill(store, random_images(2))
    file = next((store.root / "manifest").glob("*.jsonl"))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines = [line | change if line["key"] == first else line for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert {record["key"] for record in store.entries()} == {*others}


def test_a_writer_on_another_machine_is_told_by_age_alone(store, monkeypatch):
    """Its lock may seem free on this machine while it has it."""
    keys = fill(store, random_images(1))
    manifest = store.root / "manifest"
    for name in ("elsewhere-99-ab", f"{edit_store.host()}-99-ab"):
        (manifest / f"{name}.jsonl").touch()
        store.path(keys[0]).with_name(f".{keys[0]}.{name}.tmp").write_bytes(b"half")
    assert store.remove_abandoned() == 1, "of this machine: nobody holds the lock"
    left = next(store.root.glob("??/.*.tmp"))
    assert "elsewhere" in left.name
    os.utime(left, (0, 0))
    assert store.remove_abandoned() == 1


def test_an_edit_is_read_wherever_it_lies(store):
    keys = fill(store, random_images(2))
    expected = store.read(keys[0])
    record = next(record for record in store.entries() if record["key"] == keys[0])
    store.reject(record, "flat")
    assert torch.equal(store.read_any(keys[0]), expected)
    assert store.has_any(keys[0])
    with pytest.raises(MissingEditError):
        store.read(keys[0])
    # A broken accepted edit beside a whole rejected edit.
    store.path(keys[0]).write_bytes(b"half")
    assert torch.equal(store.read_any(keys[0]), expected)
    store.find_rejected(keys[0]).write_bytes(b"half")
    with pytest.raises(BrokenEditError):
        store.read_any(keys[0])
    with pytest.raises(MissingEditError):
        store.read_any("ab" * 20)


@pytest.mark.parametrize("key", ["../../x", "{}/x", "ab/../../../x", ""])
def test_a_strangers_manifest_names_no_file_outside_of_the_store(tmp_path, key):
    (tmp_path / "x.png").write_bytes(b"")
    (tmp_path / "s" / "ab").mkdir(parents=True)
    (tmp_path / "s" / "manifest").mkdir()
    texts = dict.fromkeys(("reason", "image", "source", "prompt", "editor"), "")
    record = {**texts, "key": key.format(tmp_path), "time": 1.0}
    (tmp_path / "s" / "manifest" / "m.jsonl").write_text(json.dumps(record) + "\n" + "[" * 99999)
    store = EditStore(tmp_path / "s")
    assert list(store.lines()) == list(store.entries()) == []


def test_a_record_without_what_screening_asks_for_is_passed_over(store):
    store.record([{"key": "ab" * 20, "reason": ""}])
    assert list(store.entries()) == []
