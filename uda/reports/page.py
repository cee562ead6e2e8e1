"""One HTML page of all results: it holds its pictures and style, and opens from disk."""

from __future__ import annotations

import base64
import io
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.evaluation.metrics import SCORES
from uda.reports.cells import Table
from uda.reports.differences import FEWEST, Difference, differences, interval_text, signed
from uda.reports.figures import (
    PAGE_COLOURS,
    as_svg,
    colours,
    draw_confusion,
    draw_difference,
    draw_epochs,
    draw_h_curves,
    draw_held_out,
    draw_unknown_scores,
    make_axes,
)
from uda.reports.in_domain import Comparison
from uda.reports.predictions import Predictions, read_predictions
from uda.reports.results import Board, Pair, Row, Setting, first_stages, has_labels, pairs_of
from uda.runs.files import atomic_path
from uda.runs.folder import Run
from uda.runs.version import code_version

if TYPE_CHECKING:
    from PIL.Image import Image

    from uda.sweeps.record import Plan

DETAILED = 4  # rows whose predictions are drawn
SAMPLES = 8  # pictures of each kind
SAMPLE_PX, STAGES_PX = 96, 1200
KINDS = {
    "found": "Unknown and found: of target-private classes, called unknown",
    "missed": "Unknown and missed: of target-private classes, taken for a known one",
    "rejected": "Known and rejected: of shared classes, called unknown",
}


@dataclass(frozen=True)
class Made:
    """The predictions of the rows that are drawn on one pair: by row's title, all of one seed."""

    pair: Pair
    seed: int
    by_row: Mapping[str, Predictions]


