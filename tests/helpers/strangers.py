"""What reads files of strangers, each with a writer of such files: `READERS`."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml
from helpers.made_runs import finished, predict
from helpers.mutations import (
    BYTES,
    TEXTS,
    YAML_TEXTS,
    array_of,
    mutated_bytes,
    mutated_value,
    mutated_zip,
    strange,
    tensor_of,
    write_text,
)
from helpers.tiny import CLASSES, make_dataset
from PIL import Image
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from genmix_aug.codec import decode, encode
from genmix_aug.edits.again import originals_of
from genmix_aug.edits.store import EditStore
from genmix_aug.edits.verdicts import verdicts
from genmix_aug.files import read_mark
from genmix_aug.images import has_orientation, load_rgb, size_of
from uda.config import AdaptConfig, ImageConfig, read_yaml
from uda.data.archives import READERS as ARCHIVES
from uda.data.items import domain_items
from uda.data.list_files import read_list
from uda.data.near_duplicates import hash_image
from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.evaluation.choices import chosen_epochs, chosen_thresholds, last_probabilities
from uda.inference.pictures import find_pictures
from uda.models.classifier import Classifier, load_weights
from uda.models.released import convert_state
from uda.models.weights import check_weights, read_weights
from uda.reports.choices import epoch_choices, threshold_choices
from uda.reports.predictions import read_predictions, split_by_role
from uda.reports.report import read_report
from uda.reports.writing import ReportWriter, write_report
from uda.runs.checkpoints import read_arrays, read_checkpoint
from uda.runs.event_files import write_event_files
from uda.runs.folder import Run, error_in, find_runs, open_run, read_run
from uda.stages.identity import experiment_of
from uda.stages.pictures import target_hashes, target_pictures
from uda.stages.target import target_score_line
from uda.sweeps.packing import pack, unpack
from uda.sweeps.record import Expected, read_plan, write_plan
from uda.training.bank import read_bank
from uda.training.state import Loop, TrainState


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file, as a command does.

    Attributes:
        write: Writes a stranger's file, or several, into an empty folder.
        read: Reads what lies in the folder.
        reads_anywhere: Whether such files may name pictures that lie elsewhere.
        weight: How often it is tried: seldom what takes seconds.
    """

    write: Callable[[Path, Random], None]
    read: Callable[[Path], object]
    reads_anywhere: bool = False
    weight: float = 1.0


# ---- checkpoints


