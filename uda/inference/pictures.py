"""Predictions for many images: a table of all, and a sheet of the unknown."""

from __future__ import annotations

import csv
import glob
import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from genmix_aug.contact_sheet import contact_sheet, save_png
from genmix_aug.images import find_images, load_rgb
from genmix_aug.lettering import legible, printable
from genmix_aug.progress import show_progress
from uda.data.list_files import LIST_SUFFIXES, read_list
from uda.inference.model import UNKNOWN, ImagePrediction, TrainedModel
from uda.runs.files import atomic_path

BATCH = 128
FORMULA = tuple("=+-@\t\r")  # with which spreadsheets' formulas begin
SHEET_COLUMNS, SHEET_ROWS, SHEET_PX = 8, 8, 120


@dataclass(frozen=True)
class PredictedImages:
    """Images and their ``predictions``, in the same order; ``unreadable`` maps path to reason."""

    paths: tuple[Path, ...]
    predictions: tuple[ImagePrediction, ...]
    unreadable: dict[Path, str]

    @property
    def unknown(self) -> list[tuple[Path, ImagePrediction]]:
        """The unknown images, the highest unknown score first."""
        pairs = zip(self.paths, self.predictions, strict=True)
        unknown = [(path, prediction) for path, prediction in pairs if prediction.label == UNKNOWN]
        return sorted(unknown, key=lambda pair: -pair[1].unknown_score)


def find_pictures(names: Sequence[str]) -> list[Path]:
    """Return the images in folders, list files (.txt, .csv), globs and files, in order, each once.

    A folder includes its subfolders. A list has a path on each line, relative to the list's folder;
    labels behind it are ignored (`uda.data.list_files`). ValueError names what is missing or empty.
    """
    paths: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            images = find_images(path)
        elif path.is_file():
            images = list(_listed(path)) if path.suffix in LIST_SUFFIXES else [path]
        else:  # a glob in quotes; ** matches any depth
            matches = map(Path, sorted(glob.glob(name, recursive=True)))
            images = [match for match in matches if match.is_file()]
        if not images:
            raise ValueError(f"{name}: no picture there")
        paths.update(dict.fromkeys(images))
    return list(paths)


def _listed(file: Path) -> Iterator[Path]:
    for line in read_list(file):
        paths = [file.parent / path for path, _ in line.readings]
        # A path that is missing is named without its label.
        # Path.is_file raises on names that are too long.
        yield next((path for path in paths if os.path.isfile(path)), paths[-1])


def predict(model: TrainedModel, paths: Sequence[Path]) -> PredictedImages:
    """Predict every image of ``paths`` that can be read."""
    readable: list[Path] = []
    predictions: list[ImagePrediction] = []
    unreadable: dict[Path, str] = {}

    def prepare(path: Path) -> Tensor | str:
        try:
            return model.prepare(path)
        except ValueError as error:
            return str(error)

    bar = show_progress(total=len(paths), desc="predict", unit="img", leave=False, delay=2)
    with ThreadPoolExecutor(max_workers=4) as pool, bar:
        for start in range(0, len(paths), BATCH):
            part = paths[start : start + BATCH]
            images = []
            for path, image in zip(part, pool.map(prepare, part), strict=True):
                if isinstance(image, str):
                    unreadable[path] = image
                else:
                    readable.append(path)
                    images.append(image)
            predictions += model.predict(images, len(paths))
            bar.update(len(part))
    return PredictedImages(tuple(readable), tuple(predictions), unreadable)


def summary(predicted: PredictedImages) -> list[str]:
    """Return the number of images of each class, as lines to print."""
    counts = Counter(prediction.label for prediction in predicted.predictions)
    unknown = counts.pop(UNKNOWN, 0)
    total = len(predicted.predictions)
    classes = ", ".join(f"{printable(name)} {count}" for name, count in counts.most_common())
    lines = [f"{total} pictures: {unknown} unknown, {total - unknown} of known classes"]
    lines += textwrap.wrap(classes, 98, initial_indent="  ", subsequent_indent="  ")
    if predicted.unreadable:
        lines.append(f"{len(predicted.unreadable)} could not be read and were passed over")
    return lines


def write_csv(predicted: PredictedImages, out: Path) -> None:
    """Write a table with a row per image.

    Columns: path, class (a name or ``unknown``), nearest (the most probable class), probability of
    that class, entropy over log K, unknown_score.

    Paths are none that spreadsheets take for formulas. Names of classes stay as they are, though
    one may begin with ``=``: they are those of the model, chosen by whoever loads it, and programs
    compare them with others, which a quote in front of them (OWASP's advice) would break.
    """
    with (
        atomic_path(out) as temporary,
        # File names may have bytes of no encoding.
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        table.writerow(["path", "class", "nearest", "probability", "entropy", "unknown_score"])
        for path, prediction in zip(predicted.paths, predicted.predictions, strict=True):
            numbers = (prediction.probability, prediction.entropy, prediction.unknown_score)
            row = [prediction.label, prediction.nearest, *(f"{n:.4f}" for n in numbers)]
            name = str(path)
            if name.startswith(FORMULA):
                name = f"./{name}"  # the same file, and no formula to a spreadsheet
            # A carriage return that is not in quotes ends the row for readers.
            (quoted if "\r" in "".join([name, *row]) else table).writerow([name, *row])


def write_sheet(predicted: PredictedImages, out: Path) -> tuple[int, list[str]]:
    """Draw the unknown images with the highest scores, each under file name and nearest class.

    Returns:
        How many are drawn (without any, nothing is written), and lines that say which names the
        numbers in the picture stand for.
    """
    drawn = predicted.unknown[: SHEET_COLUMNS * SHEET_ROWS]
    if not drawn:
        return 0, []
    names = [path.stem for path, _ in drawn] + [prediction.nearest for _, prediction in drawn]
    texts, key = legible(names)
    labels = [f"{texts[i]} {texts[len(drawn) + i]}?" for i in range(len(drawn))]
    strips = [
        contact_sheet(
            [[load_rgb(path) for path, _ in drawn[start : start + SHEET_COLUMNS]]],
            [""],
            labels[start : start + SHEET_COLUMNS],
            SHEET_PX,
        )
        for start in range(0, len(drawn), SHEET_COLUMNS)
    ]
    height = sum(strip.height for strip in strips)
    sheet = Image.new("RGB", (max(strip.width for strip in strips), height), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    save_png(sheet, out)
    return len(drawn), key
