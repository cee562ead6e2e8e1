"""How figures are drawn: axes, colours, and what becomes of them in a report and on a page."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmix_aug.lettering import font_file, legible, usual_font
from uda.runs.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Okabe and Ito's colours, told apart by most eyes.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#666666"
SKY, VERMILION = "#56B4E9", "#D55E00"
# Then some of Tol's "muted", darker or paler than those; more rows than 14 share colours.
WINE, INDIGO, BROWN = "#882255", "#332288", "#661100"
MUTED = (WINE, "#999933", INDIGO, "#AA4499", "#DDCC77", BROWN, "#88CCEE")
ROW_COLOURS = (GREY, ORANGE, BLUE, GREEN, PURPLE, SKY, VERMILION, *MUTED)
INK, GRID = "#1c1d20", "#e5e5e5"
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
# What an SVG takes from the style of its page.
PAGE_COLOURS = {
    INK: "currentColor",
    GRID: "var(--grid)",
    BLUE: "var(--blue)",
    GREY: "var(--grey)",
    WINE: "var(--wine)",
    INDIGO: "var(--indigo)",
    BROWN: "var(--brown)",
}


def make_axes(
    rows: int, columns: int, width: float, height: float | Sequence[float], share: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its rows × columns axes, row by row.

    Args:
        width: Inches of each of the axes.
        height: The same, or of each row.
        share: Whether all have the same range of y.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    heights = [height] * rows if isinstance(height, int | float) else list(height)
    inks: Any = dict.fromkeys(INKED, INK)
    with plt.rc_context(inks):
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(width * columns, sum(heights)),
            height_ratios=heights,
            squeeze=False,
            sharey=share,
            layout="constrained",
        )
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color=GRID, linewidth=0.8)
        panel.set_axisbelow(True)
        panel.title.set_color(INK)
    return figure, list(axes.flat)


def save_png(figure: Figure, path: Path) -> list[str]:
    """Write and close the figure.

    Returns:
        Lines that say which names the numbers in it stand for (`genmix_aug.lettering.legible`).
    """
    import matplotlib.pyplot as plt

    key = _set_names(figure)
    _set_letters(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=144, facecolor="white")
    plt.close(figure)
    return key


def _set_names(figure: Figure) -> list[str]:
    """Put numbers for names without a font; return the lines that say which they stand for."""
    from matplotlib.text import Text

    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    ticks = [[label.get_text() for label in axis.get_ticklabels()] for axis in axes]
    names = {line for text in texts for line in text.get_text().split("\n")}.union(*ticks)
    ordered = sorted(names)
    drawn, key = legible(ordered)
    new = dict(zip(ordered, drawn, strict=True))
    for text in texts if key else ():
        text.set_text("\n".join(new[line] for line in text.get_text().split("\n")))
    for axis, labels in zip(axes, ticks, strict=True):
        if key and any(new[label] != label for label in labels):
            axis.set_ticks(axis.get_ticklocs(), [new[label] for label in labels])
    return key


def _set_letters(figure: Figure) -> None:
    """Have names drawn as they are: in fonts that have their letters, dollars as dollars."""
    from matplotlib.text import Text

    ticks = [
        label
        for panel in figure.axes
        for label in (*panel.get_xticklabels(), *panel.get_yticklabels())
    ]
    for text in (*ticks, *figure.findobj(Text)):
        text.set_parse_math(False)
        if (file := font_file(text.get_text().replace("\n", ""))) not in (None, usual_font()):
            text.get_fontproperties().set_file(str(file))


def as_svg(figure: Figure, label: str) -> str:
    """Return the figure as an ``<svg>`` element for a page, and close it.

    It has no background, and the page's ink, grid and font. ``label`` says what the figure shows to
    those who cannot see it.
    """
    import matplotlib.pyplot as plt

    _set_letters(figure)
    out = io.StringIO()
    # Ids are hashes of what they name and this salt: no two figures of a page may share one.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": label}
    with plt.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has fonts
        figure.savefig(
            out,
            format="svg",
            transparent=True,
            metadata={"Date": None},
            bbox_inches="tight",
            pad_inches=0.04,
        )
    plt.close(figure)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", lambda tag: _page_tag(tag[0]), text)  # names between them stay
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt"', r'\1 style="max-width:\2pt"', text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1).strip()


def _page_tag(tag: str) -> str:
    """Return a tag of an SVG with the page's font and colours."""
    tag = re.sub(r"font: (?:\w+ )?([\d.]+)px [^;\"]*", r"font-size: \1px", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    # Nothing refers to the names of groups and images, which are the same in several figures.
    tag = re.sub(r'(?<=<g) id="[^"]*"| id="image\w+"', "", tag)
    for colour, name in PAGE_COLOURS.items():
        tag = re.sub(colour, name, tag, flags=re.IGNORECASE)
    tag = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", tag)
    return tag.replace("xlink:href", "href")


def row_colours(titles: Iterable[str]) -> dict[str, str]:
    """Return each row's colour: the same in every figure of a setting."""
    return {title: ROW_COLOURS[k % len(ROW_COLOURS)] for k, title in enumerate(titles)}


def page_colours(titles: Iterable[str]) -> dict[str, str]:
    """Return each row's colour as the page's style has it, for legends."""
    return {title: PAGE_COLOURS.get(c, c) for title, c in row_colours(titles).items()}


def draw_mean(
    axes: Axes, x: Sequence[float], values: NDArray[np.float64], colour: str, title: str
) -> None:
    """Draw a line of the means of ``values`` [seeds, x], and a band of their range."""
    size = 3.5 if len(x) <= 20 else 0
    axes.plot(x, values.mean(axis=0), color=colour, marker="o", markersize=size, label=title)
    if len(values) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def set_whole_ticks(axes: Axes) -> None:
    """Mark few and whole numbers on both axes."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