def write_page(
    path: Path,
    title: str,
    found: Sequence[Run],
    settings: Mapping[Setting, Board],
    tables: Mapping[Setting, Mapping[str, Table]],
    compared: Sequence[tuple[Comparison, Table]] = (),
    plan: Plan | None = None,
    root: str = "",
    left_out: Sequence[str] = (),
) -> None:
    """Write the page of ``settings``, whose ``tables`` are those of
    `uda.reports.report.setting_tables`, and of what is ``compared`` in one domain, each with its
    table.

    Sample pictures are read under ``root`` (empty for the folder that a dataset's file names); what
    cannot be shown is said in its place. Pairs ``left_out`` are no part of differences. Nothing in
    the page is fetched from elsewhere.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(
        title=title,
        written=time.strftime("%Y-%m-%d %H:%M"),
        version=code_version(),
        finished=sum(len(row.results) for board in settings.values() for row in board.values())
        + sum(len(one.runs) for one, _ in compared),
        unfinished=[run.folder.name for run in found if not run.is_done],
        settings=[
            _section(setting, board, tables[setting], root, left_out)
            for setting, board in settings.items()
        ],
        in_domain=[_in_domain(one, table) for one, table in compared],
        stages=[
            {"source": source, "picture": _picture_uri(_reduced(picture, STAGES_PX))}
            for (_, source), picture in first_stages(found).items()
        ],
        sweeps=[
            {"name": name, "text": _yaml(experiment)}
            for name, experiment in (plan.experiments if plan else {}).items()
        ],
        runs=[
            _again(f"{setting.title}: {row.title}", [result.run for result in row.results])
            for setting, board in settings.items()
            for row in board.values()
        ]
        + [
            _again(f"{one.title}: {title}", own)
            for one, _ in compared
            for title, own in one.rows.items()
        ],
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _section(
    setting: Setting,
    board: Board,
    tables: Mapping[str, Table],
    root: str,
    left_out: Sequence[str],
) -> dict[str, Any]:
    """What the template shows of one setting."""
    rows = list(board.values())
    pairs = pairs_of(setting, rows)
    every = differences(board, setting.main_score, left_out)
    found = [one for one in every if not one.is_between_augmentations]
    shown = colours(list(board))
    made = [one for pair in pairs if (one := _made(setting, rows, pair))]
    first = next(name for name in tables if name != "difference")
    more = [table for name, table in tables.items() if name not in (first, "difference")]
    open_set = [one for one in made if any(p.private.any() for p in one.by_row.values())]
    samples = [_samples(setting, one, root) for one in open_set]
    return {
        "name": setting.name,
        "title": setting.title,
        "score": SCORES[setting.main_score],
        "summary": _summary(found),
        "legend": {row: PAGE_COLOURS.get(colour, colour) for row, colour in shown.items()},
        "table": tables[first],
        "difference": tables.get("difference"),
        "more": more,
        "differences": _difference_figures(setting, found),
        "epochs": _epoch_figures(setting, rows, pairs, shown),
        "thresholds": _threshold_figures(setting, rows, pairs, shown),
        "scores": [_score_figure(one) for one in open_set],
        "confusions": [figure for one in made for figure in _confusion_figures(one)],
        "samples": [sample for sample in samples if not sample["why"]],
        "samples_missing": sorted({sample["why"] for sample in samples if sample["why"]}),
        "skipped": _skipped(rows, pairs, made),
    }


def _summary(found: Sequence[Difference]) -> list[str]:
    """What augmentation changes, in a sentence each: what a reader wants to know first."""
    sentences = []
    for one in found:
        if one.row.method != one.baseline.method:
            continue
        text = f"{one.row.title} against {one.baseline.title}: {signed(one.mean)} points"
        over = {"pairs": list(one.pair_means.values()), "seeds": list(one.seed_means.values())}
        intervals = [
            f"{interval_text(values)} over {len(values)} {unit}"
            for unit, values in over.items()
            if len(values) >= FEWEST
        ]
        text += f" (95 %: {'; '.join(intervals)})" if intervals else ""
        if len(one.pair_means) > 1 or len(one.seed_means) > 1:
            text += f", better in {one.better}"
        sentences.append(text)
    return sentences


def _made(setting: Setting, rows: Sequence[Row], pair: Pair) -> Made | None:
    """Predictions on ``pair`` of at most `DETAILED` rows, of the first seed that most of them have.

    Rows that have the most pairs come first, so that all pairs show the same; of those the first
    two, the baselines, and then from the last on.
    """
    preferred = [*rows[:2], *rows[:1:-1]]
    ordered = sorted(preferred, key=lambda row: -len({result.pair for result in row.results}))
    split = class_split(setting.spec, setting.scenario)
    by_seed: dict[int, dict[str, Predictions]] = {}
    for row in ordered:
        for result in row.at(pair):
            own = by_seed.setdefault(result.seed, {})
            if len(own) < DETAILED and (made := read_predictions(result.run, split)):
                own[row.title] = made
    if not any(by_seed.values()):
        return None
    seed = max(sorted(by_seed), key=lambda seed: len(by_seed[seed]))
    chosen = by_seed[seed]
    return Made(pair, seed, {row.title: chosen[row.title] for row in rows if row.title in chosen})


def _skipped(rows: Sequence[Row], pairs: Sequence[Pair], made: Sequence[Made]) -> str:
    """Which pairs with labels have no predictions to draw."""
    labelled = [r.pair for row in rows for r in row.results if has_labels(r.lines)]
    drawn = [one.pair for one in made]
    without = [pair.name for pair in pairs if pair in labelled and pair not in drawn]
    if not without:
        return ""
    return (
        f"Without unknown scores, confusion matrices and samples: {', '.join(without)}, whose runs "
        "are older than the labels kept for them."
    )


def _difference_figures(setting: Setting, found: Sequence[Difference]) -> list[dict[str, str]]:
    found = [one for one in found if len(one.by_pair) > 1]
    values = [value for one in found for own in one.by_pair.values() for value in own.values()]
    low, high = min([0.0, *values]), max([0.0, *values])
    shown = []
    for one in found:
        figure, (axes,) = make_axes(1, 1, 4.2, 0.9 + 0.25 * len(one.by_pair))
        draw_difference(axes, one)
        axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        axes.set_xlabel(f"difference in {SCORES[setting.main_score]}, points")
        label = f"{setting.title}: {one.title}, by pair; mean {signed(one.mean)}"
        shown.append({"title": one.title, "svg": as_svg(figure, label)})
    return shown


def _epoch_figures(
    setting: Setting, rows: Sequence[Row], pairs: Sequence[Pair], shown: Mapping[str, str]
) -> list[dict[str, str]]:
    figures = []
    for pair in pairs:
        own = [(row, shown[row.title]) for row in rows if row.at(pair)]
        lines = [result.lines for row, _ in own for result in row.at(pair)]
        if not any(len(one) > 1 and has_labels(one) for one in lines):
            continue
        figure, (axes,) = make_axes(1, 1, 3.6, 2.5)
        draw_epochs(axes, own, pair, setting.main_score)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{SCORES[setting.main_score]}, %")
        label = f"{setting.title}, {pair.name}: {SCORES[setting.main_score]} by epoch"
        figures.append({"title": _arrow(pair), "svg": as_svg(figure, label)})
    return figures


def _in_domain(compared: Comparison, table: Table) -> dict[str, Any]:
    """What the template shows of one comparison: its table, and how top-1 grew."""
    shown = colours(list(compared.rows))
    figure, (axes,) = make_axes(1, 1, 5.0, 3.0)
    draw_held_out(axes, compared.rows, shown)
    axes.set_xlabel("training step")
    axes.set_ylabel("top-1, %")
    label = f"{compared.title}: top-1 on held-out pictures by training step"
    title = f"{len(compared.rows)} augmentations"
    curves = [{"title": title, "svg": as_svg(figure, label)}] if axes.lines else []
    legend = {row: PAGE_COLOURS.get(colour, colour) for row, colour in shown.items()}
    return {"table": table, "legend": legend, "curves": curves}


def _threshold_figures(
    setting: Setting, rows: Sequence[Row], pairs: Sequence[Pair], shown: Mapping[str, str]
) -> list[dict[str, str]]:
    figures = []
    for pair in pairs:
        figure, (axes,) = make_axes(1, 1, 3.6, 2.5)
        draw_h_curves(axes, [(row, shown[row.title]) for row in rows], pair)
        if not axes.lines:
            continue
        axes.set_xlabel("threshold of the unknown score")
        axes.set_ylabel("H-score, %")
        label = f"{setting.title}, {pair.name}: H-score by the threshold of the unknown score"
        figures.append({"title": _arrow(pair), "svg": as_svg(figure, label)})
    return figures


def _score_figure(made: Made) -> dict[str, str]:
    columns = min(len(made.by_row), 2)
    lines = -(-len(made.by_row) // columns)
    figure, panels = make_axes(lines, columns, 2.7, 1.9)
    for axes, (title, one) in zip(panels, made.by_row.items(), strict=False):
        draw_unknown_scores(axes, one)
        axes.set_title(title, fontsize=9)
    for axes in panels[len(made.by_row) :]:
        axes.set_visible(False)
    figure.supxlabel("unknown score", fontsize=9)
    figure.supylabel("pictures", fontsize=9)
    label = f"{made.pair.name}, seed {made.seed}: unknown scores of shared and private classes"
    return {"title": f"{_arrow(made.pair)}, seed {made.seed}", "svg": as_svg(figure, label)}


def _confusion_figures(made: Made) -> Iterator[dict[str, str]]:
    """Of the last two rows, which are an adapted one without and with augmentation."""
    for title, one in list(made.by_row.items())[-2:]:
        figure, (axes,) = make_axes(1, 1, 3.4, 3.6)
        draw_confusion(axes, one)
        axes.set_xlabel("called", fontsize=8)
        axes.set_ylabel("true class", fontsize=8)
        label = (
            f"{made.pair.name}, {title}, seed {made.seed}: true classes by what they were called"
        )
        heading = f"{_arrow(made.pair)}, {title}, seed {made.seed}"
        yield {"title": heading, "svg": as_svg(figure, label)}


def _samples(setting: Setting, made: Made, root: str) -> dict[str, Any]:
    """Sample pictures of the last row, by `KINDS`; or the line that says why there are none."""
    from uda.data.items import domain_items, paths_by_name

    title, one = list(made.by_row.items())[-1]
    shown: dict[str, Any] = {"title": f"{_arrow(made.pair)}, {title}, seed {made.seed}"}
    try:
        spec = load_dataset_spec(setting.dataset, root)
        paths = paths_by_name(domain_items(spec, made.pair.target), map(str, one.name))
        kinds = [
            {
                "title": text,
                "pictures": [_sample(one, row, paths) for row in one.surest(kind, SAMPLES)],
            }
            for kind, text in KINDS.items()
        ]
    except (ValueError, KeyError) as error:
        reason = f"no picture {error}" if isinstance(error, KeyError) else str(error)
        reason = reason.partition(";")[0]
        why = f"Not shown: {reason}; --root names the folder of the domains."
        return {**shown, "why": why}
    return {**shown, "kinds": kinds, "why": ""}


def _sample(made: Predictions, row: int, paths: Mapping[str, Path]) -> dict[str, str]:
    from genmix_aug.images import load_rgb, to_picture

    name = str(made.name[row])
    names = [*made.split.source_classes, "unknown"]
    true, called = name.split("/")[0], names[int(made.label[row])]
    return {
        "true": true,
        "called": called,
        "score": f"{made.score[row]:.2f}",
        "picture": _picture_uri(to_picture(load_rgb(paths[name], SAMPLE_PX))),
    }


def _again(title: str, runs: Sequence[Run]) -> dict[str, str]:
    """How the first run of a row is made again: its configuration and, where kept, its command."""
    run = runs[0]
    experiment = run.experiment_text
    place = shlex.quote(f"{run.folder.name}.yaml")
    commands = []
    if run.augmentation != "checkpoint":
        commands.append(f"uda train {place}")
    if run.is_adaptation:
        commands.append(f"uda adapt {place}")
    return {
        "title": title,
        "run": run.folder.name,
        "count": str(len(runs)),
        "command": "\n".join(commands) if experiment else "",
        "file": f"{run.folder.name}.yaml",
        "text": experiment or _yaml(run.config),
    }


def _arrow(pair: Pair) -> str:
    return f"{pair.source} → {pair.target}"


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def _reduced(path: Path, width: int) -> Image:
    """The picture in the file, no wider than ``width`` px. ValueError naming a broken one."""
    from genmix_aug.images import load_rgb, to_picture

    picture = to_picture(load_rgb(path))
    picture.thumbnail((width, 10 * width))
    return picture


def _picture_uri(picture: Image) -> str:
    """A picture as a data URI, WebP."""
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=82, method=4)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
