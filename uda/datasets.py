"""Pictures on disk -> uint8 arrays: labelled and unlabelled views of a domain.

Pictures are decoded once, into memory or, past a limit, into a file. A target's view holds no
labels and no file names (folders are classes); `uda.evaluate` alone asks for `labels_of`.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from genmix_aug.images import from_picture, load_rgb
from uda.dataset_spec import DatasetSpec
from uda.image_cache import files_key, fits, reorder, room, stored
from uda.names import named
from uda.processes import is_main

RESIZE_BATCH = 256
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
UNLABELLED = ""  # the class name of a picture whose class nobody knows


# What names a dataset's folder, for messages: the flag of experiments, and of other commands.
ROOT_FLAGS = "--data.root (of uda evaluate and uda data: --root)"


@dataclass(frozen=True)
class Item:
    """One picture: where it is and the name of its class.

    ``pixels`` uint8 [H, W, 3] of one that lies in an archive with others, where ``path`` names it.
    """

    path: Path
    class_name: str
    pixels: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Parts:
    """Pictures of one domain: to train on, to choose the best epoch on, and to test on; the last
    two may be none. ``classes`` are all classes in label order."""

    classes: tuple[str, ...]
    train: list[Item]
    validation: list[Item]
    test: list[Item]


def picture_names(items: Sequence[Item]) -> list[str]:
    """``class/file``: how a run's predictions name each picture. With the folders above it
    (``class/folder/file``) where several of a class have a file's name."""
    names = [_name(item, 1) for item in items]
    for depth in range(2, max((len(item.path.parts) for item in items), default=0)):
        shared = {name for name, count in Counter(names).items() if count > 1}
        if not shared:
            break
        names = [
            _name(item, depth) if name in shared else name
            for item, name in zip(items, names, strict=True)
        ]
    return names


def paths_by_name(items: Iterable[Item], names: Iterable[str]) -> dict[str, Path]:
    """Where the pictures are that `picture_names` called ``names``, among ``items``."""
    depths = {name.count("/") for name in names}
    return {_name(item, depth): item.path for item in items for depth in depths}


def _name(item: Item, depth: int) -> str:
    """The class and the last ``depth`` parts of the path."""
    return "/".join((item.class_name, *item.path.parts[-depth:]))


@dataclass(frozen=True)
class Labelled:
    """``images`` uint8 [N, 3, H, W], ``labels`` int64 [N] and ``names``, one a picture."""

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True)
class Unlabelled:
    """``images`` uint8 [N, 3, H, W] of a target domain, and nothing else."""

    images: Tensor


def domain_items(spec: DatasetSpec, domain: str) -> list[Item]:
    """Every picture of ``domain``, by class in the dataset's order, then by name.

    A domain is a folder of class folders, or a list file (``path class-number`` a line, paths
    relative to the dataset's root or the list's own folder, with spaces or without; -1 is a class
    that nobody knows, named `UNLABELLED`). Raises ValueError naming the domain, folder or line at
    fault.
    """
    if domain not in spec.domains:
        raise ValueError(f"{spec.title} has no domain {domain!r}; it has {', '.join(spec.domains)}")
    place = spec.root / spec.domains[domain]
    if place.suffix == ".txt":
        items = _listed_items(spec, place)
    elif place.is_dir():
        items = _folder_items(spec, place)
    else:
        raise ValueError(
            f"{place}: no such folder (domain {domain} of {spec.title}); see data/README.md for "
            f"where the pictures go, or name their folder with {ROOT_FLAGS}"
        )
    if not items:
        raise ValueError(f"{place}: holds no picture of any class of {spec.title}")
    return items


def _folder_items(spec: DatasetSpec, folder: Path) -> list[Item]:
    return [
        Item(path, name)
        for name in spec.classes
        if (folder / name).is_dir()
        for path in sorted((folder / name).iterdir())
        if is_picture(path)
    ]


