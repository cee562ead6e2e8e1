"""Answers for many pictures: a table of them, and a sheet of those found unknown."""

from __future__ import annotations

import csv
import glob
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from genmix_aug.contact_sheet import contact_sheet, save_png
from genmix_aug.images import find_images, load_rgb
from uda.inference.model import UNKNOWN, Answer, AnsweringModel
from uda.runs.files import atomic_path

BATCH = 128
SHEET_COLUMNS, SHEET_ROWS, SHEET_PX = 8, 8, 120


@dataclass(frozen=True)
class Answered:
    """``answers`` of the pictures ``paths``, in their order; ``unreadable``: path -> why."""

    paths: tuple[Path, ...]
    answers: tuple[Answer, ...]
    unreadable: dict[Path, str]

    @property
    def unknown(self) -> list[tuple[Path, Answer]]:
        """Pictures found unknown, the highest unknown score first."""
        pairs = zip(self.paths, self.answers, strict=True)
        found = [(path, answer) for path, answer in pairs if answer.label == UNKNOWN]
        return sorted(found, key=lambda pair: -pair[1].unknown_score)


def find_pictures(given: Sequence[str]) -> list[Path]:
    """The pictures that folders, list files (.txt), globs and files name, each once, in order.

    A folder gives all below it. A list has a path a line, from the list's own folder, and may have
    a class number behind it, which is not read. ValueError naming what is not there or empty.
    """
    paths: dict[Path, None] = {}
    for name in given:
        path = Path(name)
        if path.is_dir():
            found = find_images(path)
        elif path.is_file():
            found = list(_listed(path)) if path.suffix == ".txt" else [path]
        else:
            # As typed in quotes; ** reaches folders in folders.
            found = [Path(one) for one in sorted(glob.glob(name, recursive=True))]
            found = [one for one in found if one.is_file()]
        if not found:
            raise ValueError(f"{name}: no picture there")
        paths.update(dict.fromkeys(found))
    return list(paths)


def _listed(file: Path) -> Iterator[Path]:
    for line in file.read_text(errors="surrogateescape").split("\n"):
        text = line.strip()
        if not text:
            continue
        path = file.parent / text
        words = text.rsplit(None, 1)
        if not path.is_file() and len(words) == 2 and words[1].lstrip("-").isdecimal():
            path = file.parent / words[0]
        yield path


def predict(model: AnsweringModel, paths: Sequence[Path]) -> Answered:
    """Ask ``model`` for every picture of ``paths``; those that cannot be read are passed over."""
    kept: list[Path] = []
    answers: list[Answer] = []
    unreadable: dict[Path, str] = {}

    def prepare(path: Path) -> Tensor | str:
        try:
            return model.prepared(path)
        except ValueError as error:
            return str(error)

    bar = tqdm(total=len(paths), desc="predict", unit="img", leave=False, delay=2, disable=None)
    with ThreadPoolExecutor(max_workers=4) as pool, bar:
        for start in range(0, len(paths), BATCH):
            part = paths[start : start + BATCH]
            ready = []
            for path, picture in zip(part, pool.map(prepare, part), strict=True):
                if isinstance(picture, str):
                    unreadable[path] = picture
                else:
                    kept.append(path)
                    ready.append(picture)
            answers += model.answers(ready)
            bar.update(len(part))
    return Answered(tuple(kept), tuple(answers), unreadable)


def summary(answered: Answered) -> list[str]:
    """How many pictures were found what, in lines for people."""
    counts = Counter(answer.label for answer in answered.answers)
    unknown = counts.pop(UNKNOWN, 0)
    total = len(answered.answers)
    found = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    lines = [f"{total} pictures: {unknown} unknown, {total - unknown} of known classes"]
    lines += textwrap.wrap(found, 98, initial_indent="  ", subsequent_indent="  ")
    if answered.unreadable:
        lines.append(f"{len(answered.unreadable)} could not be read and were passed over")
    return lines


def write_csv(answered: Answered, out: Path) -> None:
    """A line a picture: path, class (a name or ``unknown``), nearest (the most probable class),
    probability of that class, entropy over log K, unknown_score."""
    with (
        atomic_path(out) as temporary,
        # Names of files need not be of any encoding.
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "class", "nearest", "probability", "entropy", "unknown_score"])
        for path, answer in zip(answered.paths, answered.answers, strict=True):
            numbers = (answer.probability, answer.entropy, answer.unknown_score)
            table.writerow([path, answer.label, answer.nearest, *(f"{n:.4f}" for n in numbers)])


def write_sheet(answered: Answered, out: Path) -> int:
    """Draw what was found unknown, the surest first, each under its file's name and the class that
    it came nearest to; how many are drawn. Nothing is written where none was found unknown."""
    shown = answered.unknown[: SHEET_COLUMNS * SHEET_ROWS]
    if not shown:
        return 0
    rows = [shown[i : i + SHEET_COLUMNS] for i in range(0, len(shown), SHEET_COLUMNS)]
    strips = [
        contact_sheet(
            [[load_rgb(path) for path, _ in row]],
            [""],
            [f"{path.stem} {answer.nearest}?" for path, answer in row],
            SHEET_PX,
        )
        for row in rows
    ]
    height = sum(strip.height for strip in strips)
    sheet = Image.new("RGB", (max(strip.width for strip in strips), height), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    save_png(sheet, out)
    return len(shown)
