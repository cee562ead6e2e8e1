"""Runs -> a table in Markdown and figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uda.config import load_dataset_spec
from uda.runs import Run, atomic_path, config_hash, find_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

METHOD_TITLES = {
    "source_only": "Source-only",
    "shot_o": "SHOT-O",
    "glc": "GLC",
    "lead": "LEAD",
}
AUGMENT_TITLES = {
    "genmix": "GenMix",
    "mixup": "Mixup",
    "manifold_mixup": "Manifold Mixup",
    "cutmix": "CutMix",
    "resizemix": "ResizeMix",
    "fmix": "FMix",
    "saliencymix": "SaliencyMix",
    "guidedmixup": "GuidedMixup",
    "randaugment": "RandAugment",
    "autoaugment": "AutoAugment",
    "trivialaugment": "TrivialAugment",
    "augmix": "AugMix",
    "pixmix": "PixMix",
}
SCORES = {
    "h_score": "H-score",
    "known_acc": "known",
    "unknown_acc": "unknown",
    "accuracy": "accuracy",
}
# Okabe and Ito's colours, told apart by most eyes.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#666666"
ROW_COLOURS = (GREY, ORANGE, BLUE, GREEN, PURPLE)


@dataclass(frozen=True)
class Task:
    """One block of the report: a pair under a scenario."""

    dataset: str
    source: str
    target: str
    scenario: str
    concepts: str


def row_title(method: str, augment: str) -> str:
    """A row's name as the papers print it: ``Source + GenMix``, ``LEAD``, ``LEAD + GenMix``."""
    title = METHOD_TITLES.get(method, method)
    if augment == "none":
        return title
    if augment == "checkpoint":
        return f"{title}, from a given checkpoint"
    plus = AUGMENT_TITLES.get(augment, augment)
    return f"{'Source' if method == 'source_only' else title} + {plus}"


def write_report(runs: Path, title: str) -> str:
    """Write ``runs/report.md`` and ``runs/figures/*.png``; the tables' text.

    One table a (pair, scenario), one row a (method, augmentation), the mean and standard deviation
    over seeds. Unfinished runs are named, not counted. ValueError where nothing is finished.
    """
    found = find_runs(runs)
    finished = [run for run in found if run.is_done and run.config["stage"] == "adapt"]
    if not finished:
        raise ValueError(f"{runs}: no adaptation in it has finished; run `uda adapt` first")
    parts, tables = [f"# {title}\n"], []
    for task, rows in _grouped(finished).items():
        table = _table(task, rows)
        tables.append(table)
        parts += [table, *_figures(runs, task, rows)]
    parts += _stages(runs, found)
    unfinished = [run.folder.name for run in found if not run.is_done]
    if unfinished:
        parts.append("Unfinished, not counted: " + ", ".join(unfinished) + "\n")
    text = "\n".join(parts)
    with atomic_path(runs / "report.md") as path:
        path.write_text(text)
    return "\n".join(tables) + f"\nWritten to {runs / 'report.md'}"


Rows = Mapping[str, list[Run]]


def _grouped(runs: Sequence[Run]) -> dict[Task, Rows]:
    """Task -> row's title -> runs in order of their seeds; baselines first.

    Runs of one row differ in their seeds alone: where more than that differs under one method and
    augmentation, each configuration is a row of its own, named by what is different.
    """
    groups: dict[Task, dict[tuple[str, str], dict[str, list[Run]]]] = {}
    order = list(METHOD_TITLES)

    def place(run: Run) -> tuple[Any, ...]:
        method, augment = run.config["adapt"]["method"], run.config["source"]["augment"]["name"]
        known = order.index(method) if method in order else len(order)
        return known, method, augment != "none", augment, run.config["source"]["seed"]

    for run in sorted(runs, key=place):
        source = run.config["source"]
        data = source["data"]
        task = Task(
            data["dataset"],
            data["source"],
            run.config["target"],
            data["scenario"],
            data["concepts"],
        )
        key = run.config["adapt"]["method"], source["augment"]["name"]
        variants = groups.setdefault(task, {}).setdefault(key, {})
        variants.setdefault(config_hash(_without_seed(run)), []).append(run)
    return {
        task: {
            row_title(*key) + difference: own
            for key, variants in rows.items()
            for difference, own in _told_apart(list(variants.values()))
        }
        for task, rows in groups.items()
    }