def is_picture(path: Path) -> bool:
    """Whether a file's name is a picture's, and not that of a hidden one (``._bike.jpg``)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _listed_items(spec: DatasetSpec, file: Path) -> list[Item]:
    if not file.is_file():
        raise ValueError(f"{file}: no such list file")
    items: list[Item] = []
    text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    parts = [("", "", *line.strip().rsplit(None, 1))[-2:] for line in text.split("\n")]
    # Relative to the list's own folder, as lists that come with other code have it, where the first
    # picture that is there at all is there.
    places = (spec.root, file.parent)
    there = (place for path, _ in parts if path for place in places if (place / path).exists())
    root = next(there, spec.root)
    for number, (path, label) in enumerate(parts, start=1):
        if not (path or label):
            continue
        if path and label == "-1":
            items.append(Item(root / path, UNLABELLED))
            continue
        if not path or not label.isdecimal() or int(label) >= len(spec.classes):
            raise ValueError(
                f"{file}:{number}: expected 'path class-number' with a number below "
                f"{len(spec.classes)}"
            )
        items.append(Item(root / path, spec.classes[int(label)]))
    return items


def of_classes(items: Sequence[Item], classes: Sequence[str], where: str) -> list[Item]:
    """The ``items`` of ``classes``. ValueError where there is none; ``where`` names them."""
    wanted = set(classes)
    kept = [item for item in items if item.class_name in wanted]
    if not kept:
        raise ValueError(f"{where}: holds no picture of the classes {named(classes, 3)}")
    return kept


def hash_share(name: str) -> float:
    """A number in [0, 1) that depends on ``name`` alone, to split pictures by."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def disjoint_half(items: Sequence[Item], *, source: bool) -> list[Item]:
    """The pictures that a source, or a target, may use so that no file name is in both."""
    return [item for item in items if (hash_share(item.path.stem) < 0.5) == source]


def holdout_split(
    items: Sequence[Item], share: float, key: str = "data.holdout", salt: str = ""
) -> tuple[list[Item], list[Item]]:
    """Training and held-out pictures; of each class the ``share`` with the highest name hashes.

    At least one picture of each class stays on either side (a class of one is trained on only).
    Another ``salt`` holds out others. ValueError naming the setting ``key`` where none can be.
    """
    train: list[Item] = []
    test: list[Item] = []
    for own in _by_class(items):
        own.sort(key=lambda item: hash_share(salt + item.path.stem))
        held = min(max(round(share * len(own)), 1), len(own) - 1)
        train += own[: len(own) - held]
        test += own[len(own) - held :]
    if not test:
        raise ValueError(f"{key}: no class has two pictures, so none can be held out")
    return train, test


