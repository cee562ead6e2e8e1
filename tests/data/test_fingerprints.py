"""Images known by their names and contents."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from genmix_aug.images import load_rgb, to_picture
from uda.data import fingerprints
from uda.data.fingerprints import PictureSet
from uda.data.items import Item, domain_items
from uda.data.pixels import PixelStore
from uda.runs.hashing import file_hash


@pytest.fixture
def items(spec) -> tuple[Item, ...]:
    return tuple(domain_items(spec, "Plain"))


def write_anew(path: Path, content: bytes) -> None:
    """Write content into the file, of which size, time and inode stay."""
    status = path.stat()
    path.write_bytes(content[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns


def test_files_that_stay_as_they_are_are_not_read_again(items, monkeypatch):
    record = PictureSet(items).record()
    monkeypatch.setattr(fingerprints, "content_hash", None)  # cannot be called
    assert PictureSet(items).difference(record) == ""
    assert PictureSet(items).record(record) == record


def test_a_file_of_another_content_of_the_same_size_and_time_is_noticed(items):
    record = PictureSet(items).record()
    write_anew(items[3].path, items[4].path.read_bytes())
    assert PictureSet(items).difference(record) == "20 then, 20 now; changed: bar/03.png"


def test_touched_and_copied_files_are_the_same(items, spec, tmp_path):
    record = PictureSet(items).record()
    items[0].path.touch()
    assert PictureSet(items).difference(record) == ""
    shutil.copytree(spec.root / "Plain", tmp_path / "else" / "where")
    moved = [
        Item(tmp_path / "else" / "where" / i.class_name / i.path.name, i.class_name) for i in items
    ]
    assert PictureSet(tuple(moved)).difference(record) == ""
    assert len(PictureSet(tuple(moved)).record(record)["seen"]) == 2


def test_a_record_knows_the_last_places_alone(items):
    record = PictureSet(items).record()
    for _ in range(2 * fingerprints.MOST_SEEN):
        items[0].path.touch()
        record = PictureSet(items).record(record)
    assert len(record["seen"]) == fingerprints.MOST_SEEN
    assert PictureSet(items).key in record["seen"]


def test_an_image_that_is_listed_twice_counts_twice(items):
    record = PictureSet((*items, items[0])).record()
    assert PictureSet(items).difference(record) == "21 then, 20 now"


def test_files_that_are_gone_are_not_counted(items):
    record = PictureSet(items).record()
    items[0].path.unlink()
    assert PictureSet(items).difference(record) == "20 then, 19 now; gone: bar/00.png"


def test_names_of_no_encoding_are_names(items):
    odd = items[0].path.with_name(os.fsdecode(b"\xff.png"))
    shutil.copy(items[0].path, odd)
    difference = PictureSet((*items, Item(odd, "bar"))).difference(PictureSet(items).record())
    assert difference == r"20 then, 21 now; new: bar/\udcff.png"


def test_images_of_an_archive_are_known_by_their_pixels(tmp_path):
    archive = tmp_path / "train"
    archive.write_bytes(b"first")

    def images(level: int) -> tuple[Item, ...]:
        pixels = np.full((2, 2, 3), level, np.uint8)
        return (Item(archive / "00000", "thing", pixels),)

    record = PictureSet(images(1)).record()
    assert PictureSet(images(1)).difference(record) == ""
    archive.write_bytes(b"second")
    assert PictureSet(images(1)).difference(record) == ""
    archive.write_bytes(b"the third")
    assert PictureSet(images(2)).difference(record) == "1 then, 1 now; changed: thing/00000"


def test_decoded_images_of_another_archive_are_not_taken(tmp_path):
    archive = tmp_path / "train"
    for level in (1, 2):
        archive.write_bytes(bytes(level))
        items = [Item(archive / "00000", "thing", np.full((2, 2, 3), level, np.uint8))]
        decoded = PixelStore(0, tmp_path / "cache").decode(items, 2)
        assert torch.equal(decoded, torch.full((1, 3, 2, 2), level, dtype=torch.uint8))


def test_decoded_images_of_the_same_size_and_time_are_not_taken(items, tmp_path):
    for item in items[:2]:
        to_picture(load_rgb(item.path)).save(item.path, "BMP")
    store = PixelStore(0, tmp_path / "cache")
    store.decode(items[:1], 24)
    write_anew(items[0].path, items[1].path.read_bytes())
    assert torch.equal(store.decode(items[:1], 24), PixelStore().decode(items[1:2], 24))


def test_a_files_hash_is_of_its_content(items):
    before = file_hash(items[0].path)
    write_anew(items[0].path, items[1].path.read_bytes())
    assert file_hash(items[0].path) != before