def small_model() -> Classifier:
    """Return a network of a few weights."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
    head = nn.Linear(4, 3)
    weight_norm(head)
    neck = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4))
    return Classifier(body, neck, head, (0.5,) * 3, (0.5,) * 3)


@lru_cache
def _checkpoint() -> dict[str, Any]:
    return {**_training().state_dict(), "classes": list(CLASSES[:3]), "method": {"kept": 1}}


def _training() -> TrainState:
    torch.manual_seed(0)
    loop = Loop(ImageConfig(), 0, torch.device("cpu"))
    return TrainState(small_model(), AdaptConfig(), loop, train_classifier=True)


def save_checkpoint(path: Path, state: Any, rng: Random) -> None:
    """Save a changed state, in one way or another."""
    kind, out = rng.random(), io.BytesIO()
    if kind < 0.6:
        state = mutated_value(copy.deepcopy(state), rng, tensor_of)
    try:
        torch.save(state, out, _use_new_zipfile_serialization=kind > 0.1)
    except Exception:  # what cannot be saved
        out = io.BytesIO()
        torch.save({"model": {}}, out)
    data = out.getvalue()
    if 0.6 < kind < 0.8 and data[:2] == b"PK":
        data = mutated_zip(data, rng)
    elif kind >= 0.8:
        data = mutated_bytes(data, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_checkpoint(folder: Path, rng: Random) -> None:
    save_checkpoint(folder / "best.pt", _checkpoint(), rng)


def use_checkpoint(folder: Path) -> None:
    load_weights(small_model(), folder / "best.pt", CLASSES[:3])


CONFIG = {"stage": "adapt", "source": {"data": {"scenario": "opda"}, "seed": 0}, "target": "Dark"}


def write_unfinished(folder: Path, rng: Random) -> None:
    run = open_run(folder, "run", CONFIG)
    run.save_classes(CLASSES[:3])
    save_checkpoint(run.checkpoint, _checkpoint(), rng)


def resume(folder: Path) -> None:
    (run,) = find_runs(folder)
    _training().restore(run)


@lru_cache
def _released() -> dict[str, Any]:
    from helpers.released import head, network

    body = {f"backbone_layer.{k}": v for k, v in network("resnet18").state_dict().items()}
    state = {**body, **head(512)}
    # Stride 0, so that a file of the right shapes is small.
    small = {k: v if v.numel() < 2000 else torch.zeros(1).expand(v.shape) for k, v in state.items()}
    return {"epoch": 1, "model_state_dict": small}


def write_released(folder: Path, rng: Random) -> None:
    save_checkpoint(folder / "theirs.pth", _released(), rng)


def convert_released(folder: Path) -> None:
    convert_state(read_checkpoint(folder / "theirs.pth"), str(folder / "theirs.pth"))


def write_weights(folder: Path, rng: Random) -> None:
    from safetensors.torch import save

    state = small_model().state_dict()
    if rng.random() < 0.5:
        data = save({k: v.contiguous() for k, v in state.items()})
        size = int.from_bytes(data[:8], "little")
        head = data[8 : 8 + size]
        if rng.random() < 0.6:  # another head of the right length
            head = json.dumps(mutated_value(json.loads(head), rng)).encode()
            data = len(head).to_bytes(8, "little") + head + data[8 + size :]
        else:
            data = mutated_bytes(data, rng)
        (folder / "w.safetensors").write_bytes(data)
    else:
        save_checkpoint(folder / "w.pth", {"state_dict": dict(state)}, rng)


def use_weights(folder: Path) -> None:
    (path,) = folder.iterdir()
    check_weights(read_weights(path), small_model().state_dict(), f"model.weights: {path}")


# ---- arrays


def save_arrays(path: Path, arrays: dict[str, np.ndarray], rng: Random) -> None:
    """Save changed arrays, in one way or another."""
    kind, out = rng.random(), io.BytesIO()
    if kind < 0.6:
        name = rng.choice(list(arrays))
        change = rng.random()
        if change < 0.7:
            arrays = {**arrays, name: array_of(arrays[name], rng)}
        elif change < 0.85:
            arrays = {k: v for k, v in arrays.items() if k != name}
        else:
            arrays = {
                **arrays,
                rng.choice(("x", "file", "../x", name)): array_of(arrays[name], rng),
            }
    (np.savez_compressed if rng.random() < 0.2 else np.savez)(
        out,
        **{  # type: ignore[operator]
            k: v for k, v in arrays.items() if k != "file"
        },
    )
    data = out.getvalue()
    if 0.6 < kind < 0.85 and arrays:
        data = mutated_zip(data, rng)
    elif kind >= 0.85:
        data = mutated_bytes(data, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def adapted_run(folder: Path, epochs: int = 2) -> Run:
    """Make a finished adaptation of twelve pictures, with banks, predictions and criteria."""
    dataset = folder / "tiny.yaml"
    dataset.write_text(dataset_text().replace("pictures", str(folder / "pictures")))
    scores: list[float | None] = [40.0, 50.0, 60.0][: epochs + 1]
    run = finished(folder / "runs", dataset, "lead", "none", 0, scores, options=LEAD)
    run.save_classes(CLASSES[:3])
    for epoch in range(epochs + 1):
        run.save_bank(epoch, _bank())
    true = [0, 0, 1, 1, 3, 3, 4, 4, 4, 1]
    called = [0, 1, 1, 2, 3, 3, 0, 3, 3, 3]
    names = [f"{CLASSES[k]}/{i:02d}.png" for i, k in enumerate(true)]
    predict(run, names, true, called, [k / 10 for k in range(10)])
    return run


LEAD = {"entropy_threshold": 0.55}


@lru_cache
def dataset_text() -> str:
    """Return the tiny dataset's file."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = make_dataset(Path(folder), per_class=1)
        return path.read_text().replace(str(Path(folder) / "pictures"), "pictures")


