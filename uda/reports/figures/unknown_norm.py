"""LEAD's norms u of the unknown part, with the mixture fitted to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from uda.reports.chapter import Chapter
from uda.reports.figures.base import Drawing, FigureKind
from uda.reports.figures.drawing import BLUE, INK, ORANGE, make_axes
from uda.reports.predictions import PRIVATE, split_by_role
from uda.reports.results import Pair
from uda.runs.folder import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Norms = Mapping[str, NDArray[np.floating]]

BINS = 40
MIXTURE = ("means", "deviations", "shares")


class UnknownNormFigure(FigureKind[Chapter]):
    """Histograms of u by what the images truly are, with the mixture that LEAD fits to all."""

    name = "unknown_norm"

    def in_report(self, chapter: Chapter, pair: Pair | None) -> Drawing | None:
        """Return a figure of ``pair``: a panel for the first run of each row that has kept u."""
        if pair is None:
            return None
        results = {row.title: row.at(pair)[0] for row in chapter.rows if row.at(pair)}
        drawn = {
            title: (result, norms)
            for title, result in results.items()
            if (norms := norms_of(result.run))
        }
        if not drawn:
            return None
        figure, panels = make_axes(1, len(drawn), 5.2, 3.6)
        for axes, (title, (result, norms)) in zip(panels, drawn.items(), strict=True):
            _draw(axes, result.run, norms)
            axes.set_title(f"{title}, seed {result.seed}", fontsize=11)
            axes.set_xlabel("norm of the unknown part, u")
        panels[0].set_ylabel("target images")
        panels[0].legend(frameon=False, fontsize=9, loc="upper left")
        figure.suptitle(chapter.setting.pair_title(pair), fontsize=11)
        return Drawing(pair.arrow, "Histogram of the unknown-space norm", figure)


def norms_of(run: Run) -> Norms:
    """Return the norms that a run has kept, and their mixture; empty where it has none.

    Raises:
        ValueError: naming the run whose file is broken.
    """
    summary = run.summary() or {}
    if "unknown_norm" not in summary:
        return {}
    norms = {name: summary.get(name, np.empty(0)) for name in ("unknown_norm", *MIXTURE)}
    is_whole = all(
        values.ndim == 1 and values.dtype.kind == "f" and values.size and np.isfinite(values).all()
        for values in norms.values()
    )
    if not is_whole or {len(norms[name]) for name in MIXTURE} != {2}:
        raise ValueError(
            f"{run.folder}: what it keeps for reports lacks norms, or the mixture of two that is "
            "fitted to them; delete the run and adapt again"
        )
    return norms


def _draw(axes: Axes, run: Run, norms: Norms) -> None:
    u = norms["unknown_norm"]
    bins = np.linspace(u.min(), u.max(), BINS + 1).tolist()
    parts = split_by_role(run, u)
    colours = [ORANGE if role == PRIVATE else BLUE for role in parts]
    axes.hist(list(parts.values()), bins, stacked=True, color=colours, label=list(parts))
    _draw_mixture(axes, norms, bins, len(u))


def _draw_mixture(axes: Axes, summary: Norms, bins: list[float], count: int) -> None:
    """Draw the mixture's density, scaled to a histogram of ``count`` images, and its means."""
    grid = np.linspace(bins[0], bins[-1], 400)
    scale = count * (bins[1] - bins[0])
    total = np.zeros_like(grid)
    for number, (mean, deviation, share) in enumerate(
        zip(summary["means"], summary["deviations"], summary["shares"], strict=True), start=1
    ):
        density = np.exp(-0.5 * ((grid - mean) / max(deviation, 1e-6)) ** 2) / (
            max(deviation, 1e-6) * math.sqrt(2 * math.pi)
        )
        total += share * density * scale
        axes.axvline(
            mean,
            color=INK,
            linestyle=":" if number == 1 else "--",
            linewidth=1.3,
            label=f"mixture's mean μ{'₁₂'[number - 1]}",
        )
    axes.plot(grid, total, color=INK, linewidth=1.3, label="mixture fitted to u")
