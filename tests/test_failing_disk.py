"""Every kind of file on a disk that fails: named in a line, nothing half-written, made again."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers.failing_disk import failing_disk
from helpers.in_domain_runs import finished
from helpers.own_folders import make_folders
from PIL import Image

from genmix_aug.contact_sheet import save_png
from genmix_aug.edits.store import EditStore
from genmix_aug.files import WriteError
from genmix_aug.mixing.fractal_folder import write_fractals
from uda.config import Experiment
from uda.data.folders import folder_pair_dataset
from uda.data.pixel_cache import stored
from uda.inference.model import ImagePrediction
from uda.inference.pictures import PredictedImages, write_csv
from uda.reports.figures import drawing
from uda.reports.report import read_report
from uda.reports.writing import ReportWriter
from uda.runs.event_files import write_event_files
from uda.runs.folder import Run
from uda.sweeps.packing import pack, unpack
from uda.sweeps.record import write_plan

ERRORS = {"open": errno.EACCES, "write": errno.ENOSPC, "fsync": errno.EIO, "rename": errno.EROFS}
KEY = "ab" * 20


def run_in(folder: Path) -> Run:
    return Run(folder / "run", {"stage": "train", "seed": 0})


def checkpoint(folder: Path) -> None:
    run_in(folder).save_checkpoint({"model": {"weight": torch.arange(5000.0)}, "epoch": 1})


def metrics(folder: Path) -> None:
    for epoch in range(len(run_in(folder).metrics()), 2):
        run_in(folder).log(kind="train", epoch=epoch)


def bank(folder: Path) -> None:
    run_in(folder).save_bank(1, {"features": np.ones((4, 5))})


def options(folder: Path) -> None:
    run_in(folder).save_experiment(Experiment())


def classes(folder: Path) -> None:
    run_in(folder).save_classes(["é"])


def done(folder: Path) -> None:
    run_in(folder).mark_done()


def sheet(folder: Path) -> None:
    save_png(Image.new("RGB", (9, 9)), folder / "sheet.png")


def record(folder: Path) -> None:
    write_plan(folder, "a", {"data": {}}, [])


def fractals(folder: Path) -> None:
    write_fractals(folder / "set", 2, 8)


def lock(folder: Path) -> None:
    with run_in(folder).lock():
        (folder / "run").mkdir()


def figure(folder: Path) -> None:
    drawing.save_png(drawing.make_axes(1, 1, 1, 1)[0], folder / "figure.png")


def answers(folder: Path) -> None:
    prediction = ImagePrediction("cat", "cat", 0.9, 0.1, 0.1)
    write_csv(PredictedImages((Path("é.png"),), (prediction,), {}), folder / "answers.csv")


def packed(folder: Path) -> None:
    if not (folder / "runs").exists():
        finished(folder / "runs")
    pack([folder / "runs"], folder / "packed.jsonl")


def unpacked(folder: Path) -> None:
    if not (folder / "packed.jsonl").exists():
        packed(folder)
    unpack(folder / "packed.jsonl", folder / "back")


def lists(folder: Path) -> None:
    if not (folder / "pictures").exists():
        make_folders(folder)
    folder_pair_dataset(folder / "my drawings", folder / "renders", "auto", folder / "datasets")


def edits(folder: Path) -> None:
    store = EditStore(folder / "store")
    record = {"key": KEY, "reason": "", "source": "a", "time": 1}
    if not list(store.entries()):
        store.record([record])
        store.write({KEY: torch.zeros(3, 4, 4, dtype=torch.uint8)})
    store.reject(record, "flat")


def decoded(folder: Path) -> None:
    stored(folder / "cache", "key", (2, 3), lambda images: images.fill_(1)[:, 0].tolist())


def events(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    if not (folder / "run").exists():
        metrics(folder)
    write_event_files(run_in(folder))


def report(folder: Path) -> None:
    if not (folder / "runs").exists():
        finished(folder / "runs")
    ReportWriter(read_report(folder / "runs", "", "")).write(("md", "html", "csv"))


class Kind(NamedTuple):
    """What writes a kind of file, the words that name it, and the suffix as which it is written."""

    write: Callable[[Path], None]
    named: str
    suffix: str
    calls: tuple[str, ...] = tuple(ERRORS)


UNFLUSHED, UNNAMED = ("open", "write", "rename"), ("open", "write", "fsync")
KINDS = {
    "checkpoint": Kind(checkpoint, "run/checkpoint.pt", ".pt"),
    "metrics": Kind(metrics, "run/metrics.jsonl", ".jsonl", UNNAMED),
    "bank": Kind(bank, "run/banks/epoch_01.npz", ".npz", ("write", "fsync", "rename")),
    "options": Kind(options, "run/experiment.yaml", ".tmp.yaml"),
    "classes": Kind(classes, "run/classes.json", ".json"),
    "done": Kind(done, "run/done", ".tmp"),
    "lock": Kind(lock, ".locks/run.holder", ".holder", ("open", "write")),
    "figure": Kind(figure, "figure.png", ".png"),
    "sheet": Kind(sheet, "sheet.png", ".png", UNFLUSHED),
    "answers": Kind(answers, "answers.csv", ".csv"),
    "packed runs": Kind(packed, "packed.jsonl", ".tmp.jsonl"),
    "unpacked run": Kind(unpacked, "back/train-s0", "back/*.jsonl", UNNAMED),
    "record": Kind(record, "sweeps/a.yaml", ".yaml"),
    "list": Kind(lists, "datasets/my_drawings", ".tmp.txt", UNNAMED),
    "dataset": Kind(lists, "datasets/my_drawings", ".tmp.yaml"),
    "edit": Kind(edits, f"store/ab/{KEY}.png", ".tmp"),
    "manifest": Kind(edits, "store/manifest", ".jsonl", UNNAMED),
    "fractal": Kind(fractals, "set/0000.png", ".png", UNFLUSHED),
    "decoded pictures": Kind(decoded, "cache/key.images", ".images"),
    "event files": Kind(events, "run/tensorboard", "tfevents*", ("open", "write")),
    "report": Kind(report, "runs/report.md", ".tmp.md"),
    "page": Kind(report, "runs/report.html", ".tmp.html"),
    "table": Kind(report, "runs/tables/in_domain.csv", ".tmp.csv"),
}
CHANGING = re.compile(rb'"time": [\d.]+|\d{4}-\d\d-\d\d.*|"version": "\w+"')


def content(folder: Path) -> dict[str, object]:
    """Return the files below a folder, without what differs from run to run (such as times)."""
    files: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name.endswith(".lock"):
            continue
        data = CHANGING.sub(b"", path.read_bytes().replace(bytes(folder), b""))
        if "tfevents" in name or path.suffix == ".npz":
            name, data = name.partition("tfevents")[0], b""
        files[name] = data
    if (folder / "store").is_dir():  # a manifest's lines without an edit, or twice, mean nothing
        files = {name: data for name, data in files.items() if "manifest" not in name}
        files["manifest"] = [(e["key"], e["reason"]) for e in EditStore(folder / "store").entries()]
    return files


CASES = [(kind, call) for kind, (*_, calls) in KINDS.items() for call in calls]


@pytest.mark.parametrize(("name", "call"), CASES, ids=lambda value: value)
def test_a_write_that_fails_names_the_file_and_is_made_good_by_the_next(tmp_path, name, call):
    kind = KINDS[name]
    whole, folder = tmp_path / "whole", tmp_path / "failed"
    whole.mkdir()
    folder.mkdir()
    kind.write(whole)
    pattern = kind.suffix if call != "rename" else f"{Path(kind.named).name}*"
    failing = failing_disk(call, ERRORS[call], pattern, below=folder)
    with failing as disk, pytest.raises(WriteError) as raised:
        kind.write(folder)
    assert disk.failed
    message = str(raised.value)
    assert message.startswith(f"{folder}/{kind.named}")
    assert "cannot be written" in message
    assert ("MB are free" in message) == (ERRORS[call] == errno.ENOSPC)
    assert "\n" not in message
    assert not [path for path in folder.rglob(".*") if "tmp" in path.name]
    kind.write(folder)
    assert content(folder) == content(whole)