def _bank() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet([1.0] * 3, 10).astype(np.float16)
    features = draw.normal(size=(10, 4)).astype(np.float16)
    weights = draw.normal(size=(3, 4)).astype(np.float32)
    return {"features": features, "probabilities": probabilities, "class_weights": weights}


def write_bank(folder: Path, rng: Random) -> None:
    run = adapted_run(folder)
    epoch = rng.choice((1, 2))
    save_arrays(run.folder / "banks" / f"epoch_{epoch:02d}.npz", _bank(), rng)


def the_run(folder: Path) -> Run:
    return find_runs(folder / "runs")[0]


def use_bank(folder: Path) -> None:
    run = the_run(folder)
    read_bank(run, 1)
    chosen_epochs(run)
    chosen_thresholds(run, last_probabilities(run))


def write_predictions(folder: Path, rng: Random) -> None:
    path = adapted_run(folder).folder / "predictions.npz"
    save_arrays(path, read_arrays(path), rng)


def use_predictions(folder: Path) -> None:
    run = the_run(folder)
    predictions = read_predictions(run, load_dataset_spec(run.dataset))
    if predictions:
        predictions.confusion()
        assert predictions.cut is None or predictions.cut == predictions.cut
        for kind in ("detected", "missed", "rejected"):
            predictions.surest(kind, 8)
        split_by_role(run, predictions.score)
        threshold_choices(run)


def write_summary(folder: Path, rng: Random) -> None:
    run = open_run(folder, "run", CONFIG)
    run.start()
    save_arrays(run.folder / "summary.npz", {"unknown_norm": np.zeros(4), "cut": np.ones(1)}, rng)


def use_summary(folder: Path) -> None:
    find_runs(folder)[0].summary()


# ---- YAML


def yaml_of(values: Any, rng: Random) -> str:
    """Return changed values as YAML, or YAML of a stranger's making."""
    kind = rng.random()
    if kind < 0.75:
        values = mutated_value(values, rng)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=rng.random() < 0.5)
    if kind > 0.85:
        lines = text.splitlines(keepends=True)
        at, strange_text = rng.randrange(len(lines)), rng.choice(YAML_TEXTS)
        head, colon, _ = lines[at].partition(":")
        lines[at] = f"{head}: {strange_text}\n" if colon and rng.random() < 0.7 else strange_text
        text = "".join(lines)
    if rng.random() < 0.02:
        text = rng.choice(("[", "{a: ", "- ", "a:\n ")) * 20_000
    return text


def write_dataset(folder: Path, rng: Random) -> None:
    spec = yaml.safe_load(dataset_text())
    spec["root"] = ""
    for domain in spec["domains"]:
        for name in CLASSES:
            _touch(folder / domain / name / "0.png")
    if rng.random() < 0.3:
        spec |= {"images": {"Plain": 5, "Dark": [5, 6]}, "optional": ["Dark"], "reader": ""}
    write_text(folder / "their.yaml", yaml_of(spec, rng), rng)


def use_dataset(folder: Path) -> None:
    spec = load_dataset_spec(str(folder / "their.yaml"))
    for scenario in ("", *spec.scenarios):
        with suppress(ValueError):  # it names the dataset, which the file's name is
            class_split(spec, scenario)
    for domain in spec.domains:
        domain_items(spec, domain)
    for source in spec.domains:
        for target in spec.domains:
            spec.pair_name(source, target)


EXPERIMENT = {
    "data": {"dataset": "tiny.yaml", "source": "Plain", "target": "Dark", "scenario": "opda"},
    "images": {"decode_px": 32, "resize_px": 32, "crop_px": 28},
    "model": {"backbone": "resnet18", "weights": "none"},
    "train": {"steps": 6, "batch_size": 8, "rate": 0.01},
    "augment": {"name": "genmix", "options": {"genmix": {"num_fractals": 2}}},
    "adapt": {"method": "lead", "epochs": 2, "options": {"lead": {"clusters": "features"}}},
    "sweep": {"pairs": ["Pl2Da"], "seeds": [0, 1], "methods": [{"method": "lead", "epochs": 3}]},
    "seed": 0,
}


