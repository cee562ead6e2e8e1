"""Histograms of the unknown score of shared and private classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from uda.reports.chapter import Chapter, DrawnPair
from uda.reports.figures.base import Drawing, FigureKind
from uda.reports.figures.drawing import BLUE, INK, ORANGE, PAGE_COLOURS, make_axes
from uda.reports.predictions import PRIVATE, SHARED, Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 30
COLUMNS = 2
COLOURS = {SHARED: BLUE, PRIVATE: ORANGE}


class UnknownScoresFigure(FigureKind[Chapter]):
    """How the unknown score lies on the target, and where it cuts."""

    name = "scores"
    title = "Unknown scores"
    note = (
        "How the score that decides what is called unknown lies on the target: left of the dashed"
        " line is called a known class, right of it unknown."
    )
    panels = "large"

    def legend(self, chapter: Chapter) -> Mapping[str, str]:
        """Return the colours of shared and private classes."""
        return {role: PAGE_COLOURS.get(colour, colour) for role, colour in COLOURS.items()}

    def on_page(self, chapter: Chapter) -> Iterator[Drawing]:
        """Yield a figure for each pair with private classes, a panel for each row."""
        for drawn in chapter.open_pairs:
            yield _draw_pair(drawn)


def _draw_pair(drawn: DrawnPair) -> Drawing:
    columns = min(len(drawn.by_row), COLUMNS)
    figure, panels = make_axes(-(-len(drawn.by_row) // columns), columns, 2.7, 1.9)
    for axes, (title, predictions) in zip(panels, drawn.by_row.items(), strict=False):
        _draw(axes, predictions)
        axes.set_title(title, fontsize=9)
    for axes in panels[len(drawn.by_row) :]:
        axes.set_visible(False)
    figure.supxlabel("unknown score", fontsize=9)
    figure.supylabel("pictures", fontsize=9)
    what = "unknown scores of shared and private classes"
    label = f"{drawn.pair.name}, seed {drawn.seed}: {what}"
    return Drawing(f"{drawn.pair.arrow}, seed {drawn.seed}", label, figure)


def _draw(axes: Axes, predictions: Predictions) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = float(predictions.score.min()), float(predictions.score.max())
    bins = np.linspace(low, max(high, low + 1e-6), BINS + 1).tolist()
    for role, scores in predictions.scores_by_role.items():
        colour = COLOURS[role]
        axes.hist(scores, bins, histtype="stepfilled", color=colour, alpha=0.35, linewidth=0)
        axes.hist(scores, bins, histtype="step", color=colour, linewidth=1.4, label=role)
    axes.margins(y=0.2)  # room for the word
    axes.xaxis.set_major_locator(MaxNLocator(4))
    cut = predictions.cut
    if cut is not None:
        axes.axvline(cut, color=INK, linestyle="--", linewidth=1.2, label="called unknown")
        top = axes.get_xaxis_transform()
        text = axes.text(cut, 1, " unknown →", transform=top, va="top", fontsize=8)
        text.set_color(INK)
