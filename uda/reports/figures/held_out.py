"""Learning curves in one domain: top-1 on held-out images by training step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from uda.reports.figures.base import Drawing, FigureKind
from uda.reports.figures.drawing import (
    draw_mean,
    make_axes,
    page_colours,
    row_colours,
    set_whole_ticks,
)
from uda.reports.in_domain import Comparison
from uda.runs.folder import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


class HeldOutFigure(FigureKind[Comparison]):
    """Top-1 by training step of each row: mean over seeds, and their range.

    A row's passes over the data may be longer than another's; its steps are not.
    """

    name = "held_out"
    title = "Learning curves"
    note = "Top-1 on held-out pictures by training step. Bands: the range over seeds."
    panels = "large"

    def legend(self, comparison: Comparison) -> Mapping[str, str]:
        """Return the rows' colours."""
        return page_colours(comparison.rows)

    def on_page(self, comparison: Comparison) -> Iterator[Drawing]:
        """Yield a figure of all rows whose runs have logged their steps."""
        curves = {title: _curves(runs) for title, runs in comparison.rows.items()}
        if not any(steps for steps, _ in curves.values()):
            return
        colours = row_colours(comparison.rows)
        figure, (axes,) = make_axes(1, 1, 5.0, 3.0)
        for title, (steps, values) in curves.items():
            if steps:
                draw_mean(axes, steps, values, colours[title], title)
        set_whole_ticks(axes)
        axes.set_xlabel("training step")
        axes.set_ylabel("top-1, %")
        label = f"{comparison.title}: top-1 on held-out pictures by training step"
        yield Drawing(f"{len(comparison.rows)} augmentations", label, figure)


def _curves(runs: Sequence[Run]) -> tuple[list[int], NDArray[np.float64]]:
    """Return the steps that all ``runs`` have, and their top-1 [runs, steps]."""
    curves = []
    for run in runs:
        steps = {line["epoch"]: line["step"] for line in run.metrics("train") if "step" in line}
        lines = [line for line in run.metrics("evaluate") if line["epoch"] in steps]
        curves.append({steps[line["epoch"]]: line["top1"] for line in lines})
    common = sorted(set.intersection(*(set(curve) for curve in curves)))
    return common, np.array([[curve[step] for step in common] for curve in curves])
