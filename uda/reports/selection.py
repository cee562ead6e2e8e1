"""How far choices made without labels fall short of the oracle's, over finished runs."""

from __future__ import annotations

import csv
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.evaluation.choices import (
    NOT_MEASURED,
    chosen_epochs,
    chosen_thresholds,
    last_probabilities,
)
from uda.evaluation.criteria import CRITERIA, THRESHOLDS, best_epoch
from uda.evaluation.metrics import SCORES
from uda.methods.unknown import normalised_entropy
from uda.reports.cells import Cell, Line, Table, mean_and_deviation
from uda.reports.predictions import read_predictions
from uda.reports.results import Board, Result, Row, Setting, has_labels
from uda.reports.rows import boards
from uda.reports.table_text import markdown, terminal
from uda.runs.files import atomic_path
from uda.runs.folder import Run
from uda.sweeps.record import results_folder, runs_and_plan

GRID = np.linspace(0, 1, 101)  # thresholds that the oracle tries
ANSWERS = ("pictures", "unknown")
NOTE = "Means over runs, in percent; ± is the standard deviation over runs."
EPOCHS, CUTS = ("last", *CRITERIA, "oracle"), ("fixed", *THRESHOLDS, "oracle")


def epoch_choices(run: Run) -> dict[str, tuple[int, float]]:
    """By criterion: the epoch it chooses, of those of adaptation, and that epoch's score (H-score,
    under PDA accuracy). ``last`` and ``oracle`` stand beside the criteria. ValueError for a run
    that has an undefined score, or has not kept its banks."""
    lines = [line for line in run.metrics("evaluate") if line["epoch"]]
    if not lines:
        raise ValueError("it has no epoch to choose from")
    main = "accuracy" if "accuracy" in lines[-1] else "h_score"
    scores = [line[main] for line in lines]
    if None in scores:
        why = "a score is undefined" if has_labels(lines) else "its target has no labels"
        raise ValueError(f"{why}, so there is no oracle to compare with")
    chosen = {**chosen_epochs(run), "oracle": best_epoch(scores)}
    return {name: (epoch, scores[epoch - 1]) for name, epoch in chosen.items()}


def epoch_table(setting: Setting, board: Board) -> Table | None:
    """The main score at the epoch that each criterion chooses, beside the last's and the oracle's:
    means over pairs and seeds. None where no run has kept its banks."""
    return _choice_table(
        f"{setting.title}: {SCORES[setting.main_score]} at chosen epochs",
        EPOCHS,
        {row.title: _scores(row, epoch_choices, at_least=3) for row in board.values()},
        "entropy, information and snd choose an epoch without labels",
    )


def threshold_table(setting: Setting, board: Board) -> Table | None:
    """The H-score at the threshold that each rule chooses, in the last epoch: means over pairs and
    seeds. None where no run has kept its banks, and under PDA."""
    if setting.scenario == "pda":
        return None
    return _choice_table(
        f"{setting.title}: {SCORES[setting.main_score]} at chosen thresholds",
        CUTS,
        {row.title: _scores(row, threshold_choices) for row in board.values()},
        "Thresholds of the entropy / log K, in the last epoch. mixture and two-means choose one"
        " without labels",
    )


def _scores(
    row: Row, choices_of: Callable[[Run], Mapping[str, tuple[float, float]]], at_least: int = 1
) -> list[dict[str, float]]:
    """By criterion the score of each run of ``row`` that has so many evaluations: the source
    model's, then one an epoch."""
    found = []
    for result in row.results:
        if len(result.lines) >= at_least:
            # Without banks, or without an oracle: not counted.
            with suppress(ValueError, OSError, KeyError):
                choices = choices_of(result.run)
                found.append({name: score for name, (_, score) in choices.items()})
    return found


def _choice_table(
    title: str, names: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, float]]], note: str
) -> Table | None:
    lines = []
    for row, scores in rows.items():
        if scores:
            means = [statistics.fmean(one[name] for one in scores) for name in names]
            lines.append(Line(row, tuple(Cell(f"{mean:.1f}") for mean in means)))
    counted = sum(map(len, rows.values()))
    runs = f"the {counted} runs that have" if counted > 1 else "the one run that has"
    note = f"Means over {runs} kept what it takes. {note} (docs/selection.md); the oracle has them."
    return Table(title, tuple(names), tuple(lines), (note,)) if lines else None


