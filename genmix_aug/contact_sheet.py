"""Labelled sheets of pictures, for people who look."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genmix_aug.files import write_whole
from genmix_aug.lettering import font_file, printable, usual_font

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

INK, PAPER, FRAME = (40, 40, 46), (255, 255, 255), (214, 214, 220)


def contact_sheet(
    rows: Sequence[Sequence[Tensor]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    size: int,
) -> Image.Image:
    """Return a sheet with a row for each sequence of pictures, labelled at the left and on top.

    Args:
        rows: Pictures, uint8 [3, H, W] or float [H, W] in [0, 1], as many as column labels.
        row_labels, column_labels: Texts; long ones are wrapped, then cut. For letters that no
            font has there are boxes, see `genmix_aug.lettering.legible`.
        size: Side of a cell in px; pictures are scaled into it, their aspect ratio kept.

    Raises:
        ValueError: Nothing to show, rows of differing lengths, or a size under 16 px.
    """
    check_size(size)
    if not rows or not column_labels:
        raise ValueError("a contact sheet needs at least one row and one column")
    if any(len(row) != len(column_labels) for row in rows) or len(rows) != len(row_labels):
        raise ValueError("a contact sheet needs one label for each row and column")
    row_labels, column_labels = [
        [printable(label) for label in labels] for labels in (row_labels, column_labels)
    ]
    points = max(10, min(20, round(size / 9)))
    fonts = {label: label_font(label, points) for label in ("Ågy", *row_labels, *column_labels)}
    gap = max(3, size // 24)
    margin = 3 * gap
    box = fonts["Ågy"].getbbox("Ågy")
    line = round(1.15 * (box[3] - box[1]))
    above = [_wrap(label, fonts[label], size, 2) for label in column_labels]
    longest = max(fonts[label].getlength(label) for label in row_labels)
    beside_width = min(longest, 1.4 * size)
    beside = [_wrap(label, fonts[label], beside_width + 1, 3) for label in row_labels]
    head = line * max(len(lines) for lines in above) + gap
    left = margin + int(beside_width) + 2 * gap
    width = left + len(column_labels) * (size + gap) - gap + margin
    height = margin + head + len(rows) * (size + gap) - gap + margin
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)

    for column, lines in enumerate(above):
        x = left + column * (size + gap) + size / 2
        font = fonts[column_labels[column]]
        for k, text in enumerate(reversed(lines)):
            pen.text((x, margin + head - gap - k * line), text, INK, font, anchor="md")
    for row, (pictures, lines) in enumerate(zip(rows, beside, strict=True)):
        y = margin + head + row * (size + gap)
        font = fonts[row_labels[row]]
        for k, text in enumerate(lines):
            middle = y + size / 2 + (k - (len(lines) - 1) / 2) * line
            pen.text((left - 2 * gap, middle), text, INK, font, anchor="rm")
        for column, picture in enumerate(pictures):
            x = left + column * (size + gap)
            scaled = _scaled(picture, size)
            corner = (x + (size - scaled.width) // 2, y + (size - scaled.height) // 2)
            sheet.paste(scaled, corner)
            box = (
                corner[0] - 1,
                corner[1] - 1,
                corner[0] + scaled.width,
                corner[1] + scaled.height,
            )
            pen.rectangle(box, outline=FRAME)
    return sheet


def check_size(size: int) -> None:
    """Refuse pictures that are too small for a sheet.

    Raises:
        ValueError: A size under 16 px.
    """
    if size < 16:
        raise ValueError(f"a picture on the sheet needs at least 16 px, not {size}")


def check_name(path: Path | str) -> None:
    """Refuse a name that `save_png` cannot write to.

    Raises:
        ValueError: The name does not end in .png.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"the picture's name must end in .png: {path}")


def label_font(text: str, size: int) -> Font:
    """Return a font of `size` px that has the text's characters, or else the usual font."""
    return ImageFont.truetype(font_file(text) or usual_font(), size)


def _wrap(text: str, font: Font, width: float, most: int) -> list[str]:
    """Return up to `most` lines of at most `width` px, broken at spaces or cut."""
    lines: list[str] = []
    for word in text.split() or [""]:
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [_cut(line, font, width) for line in lines]


def _cut(text: str, font: Font, width: float) -> str:
    """Return a text, its end replaced by … where it is wider than `width` px."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _scaled(picture: Tensor, size: int) -> Image.Image:
    """Return a picture scaled so that its longer side is `size` px."""
    array = picture.cpu().numpy()
    if array.ndim == 2:
        image = Image.fromarray(np.rint(array * 255).astype(np.uint8)).convert("RGB")
    else:
        image = Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))
    scale = size / max(image.size)
    fitted = tuple(max(1, round(length * scale)) for length in image.size)
    return image.resize((fitted[0], fitted[1]), Image.Resampling.LANCZOS)


def save_png(image: Image.Image, path: Path | str) -> None:
    """Write a PNG to a temporary name beside `path`, then renames it.

    Raises:
        ValueError: `path` does not end in .png.
        OSError: The folder cannot be made or written to.
    """
    check_name(path)
    data = io.BytesIO()
    image.save(data, "PNG")
    write_whole(Path(path), data.getvalue())