def few_of_each(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """``count`` pictures of each class, or all where there are fewer; by hashes of the ``seed`` and
    their names, so that fewer are a part of more."""
    return [
        item
        for own in _by_class(items)
        for item in sorted(own, key=lambda item: hash_share(f"{seed} {item.path.stem}"))[:count]
    ]


def _by_class(items: Sequence[Item]) -> list[list[Item]]:
    """The items of each class, classes in the order in which they first come."""
    classes: dict[str, list[Item]] = {}
    for item in items:
        classes.setdefault(item.class_name, []).append(item)
    return list(classes.values())


def labelled(
    items: Sequence[Item],
    number: dict[str, int],
    px: int,
    memory_gb: float = math.inf,
    cache: Path | str = "",
) -> Labelled:
    """Decode ``items`` to ``px`` squares, labelled by ``number`` (class name -> label).

    More than ``memory_gb`` GiB of pixels go into a file in the folder ``cache``.
    """
    return Labelled(
        decode_all(items, px, memory_gb, cache)[0],
        torch.from_numpy(labels_of(items, number)),
        tuple(f"{item.path.parent.name}/{item.path.name}" for item in items),
    )


def unlabelled(
    items: Sequence[Item], px: int, memory_gb: float = math.inf, cache: Path | str = ""
) -> tuple[Unlabelled, list[Item]]:
    """Decode ``items`` to ``px`` squares and forget what they are; also the items in their order.

    The order is by a hash of the pixels: in the folders' order, class after class, the place of a
    picture would tell its class. More than ``memory_gb`` GiB of pixels go into a file in the folder
    ``cache``.
    """
    images, order = decode_all(items, px, memory_gb, cache, by_pixels=True)
    return Unlabelled(images), [items[place] for place in order]


def labels_of(items: Sequence[Item], number: dict[str, int]) -> np.ndarray:
    """True labels int64 [N], -1 where nobody knows. Of a target, for `uda.evaluate` alone."""
    labels = {**number, UNLABELLED: -1}
    return np.array([labels[item.class_name] for item in items], dtype=np.int64)


def decode_all(
    items: Sequence[Item],
    px: int,
    memory_gb: float = math.inf,
    cache: Path | str = "",
    *,
    by_pixels: bool = False,
) -> tuple[Tensor, list[int]]:
    """uint8 [N, 3, px, px], as `genmix edit --square-px` reads them: edits are found by content.

    Also, of each of its rows, the item's place in ``items``: its own, or ``by_pixels`` one that a
    hash of its pixels decides. More than ``memory_gb`` GiB are decoded into a file in the folder
    ``cache`` once, read-only, and found there again while the pictures' files stay as they are.
    """
    shape = (len(items), 3, px, px)

    def fill(images: Tensor) -> list[int]:
        _decode_into(images, items, px)
        if not by_pixels:
            return list(range(len(items)))
        digests = [
            hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in images
        ]
        order = sorted(range(len(items)), key=digests.__getitem__)
        reorder(images, order)
        return order

    if fits(shape, memory_gb):
        images = torch.empty(shape, dtype=torch.uint8)
        return images, fill(images)
    key = files_key([item.path for item in items], px, by_pixels)
    return stored(Path(cache), key, shape, fill)


def _decode_into(images: Tensor, items: Sequence[Item], px: int) -> None:
    def decode_one(index: int) -> None:
        item = items[index]
        if item.pixels is None:
            images[index] = load_rgb(item.path, px)
        else:  # as load_rgb does it
            picture = Image.fromarray(item.pixels)
            images[index] = from_picture(picture.resize((px, px), Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(max_workers=4) as pool:
        # Bars of a second or two only distract; large sets take minutes.
        list(
            tqdm(
                pool.map(decode_one, range(len(items))),
                "decode",
                len(items),
                unit="img",
                leave=False,
                delay=2,
                disable=None if is_main() else True,
            )
        )


def resize(images: Tensor, px: int) -> Tensor:
    """uint8 [B, 3, H, W] -> uint8 [B, 3, px, px], bilinear with antialiasing."""
    if images.shape[-2:] == (px, px):
        return images
    return F.interpolate(images, (px, px), mode="bilinear", antialias=True)


def resize_all(
    images: Tensor, px: int, memory_gb: float = math.inf, cache: Path | str = ""
) -> Tensor:
    """`resize` of a whole set, some at a time; where the result takes more than ``memory_gb`` GiB,
    it goes into a file in the folder ``cache`` that is gone with the process."""
    if images.shape[-2:] == (px, px):
        return images
    out = room((*images.shape[:2], px, px), memory_gb, Path(cache))
    for own, batch in zip(out.split(RESIZE_BATCH), images.split(RESIZE_BATCH), strict=True):
        own.copy_(resize(batch, px))
    return out


def centre_crop(images: Tensor, px: int) -> Tensor:
    """The middle [B, 3, px, px] of ``images`` [B, 3, H, W]."""
    top, left = (images.shape[-2] - px) // 2, (images.shape[-1] - px) // 2
    return images[..., top : top + px, left : left + px]


def draw_views(count: int, spare_px: int, flip: bool, seed: Sequence[int]) -> NDArray[np.int64]:
    """Top, left and whether to mirror, [count, 3], of a random crop of each of ``count`` images.

    ``spare_px``: what a crop leaves of the image's side. ``flip`` mirrors half of them. A row
    depends on ``seed`` (a few integers) and its place alone: draw for a whole epoch, then index.
    """
    rng = np.random.default_rng(list(seed))
    places = rng.integers(0, spare_px + 1, (count, 2))
    mirrored = rng.integers(0, 2, count) * flip
    return np.column_stack([places, mirrored])


def views(images: Tensor, px: int, draws: NDArray[np.int64]) -> Tensor:
    """Crops [B, 3, px, px] of ``images`` [B, 3, H, W] by their rows of `draw_views`, channels-last,
    on the device of ``images``."""
    if images.device.type != "cpu":
        return gathered_views(images, px, torch.from_numpy(draws).to(images.device))
    # On a CPU a loop of slices takes two thirds of the time of one gather.
    out = torch.empty(
        (*images.shape[:2], px, px), dtype=images.dtype, memory_format=torch.channels_last
    )
    for own, image, (top, left, mirror) in zip(out, images, draws.tolist(), strict=True):
        view = image[:, top : top + px, left : left + px]
        own.copy_(view.flip(-1) if mirror else view)
    return out


def gathered_views(images: Tensor, px: int, draws: Tensor) -> Tensor:
    """`views` in one gather, for devices on which each slice would be a launch of its own."""
    top, left, mirror = draws.unbind(1)
    side = torch.arange(px, device=images.device)
    rows, columns = top[:, None] + side, left[:, None] + side
    columns = torch.where(mirror[:, None] > 0, columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def to_float(images: Tensor, device: torch.device, channels_last: bool = True) -> Tensor:
    """uint8 [B, 3, H, W] -> float32 in [0, 1] on ``device``, channels-last or contiguous."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    # Laid out anew as bytes: a quarter of what floats would move.
    return images.to(device).contiguous(memory_format=layout).float().div_(255)