def unscored_tables(setting: Setting, board: Board) -> dict[str, Table]:
    """Of runs whose targets have no labels, a line a run: ``unscored``, how much is called unknown
    and what is not measured, and of those that have kept their banks the chosen ``epochs`` and
    ``thresholds`` themselves. None where every target has labels."""
    own = {
        f"{row.title}, {result.pair.name}, seed {result.seed}": result
        for row in board.values()
        for result in row.results
        if not has_labels(result.lines)
    }
    if not own:
        return {}
    answers = tuple(Line(title, _answer_cells(result.run)) for title, result in own.items())
    epochs, cuts = [], []
    for title, result in own.items():
        with suppress(ValueError, OSError, KeyError):  # no epoch, or has kept no banks
            chosen = chosen_epochs(result.run)
            epochs.append(Line(title, tuple(Cell(str(chosen[name])) for name in EPOCHS[:-1])))
            if setting.scenario != "pda":
                cuts.append(Line(title, tuple(_cut_cells(result.run))))
    which = f"Which classes the targets hold is not known; run as {setting.scenario.upper()}."
    best = ("No labels, so nothing says which is best (docs/selection.md).",)
    of = "Of the entropy / log K, in the last epoch; in brackets what lies above."
    parts = {
        "unscored": ("answers without labels", ANSWERS, answers, (NOT_MEASURED, which)),
        "epochs": ("epochs chosen without labels", EPOCHS[:-1], tuple(epochs), best),
        "thresholds": ("thresholds chosen without labels", CUTS[:-1], tuple(cuts), (of, *best)),
    }
    return {
        name: Table(f"{setting.title}: {title}", columns, lines, notes)
        for name, (title, columns, lines, notes) in parts.items()
        if lines
    }


def _answer_cells(run: Run) -> tuple[Cell, Cell]:
    answers = run.predictions()
    if answers is None:  # an unpacked run
        return Cell("–"), Cell("–")
    label, classes = answers["label"], run.classes()
    unknown = f"{int((label == len(classes)).sum()):,}" if classes else "–"
    return Cell(f"{len(label):,}"), Cell(unknown)


def _cut_cells(run: Run) -> Iterator[Cell]:
    probabilities = last_probabilities(run)
    entropy, cuts = normalised_entropy(probabilities), chosen_thresholds(run, probabilities)
    for name in CUTS[:-1]:
        share = 100 * (entropy > cuts[name]).double().mean().item()
        yield Cell(f"{cuts[name]:.2f} ({share:.0f} %)")


def threshold_choices(run: Run) -> dict[str, tuple[float, float]]:
    """By rule: the threshold on the last epoch's normalised entropy, and the H-score it gives.

    ``fixed`` is the method's own, ``oracle`` the best of a grid. Rules and oracle decide over the
    same entropies, whatever the method decides by. Of a finished run they are kept in its folder,
    thresholds.json. ValueError where the run has not kept its banks, or nothing in its target has a
    label.
    """
    kept = {name: (cut, score) for name, (cut, score) in (run.choices("thresholds") or {}).items()}
    if set(kept) == set(CUTS) and run.choices_are_newer("thresholds"):
        return kept
    probabilities = last_probabilities(run)
    split = class_split(load_dataset_spec(run.dataset), run.scenario)
    answers = read_predictions(run, split)
    if answers is None:
        raise ValueError("its target has no labels, so there is no oracle to compare with")
    score = normalised_entropy(probabilities).numpy()
    classes = probabilities.argmax(dim=1).numpy()
    cuts = chosen_thresholds(run, probabilities)
    grid = [*GRID, *cuts.values()]
    cuts["oracle"] = float(grid[int(np.argmax(answers.h_scores(classes, score, grid)))])
    scores = answers.h_scores(classes, score, list(cuts.values()))
    values = {name: (cut, h) for (name, cut), h in zip(cuts.items(), scores, strict=True)}
    run.save_choices("thresholds", values)
    return values