def write_experiment(folder: Path, rng: Random) -> None:
    values: dict[str, Any] = dict(EXPERIMENT)
    if rng.random() < 0.2:
        (folder / "below.yaml").write_text(yaml.safe_dump({"seed": 3, "train": {"steps": 4}}))
        values["base"] = "below.yaml"
    write_text(folder / "their.yaml", yaml_of(values, rng), rng)


def use_experiment(folder: Path) -> None:
    from argparse import ArgumentError

    from uda.cli.main import parse

    try:
        parse(["sweep", str(folder / "their.yaml")])
    except ArgumentError as error:  # the parser's, which names the key
        raise ValueError(f"their.yaml: {error}") from error
    except ValueError as error:
        if re.match(r"[a-z_.]+: ", str(error)):  # so does a value's
            raise ValueError(f"their.yaml: {error}") from error
        raise


RUN_CONFIG = {
    "stage": "adapt",
    "source": {
        "stage": "train",
        "data": {"dataset": "tiny.yaml", "source": "Plain", "concepts": "shared"},
        "classes": "",
        "images": {"decode_px": 32, "resize_px": 32, "crop_px": 28},
        "model": {"backbone": "resnet18", "weights": "none"},
        "train": {"steps": 6},
        "augment": {"name": "none", "copies": 0, "options": {}},
        "seed": 0,
    },
    "target": "Dark",
    "adapt": {"method": "lead", "epochs": 2, "options": {"entropy_threshold": 0.55}},
}
RUN_CONFIG["source"]["data"]["scenario"] = "opda"  # type: ignore[index]
PROPERTIES = (
    *("stage", "is_adaptation", "is_in_domain", "is_source_model", "source", "seed", "hash"),
    *("source_domain", "target", "scenario", "concepts", "augment", "augmentation", "adapt"),
    *("checkpoint_hash", "method", "epochs", "entropy_threshold", "class_hash", "dataset_name"),
    *("root", "experiment_text", "is_upright"),
)


def write_config(folder: Path, rng: Random) -> None:
    (folder / "tiny.yaml").write_text(dataset_text())
    run = folder / "runs" / "run"
    write_text(run / "config.yaml", yaml_of(RUN_CONFIG, rng), rng)
    if rng.random() < 0.3:
        write_text(run / "experiment.yaml", yaml_of(EXPERIMENT, rng), rng)


def use_config(folder: Path) -> None:
    run = read_run(folder / "runs" / "run", renamed=True)
    for name in PROPERTIES:
        getattr(run, name)
    experiment_of(run, "", "")


def write_record(folder: Path, rng: Random) -> None:
    runs = folder / "runs"
    row = Expected("P", "D", "PD", "opda", "LEAD", "", "LEAD", 0, runs / "lead-x", "tiny", "shared")
    write_plan(runs, "theirs", EXPERIMENT, [row])
    path = runs / "sweeps" / "theirs.yaml"
    write_text(path, yaml_of(read_yaml(path), rng), rng)


def use_record(folder: Path) -> None:
    plan = read_plan(folder / "runs")
    for row in plan.expected if plan else ():
        assert (row.done, row.error) == (False, "")
    # The same sweep begun again joins its record.
    write_plan(folder / "runs", "theirs", EXPERIMENT, [])


# ---- packed runs, metrics and what else runs keep


@lru_cache
def _packed() -> tuple[str, ...]:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for method, seed in (("source_only", 0), ("lead", 0), ("lead", 1)):
            finished(folder / "runs", "office_31", method, "none", seed, [40.0, 50.0], OFFICE)
        run = find_runs(folder / "runs")[0]
        more = {"per_class": {"bar": 1 / 3, "cup": None}, "num_images": 9, "h_curve": [0.0, 0.5]}
        scores = {"h_score": 50.0, "known_acc": 1.0, "unknown_acc": 2.0, "auroc": None}
        run.log(kind="evaluate", epoch=1, **scores, **more)
        in_domain = {**RUN_CONFIG["source"], "data": IN_DOMAIN}  # type: ignore[dict-item]
        other = open_run(folder / "runs", "train-in", in_domain)
        other.log(kind="train", epoch=1, loss=0.5, seconds=3.0)
        other.log(kind="evaluate", epoch=1, top1=50.0, top5=80.0)
        other.log(kind="final", epoch=1, checkpoint="last", top1=50.0, top5=80.0, ece=3.0)
        other.mark_done()
        write_plan(folder / "runs", "opda", {"seed": 3}, [])
        pack([folder / "runs"], folder / "p.jsonl")
        return tuple((folder / "p.jsonl").read_text().splitlines())


