"""Readers of in-domain datasets in the layout of their archives, with official parts.

Nothing is downloaded. A new layout is a function and a line in `READERS`; a dataset's YAML file
names it (``reader: cub``). Each reader raises ValueError where files are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchvision.datasets import CIFAR100, FGVCAircraft, Flowers102, StanfordCars

from genmix_aug.images import images_below
from uda.data.class_folders import class_folders, image_folder_parts, images_by_class
from uda.data.items import ROOT_FLAGS, Item, Parts
from uda.runs.files import read_text


def cifar100(folder: Path) -> Parts:
    """Read ``cifar-100-python``: the pickles ``train``, ``test`` and ``meta``.

    Their checksums are compared first, since opening a pickle may run code.
    """

    def items(train: bool) -> tuple[list[Item], list[str]]:
        part = _by_torchvision(
            folder, "train, test and meta", lambda: CIFAR100(folder.parent, train)
        )
        file = folder / ("train" if train else "test")
        return [
            Item(file / f"{number:05d}", part.classes[label], pixels)
            for number, (pixels, label) in enumerate(zip(part.data, part.targets, strict=True))
        ], part.classes

    train, classes = items(train=True)
    return Parts(tuple(classes), train, [], items(train=False)[0])


def flowers102(folder: Path) -> Parts:
    """Read ``flowers-102``: ``jpg/image_00001.jpg`` …, ``imagelabels.mat`` and ``setid.mat``.

    Its validation part has 10 images per class.
    """

    def items(split: str) -> list[Item]:
        part = _by_torchvision(
            folder,
            "jpg/, imagelabels.mat and setid.mat",
            lambda: Flowers102(folder.parent, split),
        )
        return [
            Item(path, classes[label])
            for path, label in zip(part._image_files, part._labels, strict=True)
        ]

    # Torchvision before 0.22 has no class names.
    numbers = [f"{number:03d}" for number in range(1, 103)]
    classes: list[str] = getattr(Flowers102, "classes", numbers)
    return Parts(tuple(classes), items("train"), items("val"), items("test"))


def stanford_cars(folder: Path) -> Parts:
    """Read ``stanford_cars``: ``devkit/``, ``cars_train/``, ``cars_test/`` and test labels.

    The labels, ``cars_test_annos_withlabels.mat``, are a separate file on the authors' page.
    """

    def part_of(split: str) -> Any:
        needed = "devkit/, cars_train/, cars_test/ and cars_test_annos_withlabels.mat"
        return _by_torchvision(folder, needed, lambda: StanfordCars(folder.parent, split))

    def items(part: Any) -> list[Item]:
        return [Item(Path(path), part.classes[label]) for path, label in part._samples]

    train = part_of("train")
    return Parts(tuple(train.classes), items(train), [], items(part_of("test")))


def fgvc_aircraft(folder: Path) -> Parts:
    """Read ``fgvc-aircraft-2013b``: ``data/images`` and the lists of its 100 variants beside it.

    It has a validation part.
    """

    def part_of(split: str) -> Any:
        needed = "data/images and data/images_variant_train.txt"
        return _by_torchvision(folder, needed, lambda: FGVCAircraft(folder.parent, split))

    parts = [part_of(split) for split in ("train", "val", "test")]
    classes = parts[0].classes
    return Parts(
        tuple(classes),
        *(
            [
                Item(Path(path), classes[label])
                for path, label in zip(part._image_files, part._labels, strict=True)
            ]
            for part in parts
        ),
    )


def cub(folder: Path) -> Parts:
    """Read ``CUB_200_2011``: ``images/`` and four tables of ``number value`` lines beside it.

    They are images.txt, classes.txt, image_class_labels.txt and train_test_split.txt.
    """

    def table(name: str) -> dict[str, str]:
        rows = (line.split(None, 1) for line in _lines(folder / name, folder, "images.txt"))
        return {row[0]: row[1].strip() for row in rows if len(row) == 2}

    paths, classes = table("images.txt"), table("classes.txt")
    labels, in_train = table("image_class_labels.txt"), table("train_test_split.txt")
    train: list[Item] = []
    test: list[Item] = []
    for number, path in paths.items():
        try:
            part = {"1": train, "0": test}[in_train[number]]
            part.append(Item(folder / "images" / path, classes[labels[number]]))
        except KeyError:
            raise ValueError(
                f"{folder}: the picture {number} of images.txt has no class or no part in the "
                "files beside it; unpack CUB_200_2011 anew"
            ) from None
    return Parts(tuple(classes.values()), train, [], test)


def tiny_imagenet(folder: Path) -> Parts:
    """Read ``tiny-imagenet-200``: ``wnids.txt``, ``train/WNID/images`` and ``val/images``.

    Its test images have no labels, so ``val``, with ``val/val_annotations.txt``, is the test part.
    """
    names = tuple(_lines(folder / "wnids.txt", folder, "wnids.txt"))
    train = [
        Item(path, name) for name in names for path in _pictures(folder / "train" / name / "images")
    ]
    test = []
    for line in _lines(folder / "val" / "val_annotations.txt", folder, "val/val_annotations.txt"):
        picture, name = [*line.split("\t"), ""][:2]
        if name not in names:
            raise ValueError(f"{folder / 'val' / 'val_annotations.txt'}: {name!r} is no class")
        test.append(Item(folder / "val" / "images" / picture, name))
    return Parts(names, train, [], test)


def image_folder(folder: Path) -> Parts:
    """Read folders ``train`` and ``test`` (or ``val``) of class folders, as ImageNet-1K has.

    ``val`` may also be called ``valid`` or ``validation``; it is the validation part where ``test``
    exists, too.
    """
    folders = image_folder_parts(folder)
    if "train" not in folders or len(folders) < 2:
        raise ValueError(
            f"{folder}: expected the folders train and val or test in it, each with a folder a "
            f"class; name another folder with {ROOT_FLAGS}"
        )
    images = {part: images_by_class(_class_folders(path)) for part, path in folders.items()}
    for part, classes in images.items():
        if extra := [name for name in classes if name not in images["train"]]:
            raise ValueError(f"{folders[part] / extra[0]}: a class that {folders['train']} lacks")
    if empty := [name for name, paths in images["train"].items() if not paths]:
        raise ValueError(f"{folders['train'] / empty[0]}: holds no picture to train on")
    items = {
        part: [Item(path, name) for name, paths in classes.items() for path in paths]
        for part, classes in images.items()
    }
    test = items["test"] if "test" in items else items.pop("val")
    return Parts(tuple(images["train"]), items["train"], items.get("val", []), test)


READERS: dict[str, Callable[[Path], Parts]] = {
    "cifar100": cifar100,
    "cub": cub,
    "fgvc_aircraft": fgvc_aircraft,
    "flowers102": flowers102,
    "image_folder": image_folder,
    "stanford_cars": stanford_cars,
    "tiny_imagenet": tiny_imagenet,
}


def _by_torchvision(folder: Path, needed: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:  # of a dozen types, of files that are not whole
        reason = " ".join(str(error).split()).partition(". You can use")[0]
        raise ValueError(
            f"{folder}: not there, or not whole ({reason[:200]}); unpack the archive so that it "
            f"holds {needed}, or name the folder around it with {ROOT_FLAGS}"
        ) from None


def _lines(path: Path, folder: Path, needed: str) -> list[str]:
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; unpack the archive so that {folder} holds {needed}, or name "
            f"the folder around it with {ROOT_FLAGS}"
        )
    try:
        text = read_text(path, "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not text in UTF-8; unpack the archive anew") from None
    return [line for line in text.splitlines() if line.strip()]


def _class_folders(folder: Path) -> dict[str, Path]:
    if folders := class_folders(folder):
        return folders
    raise ValueError(f"{folder}: holds no folder of a class; pictures must be sorted into them")


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    return images_below(folder)