def _without_seed(run: Run) -> dict[str, Any]:
    source = {key: value for key, value in run.config["source"].items() if key != "seed"}
    return {**run.config, "source": source}


def _told_apart(variants: Sequence[list[Run]]) -> list[tuple[str, list[Run]]]:
    """Each variant's runs with the settings that only it has, as " (adapt.rate=0.01)"."""
    settings = [dict(_flat(_without_seed(runs[0]))) for runs in variants]
    names = sorted({key for one in settings for key in one})
    told = [key for key in names if len({str(one.get(key)) for one in settings}) > 1]
    return [
        (" (" + ", ".join(f"{key}={one.get(key)}" for key in told) + ")" if told else "", runs)
        for one, runs in zip(settings, variants, strict=True)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _task_title(task: Task) -> str:
    spec = load_dataset_spec(task.dataset)
    disjoint = ", no picture's concept in both" if task.concepts == "disjoint" else ""
    return f"{spec.title}, {task.source} → {task.target}, {task.scenario.upper()}{disjoint}"


def _table(task: Task, rows: Rows) -> str:
    columns = ["accuracy"] if task.scenario == "pda" else ["h_score", "known_acc", "unknown_acc"]
    main = columns[0]
    lines = [
        f"## {_task_title(task)}\n",
        "| | " + " | ".join(SCORES[c] for c in columns) + f" | oracle {SCORES[main]} | seeds |",
        "| --- |" + " ---: |" * (len(columns) + 2),
    ]
    for title, runs in rows.items():
        last = [run.metrics("evaluate")[-1] for run in runs]
        cells = [mean_and_deviation([line[c] for line in last]) for c in columns]
        oracle = [_oracle(run, main) for run in runs]
        # A method that trains nothing has one epoch only, so nothing to choose from.
        chosen = mean_and_deviation(oracle) if any(o is not None for o in oracle) else "–"
        seeds = " ".join(str(run.config["source"]["seed"]) for run in runs)
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {chosen} | {seeds} |")
    lines.append(
        "\nLast epoch, in percent; mean ± standard deviation over several seeds."
        " The oracle picks each run's best epoch by target labels: nobody can have it.\n"
    )
    last_lines = [run.metrics("evaluate")[-1] for runs in rows.values() for run in runs]
    empty = sorted({name for line in last_lines for name in line.get("empty_classes", [])})
    if empty:
        lines.append(f"Shared classes without a picture, left out: {', '.join(empty)}.\n")
    return "\n".join(lines)


def mean_and_deviation(values: Sequence[float | None]) -> str:
    """``40.9 ± 4.3`` (sample deviation), ``40.9`` for one value, ``undefined`` if any is None."""
    if any(value is None for value in values):
        return "undefined"
    given = [value for value in values if value is not None]
    mean = statistics.fmean(given)
    return f"{mean:.1f} ± {statistics.stdev(given):.1f}" if len(given) > 1 else f"{mean:.1f}"


def _oracle(run: Run, score: str) -> float | None:
    """The best score of an epoch of adaptation; None where there was none."""
    lines = run.metrics("evaluate")
    values = [line[score] for line in lines if line["epoch"] and line[score] is not None]
    return max(values, default=None)


def _figures(runs: Path, task: Task, rows: Rows) -> list[str]:
    """Draw the task's figures; the Markdown that shows them."""
    name = f"{Path(task.dataset).stem}_{task.source}_{task.target}_{task.scenario}"
    shown = []
    adapted = any(len(run.metrics("evaluate")) > 1 for own in rows.values() for run in own)
    if adapted:
        path = runs / "figures" / f"{name}_epochs.png"
        _save(_epoch_figure(task, rows), path)
        shown.append(
            f"![{'Accuracy' if task.scenario == 'pda' else 'H-score'} by epoch]"
            f"(figures/{path.name})\n"
        )
    drawn = {title: own[0] for title, own in rows.items() if _has_norms(own[0])}
    if drawn:
        path = runs / "figures" / f"{name}_unknown_norm.png"
        _save(_norm_figure(task, drawn), path)
        shown.append(f"![Histogram of the unknown-space norm](figures/{path.name})\n")
    return shown


def _has_norms(run: Run) -> bool:
    path = run.folder / "summary.npz"
    return path.is_file() and "unknown_norm" in np.load(path)


def _axes(columns: int, width: float = 5.2, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1,
        columns,
        figsize=(width * columns, height),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for one in axes[0]:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#e5e5e5", linewidth=0.8)
        one.set_axisbelow(True)
    return figure, list(axes[0])


def _save(figure: Figure, path: Path) -> None:
    import matplotlib.pyplot as plt

    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=144, facecolor="white")
    plt.close(figure)


def _epoch_figure(task: Task, rows: Rows) -> Figure:
    score = "accuracy" if task.scenario == "pda" else "h_score"
    figure, (axes,) = _axes(1, width=8.5, height=4)
    for (title, own), colour in zip(rows.items(), ROW_COLOURS * len(rows), strict=False):
        series = [{line["epoch"]: line[score] for line in run.metrics("evaluate")} for run in own]
        epochs = sorted(set.intersection(*(set(one) for one in series)))
        values = np.array(
            [[math.nan if one[e] is None else one[e] for e in epochs] for one in series]
        )
        mean = values.mean(axis=0)
        if len(epochs) == 1:
            axes.axhline(mean[0], color=colour, linestyle="--", linewidth=1.5, label=title)
            continue
        axes.plot(epochs, mean, color=colour, marker="o", markersize=4, label=title)
        if len(own) > 1:
            axes.fill_between(
                epochs,
                values.min(axis=0),
                values.max(axis=0),
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
    axes.set_xlabel("epoch of adaptation (0: the source model)")
    axes.set_ylabel("accuracy, %" if score == "accuracy" else "H-score, %")
    axes.set_title(_task_title(task), fontsize=11)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    return figure


def _norm_figure(task: Task, drawn: Mapping[str, Run]) -> Figure:
    """Histograms of u by what the samples truly are, with the mixture that LEAD fits to all."""
    figure, panels = _axes(len(drawn))
    for axes, (title, run) in zip(panels, drawn.items(), strict=True):
        summary = dict(np.load(run.folder / "summary.npz"))
        private = np.load(run.folder / "predictions.npz")["is_private"]
        u = summary["unknown_norm"]
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
            axes.hist(u, bins=edges, color=BLUE, label="shared classes")
        _draw_mixture(axes, summary, edges, len(u))
        seed = run.config["source"]["seed"]
        axes.set_title(f"{title}, seed {seed}", fontsize=11)
        axes.set_xlabel("norm of the unknown part, u")
    panels[0].set_ylabel("target images")
    panels[0].legend(frameon=False, fontsize=9, loc="upper left")
    figure.suptitle(_task_title(task), fontsize=11)
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
            color="black",
            linestyle=":" if number == 1 else "--",
            linewidth=1.3,
            label=f"mixture's mean μ{'₁₂'[number - 1]}",
        )
    axes.plot(grid, total, color="black", linewidth=1.3, label="mixture fitted to u")


def draw_stages(rows: Sequence[Mapping[str, Tensor]], path: Path) -> None:
    """A picture of GenMix's stages: a row an image, a column a stage, written to ``path``.

    Each stage is uint8 [3, H, W], or a float mask [H, W] in [0, 1].
    """
    titles = list(rows[0])
    figure, _ = _axes(1)
    figure.clear()
    figure.set_size_inches(1.5 * len(titles), 1.5 * len(rows) + 0.3)
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, stages in zip(grid, rows, strict=True):
        for axes, title in zip(line, titles, strict=True):
            image = stages[title].numpy()
            if image.ndim == 2:
                axes.imshow(image, cmap="gray", vmin=0, vmax=1)
            else:
                axes.imshow(image.transpose(1, 2, 0))
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#cccccc")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    _save(figure, path)


def _stages(runs: Path, found: Sequence[Run]) -> list[str]:
    """The first stages picture of each (dataset, source), among the runs."""
    shown: dict[tuple[str, str], str] = {}
    for run in found:
        if run.config["stage"] == "train" and (run.folder / "genmix_stages.png").is_file():
            data = run.config["data"]
            path = (run.folder / "genmix_stages.png").relative_to(runs)
            place = data["dataset"], data["source"]
            shown.setdefault(place, f"![GenMix, stage by stage]({path})\n")
    return ["## What GenMix makes\n", *shown.values()] if shown else []