OFFICE = ("Amazon", "Dslr")
IN_DOMAIN = {"dataset": "office_31", "source": "Amazon", "concepts": "shared", "holdout": 0.2}


def write_packed(folder: Path, rng: Random) -> None:
    from uda.runs.hashing import config_hash

    lines = list(_packed())
    at = rng.randrange(len(lines))
    if rng.random() < 0.85:
        line = mutated_value(json.loads(lines[at]), rng)
        if rng.random() < 0.9 and isinstance(line, dict) and isinstance(line.get("config"), dict):
            head = str(line.get("run", "")).rpartition("-")[0]
            line["run"] = f"{head}-{config_hash(line['config'])}"  # as a stranger would
        lines[at] = json.dumps(line)
    else:
        lines[at] = json.dumps({"sweep": rng.choice(TEXTS), "record": strange(rng)})
    if rng.random() < 0.02:
        lines[at] = rng.choice(("[", '{"a":', '[{"a":')) * 30_000
    write_text(folder / "theirs.jsonl", "\n".join(lines), rng)


def use_packed(folder: Path) -> None:
    unpack(folder / "theirs.jsonl", folder / "runs")
    find_runs(folder / "runs")


def report_packed(folder: Path) -> None:
    unpack(folder / "theirs.jsonl", folder / "runs")
    writer = ReportWriter(read_report(folder / "runs"))
    writer.write(["tex", "csv"])
    writer.terminal_text(100)


def write_metrics(folder: Path, rng: Random) -> None:
    run = adapted_run(folder)
    run.log(kind="train", epoch=1, loss=0.5, seconds=3.0)
    run.log(kind="final", epoch=1, checkpoint="best", top1=50.0, fgsm_error={"1/255": 3.0})
    lines = run.metrics()
    for _ in range(rng.choice((1, 2))):
        at = rng.randrange(len(lines))
        lines[at] = mutated_value(lines[at], rng)
    write_text(run.folder / "metrics.jsonl", "".join(f"{json.dumps(x)}\n" for x in lines), rng)


def use_metrics(folder: Path) -> None:
    run = the_run(folder)
    run.metrics()
    run.held_out_scores()
    run.training_seconds()
    write_event_files(run)
    target_score_line(run.evaluations())
    with suppress(ValueError):  # a reason, which those who ask print behind the run's name
        epoch_choices(run)
    writer = ReportWriter(read_report(folder / "runs"))
    writer.write(["csv"])
    writer.terminal_text(100)


def write_kept(folder: Path, rng: Random) -> None:
    run = adapted_run(folder)
    for name in CLASSES:
        _touch(folder / "pictures" / "Dark" / name / "0.png")
    items = domain_items(load_dataset_spec(run.dataset), "Dark")
    target_pictures(run, "Dark", items).keep()
    run.save_pictures({"target": {"count": 5, "hash": "x", "seen": [], "hashes": {"bar/0": "a"}}})
    chosen_epochs(run)
    threshold_choices(run)
    names = ("classes.json", "pictures.json", "criteria.json", "thresholds.json")
    path = run.folder / rng.choice((*names, "done", "error.txt"))
    if path.suffix == ".json":
        value = mutated_value(json.loads(path.read_text()), rng)
        write_text(path, json.dumps(value), rng)
    else:
        write_text(path, rng.choice(TEXTS), rng)
        if path.name == "error.txt":
            (run.folder / "done").unlink()


def use_kept(folder: Path) -> None:
    run = the_run(folder)
    error_in(run.folder)
    run.classes()
    spec = load_dataset_spec(run.dataset)
    target_hashes(run)
    if run.is_done:
        assert isinstance(run.done_text, str)
        assert isinstance(target_pictures(run, "Dark", domain_items(spec, "Dark")).difference, str)
    chosen_epochs(run)
    threshold_choices(run)


