"""Reading lists of pictures: text, a picture a line, with a class number or without."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import NamedTuple

from uda.runs.files import read_text

LIST_SUFFIXES = (".txt", ".csv")
# First cells of a line that heads a table.
HEADS = ("path", "file", "filename", "image", "image_path", "name")


class ListLine(NamedTuple):
    """A line of a list: its number, the text, and what it may mean.

    ``readings`` are (path, label) in the order in which they are to be tried: as it stands, without
    a label; ``path number``; ``path,label``.
    """

    number: int
    text: str
    readings: tuple[tuple[str, str], ...]


def read_list(file: Path) -> list[ListLine]:
    """Return the lines of a list, but for empty ones and a table's head.

    A line is a path, ``path number`` or ``path,label`` (more columns may follow); names of files
    may hold spaces, commas, carriage returns and bytes of no encoding.

    Raises:
        ValueError: naming a file that is no text.
    """
    # Universal newlines would cut names at carriage returns.
    content = read_text(file, "utf-8-sig", "surrogateescape")
    if "\0" in content:  # UTF-16, as some programs of Windows write it, or no text at all
        raise ValueError(f"{file}: not a list of pictures in UTF-8; save it as text in UTF-8")
    lines: list[ListLine] = []
    for number, raw in enumerate(content.split("\n"), start=1):
        text = os.path.expanduser(raw.strip())
        cells = _cells(text)
        if not text or (not lines and cells[0].casefold() in HEADS):
            continue
        path, *label = text.rsplit(None, 1)
        readings = [(text, "")]
        if label and label[0].removeprefix("-").isdecimal():
            readings.append((path, label[0]))
        if len(cells) > 1:
            readings.append((cells[0], cells[1]))
        lines.append(ListLine(number, text, tuple(readings)))
    return lines


def _cells(text: str) -> list[str]:
    """Return the cells of a line of a table; names with commas stand in quotes."""
    try:
        cells = next(csv.reader([text]), [""])
    except csv.Error:  # a carriage return in a name
        cells = text.split(",")
    return [cell.strip() for cell in cells]
