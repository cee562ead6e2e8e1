"""The H-score by the threshold of the unknown score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from uda.evaluation.metrics import CURVE
from uda.reports.chapter import Chapter
from uda.reports.figures.base import Drawing, FigureKind
from uda.reports.figures.drawing import make_axes, page_colours, row_colours
from uda.reports.results import Pair, Row, has_labels


class ThresholdsFigure(FigureKind[Chapter]):
    """The H-score in the last epoch at every threshold: mean over seeds.

    Rows whose runs have not logged it, or have no labels to score by, are left out.
    """

    name = "thresholds"
    title = "Thresholds"
    note = (
        "H-score in the last epoch if all above the threshold were called unknown, whatever the"
        " method decides by: mean over seeds."
    )

    def legend(self, chapter: Chapter) -> Mapping[str, str]:
        """Return the rows' colours."""
        return page_colours(chapter.board)

    def on_page(self, chapter: Chapter) -> Iterator[Drawing]:
        """Yield a figure for each pair whose runs have logged the curve."""
        colours = row_colours(chapter.board)
        for pair in chapter.pairs:
            curves = {title: _curves(row, pair) for title, row in chapter.board.items()}
            if not any(curves.values()):
                continue
            figure, (axes,) = make_axes(1, 1, 3.6, 2.5)
            for title, values in curves.items():
                if values:
                    mean = np.array(values, dtype=float).mean(axis=0)
                    axes.plot(CURVE, mean, color=colours[title], linewidth=1.6, label=title)
            axes.set_xlabel("threshold of the unknown score")
            axes.set_ylabel("H-score, %")
            what = "H-score by the threshold of the unknown score"
            yield Drawing(pair.arrow, f"{chapter.setting.title}, {pair.name}: {what}", figure)


def _curves(row: Row, pair: Pair) -> list[list[float | None]]:
    """Return the curve of each run of ``row`` on ``pair`` that has logged it."""
    return [
        result.lines[-1]["h_curve"]
        for result in row.at(pair)
        if has_labels(result.lines) and "h_curve" in result.lines[-1]
    ]