def write_reported(folder: Path, rng: Random) -> None:
    write = rng.choice((write_predictions, write_metrics, write_kept, write_bank))
    write(folder, rng)
    run = next((folder / "runs").glob("lead-*"))
    if rng.random() < 0.3:
        mixture = {name: np.array([0.2, 0.8]) for name in ("means", "deviations", "shares")}
        save_arrays(run / "summary.npz", {"unknown_norm": np.linspace(0, 1, 10), **mixture}, rng)
    for name in CLASSES:
        for number in range(10):
            _save_picture(folder / "pictures" / "Dark" / name / f"{number:02d}.png")


def _save_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)


def use_reported(folder: Path) -> None:
    from uda.reports.selection import write_selection

    write_report(folder / "runs", "Theirs", width=100)
    with suppress(ValueError):  # without banks there is nothing to select
        write_selection(folder / "runs", width=100)


# ---- lists, archives


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write_list(folder: Path, rng: Random) -> None:
    names = [f"{name}/{i}.png" for name in CLASSES for i in range(2)]
    for name in names:
        _touch(folder / name)
    rows = [(name, str(i // 2)) for i, name in enumerate(names)]
    for _ in range(rng.choice((0, 1, 2))):
        at = rng.randrange(len(rows))
        rows[at] = mutated_value(rows[at], rng)
        rows[at] = tuple(map(str, rows[at])) if isinstance(rows[at], list) else (str(rows[at]),)
    kind = rng.choice(("txt", "csv"))
    out = io.StringIO()
    if kind == "csv":
        csv.writer(out, lineterminator="\n").writerows([("path", "label"), *rows])
    else:
        out.write("".join(" ".join(row) + rng.choice(("\n", "\r\n")) for row in rows))
    write_text(folder / f"theirs.{kind}", out.getvalue(), rng)


def use_list(folder: Path) -> None:
    path = next(folder.glob("theirs.*"))
    read_list(path)
    find_pictures([str(path)])
    spec = yaml.safe_load(dataset_text())
    spec |= {"root": "", "domains": {"Plain": path.name, "Dark": path.name}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(spec))
    domain_items(load_dataset_spec(str(folder / "tiny.yaml")), "Plain")


ARCHIVE_FILES = {
    "cub": ("images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt"),
    "tiny_imagenet": ("wnids.txt", "val/val_annotations.txt"),
    "fgvc_aircraft": ("data/variants.txt", "data/images_variant_train.txt"),
    "flowers102": ("imagelabels.mat", "setid.mat"),  # whose checksums are compared first
}
FOLDERS = {
    "cub": "CUB_200_2011",
    "tiny_imagenet": "tiny-imagenet-200",
    "fgvc_aircraft": "fgvc-aircraft-2013b",
    "flowers102": "flowers-102",
}


@lru_cache
def _trees() -> dict[str, dict[str, bytes]]:
    """Return the files of each archive in miniature, pictures without content.

    Not Stanford Cars': SciPy's reader of MATLAB's files, in C, dies of some.
    """
    import tempfile

    from helpers.in_domain_trees import TREES

    trees = {}
    with tempfile.TemporaryDirectory() as name:
        for make in TREES.values():
            make(Path(name))
        for reader, folder in FOLDERS.items():
            root = Path(name) / folder
            files = [path for path in root.rglob("*") if path.is_file()]
            trees[reader] = {
                str(path.relative_to(root)): path.read_bytes()
                if str(path.relative_to(root)) in ARCHIVE_FILES[reader]
                else b""
                for path in files
            }
    return trees


def write_archive(folder: Path, rng: Random) -> None:
    reader = rng.choice(list(ARCHIVE_FILES))
    chosen = rng.choice(ARCHIVE_FILES[reader])
    for name, data in _trees()[reader].items():
        path = folder / FOLDERS[reader] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == chosen and name.endswith(".txt") and rng.random() < 0.6:
            lines = [mutated_value(line.split(), rng) for line in data.decode().splitlines()]
            keep = rng.randrange(len(lines))
            texts = data.decode().splitlines()
            changed = lines[keep] if isinstance(lines[keep], list) else [lines[keep]]
            texts[keep] = " ".join(map(str, changed))
            write_text(path, "\n".join(texts), rng)
        else:
            path.write_bytes(mutated_bytes(data, rng) if name == chosen else data)


def use_archive(folder: Path) -> None:
    for reader, name in FOLDERS.items():
        if (folder / name).is_dir():
            ARCHIVES[reader](folder / name)


# ---- edits


def write_manifest(folder: Path, rng: Random) -> None:
    store = EditStore(folder / "store")
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    (folder / "pictures").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "pictures" / "a.png")
    record: dict[str, Any] = {"image": "aa", "source": "a.png", "prompt": "p", "seed": 0}
    record |= {"editor": "filters", "attempt": 0, "reason": "", "scores": {"change": 0.2}}
    record |= {"folder": str(folder / "pictures"), "square_px": 0, "screen": "pixels"}
    records = [{**record, "key": f"{n:032x}", "square_px": 8 * n} for n in range(3)]
    for each in records:
        store.record([each])
        store.write({each["key"]: image})
    store._manifest = None
    (path,) = (folder / "store" / "manifest").iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for _ in range(rng.choice((1, 2))):
        at = rng.randrange(len(lines))
        lines[at] = mutated_value(lines[at], rng)
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines), rng)


