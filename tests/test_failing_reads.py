"""Every kind of file on a disk that fails to read it: an error that names the file."""

import errno
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from genmix_aug.edits.store import EditStore
from genmix_aug.files import read_mark
from genmix_aug.images import load_rgb, size_of
from genmix_aug.mixing.fractal_folder import write_fractals
from uda.config import read_yaml
from uda.data.fingerprints import content_hash
from uda.data.items import Item
from uda.data.list_files import read_list
from uda.runs.checkpoints import read_arrays, read_checkpoint
from uda.runs.folder import error_in, open_run
from uda.runs.hashing import file_hash
from uda.sweeps.packing import unpack

KEY = "ab" * 20


class BadSector(io.FileIO):
    """A file that opens, and cannot be read; the system's error names no file."""

    def fail(self, *_):
        raise OSError(errno.EIO, "Input/output error")

    read = readall = readinto = fail


@pytest.fixture
def break_reads(monkeypatch):
    """Return what makes files of these names unreadable from now on."""
    opened = io.open

    def start(name):
        def open_(file, mode="r", *args, **options):
            if isinstance(file, int) or "r" not in mode or Path(file).name != name:
                return opened(file, mode, *args, **options)
            raw = io.BufferedReader(BadSector(file))
            return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8")

        monkeypatch.setattr(io, "open", open_)
        monkeypatch.setattr("builtins.open", open_)

    return start


def run(folder):
    return open_run(folder, "run", {"stage": "train"})


def store(folder):
    store = EditStore(folder)
    about = {"image": "a", "source": "a", "prompt": "p", "editor": "e"}
    store.record([{"key": KEY, "reason": "", **about}])
    store.write({KEY: torch.zeros(3, 4, 4, dtype=torch.uint8)})
    (folder / "manifest").rename(folder / "before")
    (folder / "manifest").mkdir()
    next((folder / "before").iterdir()).rename(folder / "manifest" / "m.jsonl")
    return store


CASES = {
    "metrics.jsonl": lambda folder: run(folder).metrics(),
    "classes.json": lambda folder: run(folder).classes(),
    "pictures.json": lambda folder: run(folder).pictures(),
    "criteria.json": lambda folder: run(folder).choices("criteria"),
    "done": lambda folder: run(folder).done_text,
    "error.txt": lambda folder: error_in(run(folder).folder),
    "experiment.yaml": lambda folder: run(folder).experiment_text,
    "config.yaml": lambda folder: read_yaml(run(folder).folder / "config.yaml"),
    "a.pt": lambda folder: read_checkpoint(folder / "a.pt"),
    "a.npz": lambda folder: read_arrays(folder / "a.npz"),
    "a.txt": lambda folder: read_list(folder / "a.txt"),
    "a.jsonl": lambda folder: unpack(folder / "a.jsonl", folder / "runs"),
    "a.png": lambda folder: load_rgb(folder / "a.png"),
    "b.png": lambda folder: size_of(folder / "b.png"),
    "c.png": lambda folder: content_hash(Item(folder / "c.png", "")),
    "a.bin": lambda folder: file_hash(folder / "a.bin"),
    "mark.json": lambda folder: read_mark(folder / "mark.json"),
    "0000.png": lambda folder: write_fractals(folder / "fractals", 1, 8),
    "m.jsonl": lambda folder: list(EditStore(folder).entries()),
    f"{KEY}.png": lambda folder: EditStore(folder).read(KEY),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_cannot_be_read_is_named(tmp_path, break_reads, name):
    made = run(tmp_path)
    made.start()
    store(tmp_path)
    write_fractals(tmp_path / "fractals", 1, 8)
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    torch.save({"model": {}}, tmp_path / "a.pt")
    for file in ("a.txt", "a.jsonl", "a.png", "b.png", "c.png", "a.bin"):
        (tmp_path / file).write_text("x")
    (tmp_path / "mark.json").write_text(json.dumps({}))
    kept = ("metrics.jsonl", "classes.json", "pictures.json", "criteria.json", "experiment.yaml")
    for file in (*kept, *(("done",) if name == "done" else ("error.txt",))):
        (made.folder / file).write_text("[]")
    break_reads(name)
    with pytest.raises((OSError, ValueError)) as raised:
        CASES[name](tmp_path)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)
