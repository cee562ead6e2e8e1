"""The archives of the in-domain datasets in miniature, in their real layouts."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import CIFAR100, Flowers102

CLASSES = 3
TRAIN, VALIDATION, TEST = 4, 2, 3  # pictures of each class


def picture(path: Path, label: int, px: int = 20) -> None:
    """Write a noisy picture whose colour depends on its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(label, zlib.crc32(path.name.encode()), px)).save(path)


def pixels(label: int, seed: int, px: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 60, (px, px, 3), dtype=np.uint8)
    noise[..., label % 3] += 150
    return noise


def numbered(per_class: int, first: int) -> list[tuple[int, int]]:
    """Return (number, label) of the pictures of a part, numbers from ``first`` on."""
    labels = [label for label in range(CLASSES) for _ in range(per_class)]
    return list(enumerate(labels, start=first))


def cifar_100(root: Path) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, count in (("train", TRAIN), ("test", TEST)):
        rows = numbered(count, 0)
        data = np.stack([pixels(label, i, 32).transpose(2, 0, 1).ravel() for i, label in rows])
        entry = {"data": data, "fine_labels": [label for _, label in rows]}
        (folder / name).write_bytes(pickle.dumps(entry))
    meta = {"fine_label_names": [f"thing {label}" for label in range(CLASSES)]}
    (folder / "meta").write_bytes(pickle.dumps(meta))


def flowers_102(root: Path) -> None:
    folder = root / "flowers-102"
    splits = {"trnid": numbered(TRAIN, 1)}
    splits["valid"] = numbered(VALIDATION, 1 + len(splits["trnid"]))
    splits["tstid"] = numbered(TEST, 1 + sum(map(len, splits.values())))
    rows = [row for part in splits.values() for row in part]
    for number, label in rows:
        picture(folder / "jpg" / f"image_{number:05d}.jpg", label)
    savemat(folder / "imagelabels.mat", {"labels": [label + 1 for _, label in rows]})
    ids = {key: [number for number, _ in part] for key, part in splits.items()}
    savemat(folder / "setid.mat", ids)


def stanford_cars(root: Path) -> None:
    folder = root / "stanford_cars"
    devkit = folder / "devkit"
    devkit.mkdir(parents=True)
    names = np.array([f"Maker Model {label}" for label in range(CLASSES)], dtype=object)
    savemat(devkit / "cars_meta.mat", {"class_names": names})
    annotations = {
        "cars_train": devkit / "cars_train_annos.mat",
        "cars_test": folder / "cars_test_annos_withlabels.mat",
    }
    for part, count in (("cars_train", TRAIN), ("cars_test", TEST)):
        rows = []
        for number, label in numbered(count, 1):
            picture(folder / part / f"{number:05d}.jpg", label)
            rows.append((1, 1, 9, 9, label + 1, f"{number:05d}.jpg"))
        keys = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
        table = np.array(rows, dtype=[(key, object) for key in keys])
        savemat(annotations[part], {"annotations": table})


def fgvc_aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    data.mkdir(parents=True)
    names = [f"Model {label} ER/x" for label in range(CLASSES)]
    (data / "variants.txt").write_text("".join(f"{name}\n" for name in names))
    first = 1_000_000
    for part, count in (("train", TRAIN), ("val", VALIDATION), ("test", TEST)):
        rows = numbered(count, first)
        first += len(rows)
        lines = [f"{number} {names[label]}\n" for number, label in rows]
        (data / f"images_variant_{part}.txt").write_text("".join(lines))
        for number, label in rows:
            picture(data / "images" / f"{number}.jpg", label)


def cub_200(root: Path) -> None:
    folder = root / "CUB_200_2011"
    folder.mkdir(parents=True)
    names = [f"{label + 1:03d}.Bird_{label}" for label in range(CLASSES)]
    tables: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": []}
    for number, label in numbered(TRAIN + TEST, 1):
        path = f"{names[label]}/Bird_{number:04d}.jpg"
        picture(folder / "images" / path, label)
        in_train = int((number - 1) % (TRAIN + TEST) < TRAIN)
        for name, value in zip(tables, (path, label + 1, in_train), strict=True):
            tables[name].append(f"{number} {value}\n")
    tables["classes"] = [f"{label + 1} {name}\n" for label, name in enumerate(names)]
    for name, lines in tables.items():
        (folder / f"{name}.txt").write_text("".join(lines))


def tiny_imagenet(root: Path) -> None:
    folder = root / "tiny-imagenet-200"
    names = [f"n0{label}443537" for label in range(CLASSES)]
    lines = []
    for label, name in enumerate(names):
        for number in range(TRAIN):
            picture(folder / "train" / name / "images" / f"{name}_{number}.JPEG", label)
    for number, label in numbered(TEST, 0):
        picture(folder / "val" / "images" / f"val_{number}.JPEG", label)
        lines.append(f"val_{number}.JPEG\t{names[label]}\t0\t0\t9\t9\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(names))


def imagenet_1k(root: Path) -> None:
    for label in range(CLASSES):
        name = f"n0{label}440764"
        for number in range(TRAIN):
            picture(root / "imagenet" / "train" / name / f"{name}_{number}.JPEG", label)
        for number in range(TEST):
            path = f"ILSVRC2012_val_0000{CLASSES * number + label}.JPEG"
            picture(root / "imagenet" / "val" / name / path, label)


TREES: dict[str, Callable[[Path], None]] = {
    "cifar_100": cifar_100,
    "flowers_102": flowers_102,
    "stanford_cars": stanford_cars,
    "fgvc_aircraft": fgvc_aircraft,
    "cub_200": cub_200,
    "tiny_imagenet": tiny_imagenet,
    "imagenet_1k": imagenet_1k,
}


def without_checksums(monkeypatch) -> None:
    """Lets torchvision read archives in miniature, whose checksums are not the real ones'."""
    monkeypatch.setattr(CIFAR100, "train_list", [["train", None]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", None]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": None})
    files = {key: (name, None) for key, (name, _) in Flowers102._file_dict.items()}
    monkeypatch.setattr(Flowers102, "_file_dict", files)
