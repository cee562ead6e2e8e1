"""Names from anywhere in terminals and pictures: what can be shown, and in which font."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

# Control characters, line ends, and bytes of no encoding (`os.fsdecode`).
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text with what no terminal or font shows as ``\r``, ``\x1b`` or ``\udce9``.

    A name may hold line ends, sequences that steer a terminal, and bytes of no encoding.
    """
    return UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Return the lines of a table: columns are flush right but for those in ``left``.

    Args:
        rows: Cells, as many in each row.
        left: Numbers of columns that are flush left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def font_file(text: str) -> Path | None:
    """Return a font that has all characters of a text, or None.

    It is `usual_font`, or else one of this machine that `matplotlib.font_manager` has found.
    """
    wanted = frozenset(map(ord, text))
    files = (file for files in ([usual_font()], _fonts()) for file in files)
    return next((file for file in files if wanted <= _characters(file)), None)


def usual_font() -> Path:
    """Return Matplotlib's DejaVu Sans, which knows most alphabets; Pillow's font knows ASCII."""
    from matplotlib import get_data_path

    return Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def legible(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return texts as a picture can show them, and lines to print beside the picture.

    Where no font has a text's letters (Chinese, Japanese, Korean on a machine without such fonts),
    a number in brackets stands for it, and the lines say for what.
    """
    texts = [printable(text) for text in texts]
    unknown = list(dict.fromkeys(text for text in texts if not font_file(text)))
    numbers = {text: f"[{number}]" for number, text in enumerate(unknown, start=1)}
    key = ", ".join(f"{number} {text}" for text, number in numbers.items())
    lines = [f"Names for whose letters no font is installed: {key}"] if numbers else []
    return [numbers.get(text, text) for text in texts], lines


@cache
def _fonts() -> list[Path]:
    """Return this machine's upright fonts of usual weight, sorted by path.

    Unicode's Last Resort, which comes with Matplotlib, has a box for every character.
    """
    from matplotlib.font_manager import fontManager

    return sorted(
        {
            Path(font.fname)
            for font in fontManager.ttflist
            if font.style == "normal"
            and font.weight in (400, "normal", "regular")
            and not font.name.startswith("Last Resort")
        }
    )


@cache
def _characters(file: Path) -> frozenset[int]:
    """Return the code points that a font has; none where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(str(file)).get_charmap())
    except (RuntimeError, OSError):
        return frozenset()