def use_manifest(folder: Path) -> None:
    store = EditStore(folder / "store")
    records = list(store.entries())
    verdicts(store, "pixels")
    originals_of(records, "")
    for record in records:
        store.read_any(record["key"])


def write_edit(folder: Path, rng: Random) -> None:
    image = torch.arange(3 * 9 * 7).reshape(3, 9, 7).to(torch.uint8)
    data = encode(image, rng.choice(("png", "jpeg")))
    data = _mutated_png(data, rng) if data[:2] == b"\x89P" else mutated_bytes(data, rng)
    (folder / "a.png").write_bytes(data)


def use_edit(folder: Path) -> None:
    edit = decode((folder / "a.png").read_bytes())
    assert edit is None or edit.shape[0] == 3


def write_mark(folder: Path, rng: Random) -> None:
    mark = {"size": 32, "seed": 0, "version": 1, "prompts": ["a"], "images": "/x", "copies": 1}
    write_text(folder / "genmix_export.json", json.dumps(mutated_value(mark, rng)), rng)


def use_mark(folder: Path) -> None:
    from genmix_aug.export import _checked_mark

    read_mark(folder / "genmix_export.json")
    _checked_mark(folder, {"copies": 1, "size": 32})


# ---- pictures


@lru_cache
def _pictures() -> tuple[tuple[str, bytes], ...]:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (13, 17, 4), dtype=np.uint8)
    rgb, rgba = Image.fromarray(pixels[..., :3]), Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a picture"
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    wide = Image.fromarray(draw.integers(0, 2**16, (13, 17)).astype(np.uint16))
    real = Image.fromarray(draw.random((13, 17)).astype(np.float32))
    saved: list[tuple[str, Image.Image, dict[str, Any]]] = [
        *((s, rgb, {}) for s in (".png", ".jpg", ".webp", ".bmp", ".gif", ".tif", ".ppm")),
        *((s, rgb, {"exif": exif}) for s in (".jpg", ".png", ".webp", ".tif")),
        *((s, rgba, {}) for s in (".png", ".webp", ".gif", ".tif")),
        *((s, wide, {}) for s in (".png", ".tif", ".pgm")),
        *((".tif", rgb, {"compression": c}) for c in ("tiff_lzw", "tiff_deflate", "jpeg")),
        *((s, rgb.convert("P"), {}) for s in (".png", ".gif", ".bmp")),
        *((s, rgb.convert("1"), {}) for s in (".png", ".tif", ".bmp")),
        (".tif", rgb.convert("1"), {"compression": "group4"}),
        (".jpg", rgb.convert("CMYK"), {}),
        (".jpg", rgb, {"progressive": True}),
        (".tif", real, {}),
        (".tif", rgb.convert("LAB"), {}),
        (".gif", rgb.convert("P"), {"save_all": True, "append_images": [rgb.convert("P")]}),
        (".webp", rgb, {"save_all": True, "append_images": [rgba.convert("RGB")]}),
    ]
    files = []
    for suffix, picture, options in saved:
        out = io.BytesIO()
        kind = {".jpg": "JPEG", ".tif": "TIFF", ".pgm": "PPM"}.get(suffix, suffix[1:].upper())
        picture.save(out, kind, **options)
        files.append((suffix, out.getvalue()))
    for kind in ("ICO", "ICNS", "PCX", "TGA", "SGI", "PDF", "JPEG2000", "DDS", "MPO", "QOI", "EPS"):
        out = io.BytesIO()
        try:
            rgb.resize((32, 32)).save(out, kind)
        except (KeyError, OSError, ValueError):
            continue
        files.append((".png", out.getvalue()))  # by another name
    return tuple(files)


