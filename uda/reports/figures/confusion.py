"""Confusion matrices: true classes by what their images were called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from genmix_aug.lettering import printable
from uda.reports.chapter import Chapter
from uda.reports.figures.base import Drawing, FigureKind
from uda.reports.figures.drawing import BLUE, GRID, make_axes
from uda.reports.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 40  # characters of a class's name


class ConfusionFigure(FigureKind[Chapter]):
    """Shares of each true class (all private ones as a single row) by what they were called."""

    name = "confusion"
    title = "Confusion"
    note = (
        "Rows: true classes, all target-private ones as one. Columns: what they were called. The"
        " darker, the larger the share of the row."
    )
    panels = "confusion"

    def on_page(self, chapter: Chapter) -> Iterator[Drawing]:
        """Yield a figure for each of the last two rows of each pair: an adapted row without and
        with augmentation."""
        for drawn in chapter.drawn_pairs:
            for title, predictions in list(drawn.by_row.items())[-2:]:
                figure, (axes,) = make_axes(1, 1, 3.4, 3.6)
                _draw(axes, predictions)
                axes.set_xlabel("called", fontsize=8)
                axes.set_ylabel("true class", fontsize=8)
                row = f"{title}, seed {drawn.seed}"
                label = f"{drawn.pair.name}, {row}: true classes by what they were called"
                yield Drawing(f"{drawn.pair.arrow}, {row}", label, figure)


def _draw(axes: Axes, predictions: Predictions) -> None:
    """Draw the shares; the row of a class without an image is empty."""
    from matplotlib.colors import to_rgb

    matrix = predictions.confusion()
    picture = np.zeros((*matrix.shares.shape, 4))
    picture[..., :3] = to_rgb(BLUE)
    picture[..., 3] = np.nan_to_num(matrix.shares)  # where it is 0 the paper is seen
    axes.imshow(picture, interpolation="none", aspect="equal")
    size = 7 if len(matrix.rows) < 16 else 5
    rows, columns = (list(map(_tick, names)) for names in (matrix.rows, matrix.columns))
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size)
    axes.set_yticks(range(len(rows)), rows, fontsize=size)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(GRID)


def _tick(name: str) -> str:
    """Return a class's name as an axis has room for it."""
    text = printable(name)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