def write_selection(runs: Path, sweep: str = "", width: int = 0) -> str:
    """Write ``runs/selection.csv``, a line a (run, choice), and ``runs/selection.md``; the text for
    a terminal of ``width`` columns (its own if 0).

    Where one ``sweep`` is named only its runs count, and both are written into
    ``runs/sweeps/SWEEP`` instead. Finished adaptations that kept their banks count, others are
    named. Where a target has no labels, what is chosen stands without a score. ValueError where
    there is none.
    """
    rows: list[dict[str, Any]] = []
    tables: list[Table] = []
    passed_over = []
    found, plan = runs_and_plan(runs, sweep)
    for setting, board in boards(found, plan.expected if plan else ()).items():
        own: list[dict[str, Any]] = []
        for row in board.values():
            for result in row.results:
                if row.method == "source_only":
                    continue
                try:
                    own += list(_rows(setting, row, result))
                except (ValueError, OSError, KeyError) as error:  # no banks, or of old
                    passed_over.append(f"{result.run.folder.name} ({error})")
        rows += own
        tables += _tables(setting, own)
        if own:
            tables += unscored_tables(setting, board).values()
    if not rows:
        raise ValueError(
            f"{runs}: no finished adaptation in it has kept its banks"
            + (f": {passed_over[0]}" if passed_over else "; run `uda adapt` first")
        )
    out = results_folder(runs, sweep)
    with atomic_path(out / "selection.csv") as path, open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    rest = ""
    if passed_over:
        rest = f"Passed over: {len(passed_over)} runs, the first {passed_over[0]}.\n"
    with atomic_path(out / "selection.md") as path:
        path.write_text("\n".join([*map(markdown, tables), rest]))
    width = width or min(shutil.get_terminal_size((100, 24)).columns, 140)
    shown = [terminal(table, width) for table in tables]
    written = f"Written to {out / 'selection.md'}, every run's choices to selection.csv"
    return "\n".join([*shown, rest + written])


def _rows(setting: Setting, row: Row, result: Result) -> Iterator[dict[str, Any]]:
    about = {
        "dataset": setting.spec.name,
        "scenario": setting.scenario,
        "concepts": setting.concepts,
        "pair": f"{result.pair.source} → {result.pair.target}",
        "row": row.title,
        "seed": result.seed,
        "run": result.run.folder.name,
    }
    for name, (epoch, score) in _epochs(result).items():
        yield {**about, "choice": "epoch", "criterion": name, "chosen": epoch, "score": score}
    if setting.scenario != "pda":
        for name, (cut, score) in _cuts(result).items():
            choice = {"choice": "threshold", "criterion": name, "chosen": round(cut, 4)}
            yield {**about, **choice, "score": score}


def _epochs(result: Result) -> Mapping[str, tuple[int, float | None]]:
    """`epoch_choices`; without labels no oracle's and no scores."""
    if has_labels(result.lines):
        return epoch_choices(result.run)
    return {name: (epoch, None) for name, epoch in chosen_epochs(result.run).items()}


def _cuts(result: Result) -> Mapping[str, tuple[float, float | None]]:
    """`threshold_choices`; without labels no oracle's and no scores."""
    if has_labels(result.lines):
        return threshold_choices(result.run)
    cuts = chosen_thresholds(result.run, last_probabilities(result.run))
    return {name: (cut, None) for name, cut in cuts.items()}


def _tables(setting: Setting, rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """A table for what is chosen: a row as in the report's tables, a column a criterion."""
    for choice, names, what in (
        ("epoch", EPOCHS, "the epoch, at the method's own threshold"),
        ("threshold", CUTS, "the threshold of the entropy / log K, in the last epoch"),
    ):
        own = [row for row in rows if row["choice"] == choice and row["score"] is not None]
        if not own:
            continue
        titles = dict.fromkeys(row["row"] for row in own)
        lines = [
            _line(title, [row for row in own if row["row"] == title], names) for title in titles
        ]
        if len(titles) > 1:
            lines.append(_line("all", own, names))
        lines.append(_line("short of the oracle, all", own, names, short=True))
        yield Table(f"{setting.title}: choosing {what}", ("runs", *names), tuple(lines), (NOTE,))


def _line(
    title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str], short: bool = False
) -> Line:
    by_run: dict[str, dict[str, float]] = {}
    for row in rows:
        by_run.setdefault(row["run"], {})[row["criterion"]] = row["score"]
    cells = [Cell(str(len(by_run)))]
    for name in names:
        values = [run[name] - (run["oracle"] if short else 0) for run in by_run.values()]
        text = mean_and_deviation(values) if short else f"{statistics.fmean(values):.1f}"
        cells.append(Cell(text.replace("-", "−")))
    return Line(title, tuple(cells))