def _mutated_png(data: bytes, rng: Random) -> bytes:
    """Return a PNG with a changed chunk, its checksums right."""
    if rng.random() < 0.3:
        return mutated_bytes(data, rng)
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    number = rng.randrange(len(chunks))
    kind, content = chunks[number]
    if kind == b"IHDR" and rng.random() < 0.7:
        size = [rng.choice((0, 1, 7, 17, 5000, 2**31 - 1)) for _ in range(2)]
        content = struct.pack(">II", *size) + content[8:]
    else:
        content = mutated_bytes(content, rng)
    chunks[number] = (kind, content)
    if rng.random() < 0.3:
        extra = rng.choice((b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tRNS", b"acTL", b"fcTL", b"iCCP"))
        body = rng.choice((b"x\0\0" + zlib.compress(bytes(10**6)), rng.randbytes(20), *BYTES))
        chunks.insert(rng.randrange(1, len(chunks)), (extra, body))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def write_picture(folder: Path, rng: Random) -> None:
    suffix, data = rng.choice(_pictures())
    data = _mutated_png(data, rng) if data[:4] == b"\x89PNG" else mutated_bytes(data, rng)
    (folder / f"a{suffix}").write_bytes(data)


def use_picture(folder: Path) -> None:
    (path,) = folder.iterdir()
    hashes = hash_image(path)
    assert hashes.content or hashes.problem
    has_orientation(path)
    errors = []
    for read in (size_of, load_rgb):
        try:
            result: Any = read(path)
        except ValueError as error:
            errors.append(error)
        else:
            if read is load_rgb:
                assert result.dtype == torch.uint8
                assert result.shape[0] == 3
                assert math.prod(result.shape) < 600_000_000
    if errors:
        raise errors[-1]


READERS = {
    "checkpoint": Reader(write_checkpoint, use_checkpoint),
    "unfinished run's checkpoint": Reader(write_unfinished, resume),
    "released checkpoint": Reader(write_released, convert_released),
    "backbone weights": Reader(write_weights, use_weights),
    "bank": Reader(write_bank, use_bank),
    "predictions": Reader(write_predictions, use_predictions),
    "summary": Reader(write_summary, use_summary),
    "dataset": Reader(write_dataset, use_dataset, reads_anywhere=True),
    "experiment": Reader(write_experiment, use_experiment),
    "configuration": Reader(write_config, use_config, reads_anywhere=True),
    "sweep's record": Reader(write_record, use_record),
    "packed runs": Reader(write_packed, use_packed),
    "packed runs in tables": Reader(write_packed, report_packed, reads_anywhere=True),
    "metrics": Reader(write_metrics, use_metrics),
    "what a run keeps": Reader(write_kept, use_kept),
    "report": Reader(write_reported, use_reported, weight=0.05),
    "list": Reader(write_list, use_list, reads_anywhere=True),
    "archive": Reader(write_archive, use_archive),
    "manifest of edits": Reader(write_manifest, use_manifest, reads_anywhere=True),
    "edit": Reader(write_edit, use_edit),
    "mark": Reader(write_mark, use_mark),
    "picture": Reader(write_picture, use_picture),
}
