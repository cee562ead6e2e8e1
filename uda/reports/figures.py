"""Figures of results: H by epoch, what an augmentation changes, scores and labels of a target.

The ``draw_…`` functions draw on given axes, so that the report's PNG files and the page's SVGs show
the same.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uda.evaluation.metrics import CURVE, SCORES
from uda.reports.differences import Difference
from uda.reports.predictions import Predictions, read_roles
from uda.reports.results import Pair, Result, Row, Setting, has_labels
from uda.runs.files import atomic_path
from uda.runs.folder import Run

if TYPE_CHECKING:
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
# What an SVG in a page takes from the page's own style.
PAGE_COLOURS = {
    INK: "currentColor",
    GRID: "var(--grid)",
    BLUE: "var(--blue)",
    GREY: "var(--grey)",
    WINE: "var(--wine)",
    INDIGO: "var(--indigo)",
    BROWN: "var(--brown)",
}
BINS = 30


def make_axes(
    rows: int, columns: int, width: float, height: float, share: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of rows × columns axes, each ``width`` × ``height`` inches, row by row."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(
        {
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    ):
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(width * columns, height * rows),
            squeeze=False,
            sharey=share,
            layout="constrained",
        )
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color=GRID, linewidth=0.8)
        one.set_axisbelow(True)
        one.title.set_color(INK)
    return figure, list(axes.flat)


def save_png(figure: Figure, path: Path) -> None:
    """Write and close the figure."""
    import matplotlib.pyplot as plt

    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=144, facecolor="white")
    plt.close(figure)


def as_svg(figure: Figure, label: str) -> str:
    """The figure, closed, as an ``<svg>`` element for a page: no background, its ink, grid and font
    the page's; ``label`` says to who cannot see it what it shows."""
    import html

    import matplotlib.pyplot as plt

    out = io.StringIO()
    # Ids are hashes of what they name and this salt: no two figures of a page may share one.
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
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
    text = re.sub(r"font: (?:\w+ )?([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    # Nothing refers to the names of groups and images, which are the same in several figures.
    text = re.sub(r'(?<=<g) id="[^"]*"| id="image\w+"', "", text)
    for colour, name in PAGE_COLOURS.items():
        text = re.sub(colour, name, text, flags=re.IGNORECASE)
    text = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt"', r'\1 style="max-width:\2pt"', text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1).strip()


def colours(titles: Sequence[str]) -> dict[str, str]:
    """Each row's colour: the same one in every figure of a setting."""
    return {title: ROW_COLOURS[place % len(ROW_COLOURS)] for place, title in enumerate(titles)}


def draw_epochs(axes: Axes, rows: Sequence[tuple[Row, str]], pair: Pair, score: str) -> None:
    """``score`` by epoch on ``pair`` of each (row, colour): mean over seeds, and their range.

    A row that trains nothing is a dashed line across.
    """
    for row, colour in rows:
        own = row.at(pair)
        if not own:
            continue
        series = [{line["epoch"]: line[score] for line in result.lines} for result in own]
        epochs = sorted(set.intersection(*(set(one) for one in series)))
        values = np.array(
            [[math.nan if one[e] is None else one[e] for e in epochs] for one in series]
        )
        mean = values.mean(axis=0)
        if len(epochs) == 1:
            axes.axhline(mean[0], color=colour, linestyle="--", linewidth=1.5, label=row.title)
            continue
        _draw_mean(axes, epochs, values, colour, row.title)
    _whole_ticks(axes)


def draw_held_out(axes: Axes, rows: Mapping[str, Sequence[Run]], shown: Mapping[str, str]) -> None:
    """Top-1 on held-out pictures by training step of each row, in its ``shown`` colour: mean over
    seeds, and their range. A row's passes may be longer than another's; its steps are not."""
    for title, own in rows.items():
        series = []
        for run in own:
            steps = {line["epoch"]: line["step"] for line in run.metrics("train") if "step" in line}
            lines = [line for line in run.metrics("evaluate") if line["epoch"] in steps]
            series.append({steps[line["epoch"]]: line["top1"] for line in lines})
        common = sorted(set.intersection(*(set(one) for one in series)))
        if common:
            values = np.array([[one[step] for step in common] for one in series])
            _draw_mean(axes, common, values, shown[title], title)
    _whole_ticks(axes)


def _whole_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _draw_mean(
    axes: Axes, places: Sequence[float], values: NDArray[np.float64], colour: str, title: str
) -> None:
    """A line of the means of ``values`` [seeds, places], and a band of their range."""
    size = 3.5 if len(places) <= 20 else 0
    axes.plot(places, values.mean(axis=0), color=colour, marker="o", markersize=size, label=title)
    if len(values) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def draw_h_curves(axes: Axes, rows: Sequence[tuple[Row, str]], pair: Pair) -> None:
    """H-score by threshold on ``pair`` of each (row, colour), mean over seeds, in the last epoch;
    rows whose runs have not logged it, or have no labels to score by, are left out."""
    for row, colour in rows:
        curves = [
            line["h_curve"]
            for result in row.at(pair)
            if has_labels(result.lines) and "h_curve" in (line := result.lines[-1])
        ]
        if curves:
            mean = np.array(curves, dtype=float).mean(axis=0)
            axes.plot(CURVE, mean, color=colour, linewidth=1.6, label=row.title)


def epochs_figure(setting: Setting, rows: Sequence[Row], pairs: Sequence[Pair]) -> Figure:
    """The main score by epoch: one panel a pair, three or four beside one another."""
    score = SCORES[setting.main_score]
    shown = colours([row.title for row in rows])
    columns = 3 if len(pairs) % 3 == 0 else min(len(pairs), 4)
    wide = (8.5, 4.0) if len(pairs) == 1 else (3.0, 2.4)
    figure, panels = make_axes(math.ceil(len(pairs) / columns), columns, *wide)
    for axes, pair in zip(panels, pairs, strict=False):
        draw_epochs(axes, [(row, shown[row.title]) for row in rows], pair, setting.main_score)
        axes.set_title(f"{pair.source} → {pair.target}", fontsize=10)
    for axes in panels[len(pairs) :]:
        axes.set_visible(False)
    figure.supxlabel("epoch of adaptation (0: the source model)", fontsize=10)
    figure.supylabel(f"{score}, %", fontsize=10)
    figure.suptitle(setting.title, fontsize=11)
    labels = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    ordered = [title for title in shown if title in labels]
    figure.legend(
        [labels[title] for title in ordered],
        ordered,
        frameon=False,
        loc="outside right upper",
        fontsize=9,
    )
    return figure


def draw_difference(axes: Axes, difference: Difference, colour: str = BLUE) -> None:
    """A line a pair: the difference at each seed (small) and their mean (large); zero is marked."""
    pairs = list(difference.by_pair)
    for level, pair in enumerate(reversed(pairs)):
        own = list(difference.by_pair[pair].values())
        axes.plot([0, float(np.mean(own))], [level, level], color=colour, linewidth=1.2, alpha=0.4)
        if len(own) > 1:
            axes.plot(own, [level] * len(own), "o", color=colour, markersize=4, alpha=0.45, mew=0)
        axes.plot(float(np.mean(own)), level, "o", color=colour, markersize=8, mew=0)
    axes.axvline(0, color=INK, linewidth=1)
    if len(pairs) > 1:
        axes.axvline(difference.mean, color=colour, linestyle="--", linewidth=1.2)
    axes.set_yticks(range(len(pairs)), [pair.name for pair in reversed(pairs)])
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.spines["left"].set_visible(False)


def differences_figure(setting: Setting, found: Sequence[Difference]) -> Figure:
    """`draw_difference` for each of ``found``, three side by side."""
    height = 1.2 + 0.28 * max(len(one.by_pair) for one in found)
    columns = min(len(found), 3)
    figure, panels = make_axes(-(-len(found) // columns), columns, 3.6, height, share=False)
    limits = [value for one in found for own in one.by_pair.values() for value in own.values()]
    room = 0.08 * (max(*limits, 0.0) - min(*limits, 0.0))
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    for axes, one in zip(panels, found, strict=False):
        draw_difference(axes, one)
        axes.set_xlim(min(*limits, 0.0) - room, max(*limits, 0.0) + room)
        axes.set_title(one.title, fontsize=10)
        axes.set_xlabel(f"difference in {SCORES[setting.main_score]}, points")
    figure.suptitle(setting.title, fontsize=11)
    return figure


def draw_unknown_scores(axes: Axes, made: Predictions) -> None:
    """Histograms of the unknown score of shared and private pictures, and where it cuts."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(made.score.min()), float(made.score.max())
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1).tolist()
    for private, colour, label in (
        (False, BLUE, "shared classes"),
        (True, ORANGE, "target-private classes"),
    ):
        own = made.score[made.private == private]
        if len(own):
            axes.hist(own, bins=edges, histtype="stepfilled", color=colour, alpha=0.35, linewidth=0)
            axes.hist(own, bins=edges, histtype="step", color=colour, linewidth=1.4, label=label)
    axes.margins(y=0.2)  # room for the word
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if made.cut is not None:
        axes.axvline(made.cut, color=INK, linestyle="--", linewidth=1.2, label="called unknown")
        axes.text(
            made.cut, 1, " unknown →", transform=axes.get_xaxis_transform(), va="top", fontsize=8
        ).set_color(INK)


def draw_confusion(axes: Axes, made: Predictions) -> None:
    """True classes (rows; all private ones as one) by what they were called, in shares of a row.

    All classes that only the source has are one column. A row without a picture is empty.
    """
    from matplotlib.colors import to_rgb

    shares, rows, columns = made.confusion()
    picture = np.zeros((*shares.shape, 4))
    picture[..., :3] = to_rgb(BLUE)
    picture[..., 3] = np.nan_to_num(shares)  # nothing of it lets the paper through
    axes.imshow(picture, interpolation="none", aspect="equal")
    size = 7 if len(rows) < 16 else 5
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size)
    axes.set_yticks(range(len(rows)), rows, fontsize=size)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(GRID)


def has_norms(run: Run) -> bool:
    """Whether the run left LEAD's norms u of the unknown part."""
    return "unknown_norm" in (run.summary() or {})


def norm_figure(title: str, drawn: Sequence[tuple[str, Result]]) -> Figure:
    """Histograms of u by what the samples truly are, with the mixture that LEAD fits to all."""
    figure, panels = make_axes(1, len(drawn), 5.2, 3.6)
    for axes, (name, result) in zip(panels, drawn, strict=True):
        summary, roles = result.run.summary(), read_roles(result.run)
        assert summary is not None, "has_norms says so"
        private, u = roles.is_private, summary["unknown_norm"]
        edges = np.linspace(u.min(), u.max(), 41).tolist()
        parts = [u[~private], u[private]]
        if private.any():
            axes.hist(
                parts,
                bins=edges,
                stacked=True,
                color=[BLUE, ORANGE],
                label=["shared classes", "target-private classes"],
            )
        else:
            label = "shared classes" if roles.complete else "all pictures"
            axes.hist(u, bins=edges, color=BLUE, label=label)
        _draw_mixture(axes, summary, edges, len(u))
        axes.set_title(f"{name}, seed {result.seed}", fontsize=11)
        axes.set_xlabel("norm of the unknown part, u")
    panels[0].set_ylabel("target images")
    panels[0].legend(frameon=False, fontsize=9, loc="upper left")
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_mixture(
    axes: Axes, summary: Mapping[str, np.ndarray], edges: list[float], count: int
) -> None:
    grid = np.linspace(edges[0], edges[-1], 400)
    scale = count * (edges[1] - edges[0])
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
