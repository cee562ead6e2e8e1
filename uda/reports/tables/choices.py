"""Tables of epochs and thresholds that are chosen without labels."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress

from uda.evaluation.choices import (
    NOT_MEASURED,
    chosen_epochs,
    chosen_thresholds,
    last_probabilities,
    last_scores,
)
from uda.evaluation.evaluate import read_answers
from uda.evaluation.metrics import SCORES
from uda.reports.choices import CUTS, EPOCH, EPOCHS, THRESHOLD, Choice, purities
from uda.reports.results import Board, Result, Setting, has_labels
from uda.reports.tables.table import Cell, Line, Table, mean_and_deviation
from uda.runs.folder import Run

# By the title of its row, for each run: the score at what each criterion chooses.
Scores = Mapping[str, Sequence[Mapping[str, float]]]

COMPARED = {
    "epoch": "the epoch, at the method's own threshold",
    "threshold": "the threshold of the entropy / log K, in the last epoch",
}
NOTES = {
    "epoch": "entropy, information and snd choose an epoch without labels",
    "threshold": "Thresholds of the entropy / log K, in the last epoch. mixture and two-means"
    " choose one without labels",
}
# Titles of `uda.reports.choices.purities`.
PURITIES = {
    "source model": "source model",
    "last epoch": "last epoch",
    "chosen": "by adapt.neighbours",
}
PURITY_NOTE = (
    "Share of a target picture's five nearest by cosine (in the last column, of those that the"
    " losses were given) that are of its class, in percent, over all the target's classes; means"
    " over pairs and seeds. Losses that teach from neighbours teach what these are of"
    " (docs/methods.md)."
)


def epoch_table(setting: Setting, board: Board) -> Table | None:
    """Return the main score at the epoch that each criterion chooses, the last's and the oracle's.

    Means over pairs and seeds. None where no run has kept its banks.
    """
    return _choice_table(setting, EPOCH, board, fewest=3)


def threshold_table(setting: Setting, board: Board) -> Table | None:
    """Return the H-score at the threshold that each rule chooses, in the last epoch.

    Means over pairs and seeds. None where no run has kept its banks, and under PDA.
    """
    return None if setting.scenario == "pda" else _choice_table(setting, THRESHOLD, board)


def purity_table(setting: Setting, board: Board) -> Table | None:
    """Return how many of the pictures' neighbours are right, before and after adaptation.

    Means over pairs and seeds. None where no run has kept its banks. Answering anew moves no
    feature, so its rows are left out.
    """
    lines = []
    for title, row in board.items():
        found = []
        for result in row.results:
            if not result.run.answer:
                with suppress(ValueError, OSError, KeyError):  # without banks, or without labels
                    found.append(purities(result.run))
        if found:
            columns = [[run[name] for run in found if name in run] for name in PURITIES]
            means = (f"{statistics.fmean(values):.1f}" if values else "–" for values in columns)
            lines.append(Line(title, tuple(map(Cell, means))))
    title = f"{setting.title}: neighbours of the same class"
    return Table(title, tuple(PURITIES.values()), tuple(lines), (PURITY_NOTE,)) if lines else None


def _choice_table(setting: Setting, choice: Choice, board: Board, fewest: int = 1) -> Table | None:
    """Return the means over the runs that have at least ``fewest`` evaluations: the source
    model's, then those of their epochs."""
    scores: dict[str, list[dict[str, float]]] = {row: [] for row in board}
    for title, row in board.items():
        for result in row.results:
            if len(result.lines) >= fewest:
                # Without banks, or without an oracle: not counted.
                with suppress(ValueError, OSError, KeyError):
                    chosen = choice.with_scores(result.run)
                    scores[title].append({name: score for name, (_, score) in chosen.items()})
    lines = _mean_lines(scores, choice.criteria)
    counted = sum(map(len, scores.values()))
    runs = f"the {counted} runs that have" if counted > 1 else "the one run that has"
    note = (
        f"Means over {runs} kept what it takes. {NOTES[choice.name]} (docs/selection.md); the"
        " oracle has them."
    )
    title = f"{setting.title}: {SCORES[setting.main_score]} at chosen {choice.name}s"
    return Table(title, choice.criteria, lines, (note,)) if lines else None


def selection_table(setting: Setting, choice: Choice, scores: Scores) -> Table | None:
    """Return the means over runs of the ``scores``, their numbers, and how far each criterion
    falls short of the oracle. None without a run that has scores."""
    scored = {title: [run for run in runs if run] for title, runs in scores.items()}
    scores = {title: runs for title, runs in scored.items() if runs}
    every = [run for runs in scores.values() for run in runs]
    if not every:
        return None
    groups = {**scores, "all": every} if len(scores) > 1 else scores
    lines = [
        Line(line.title, (Cell(str(len(groups[line.title]))), *line.cells))
        for line in _mean_lines(groups, choice.criteria)
    ]
    gaps = [[run[name] - run["oracle"] for run in every] for name in choice.criteria]
    cells = (Cell(mean_and_deviation(values).replace("-", "−")) for values in gaps)
    lines.append(Line("short of the oracle, all", (Cell(str(len(every))), *cells)))
    return Table(
        f"{setting.title}: choosing {COMPARED[choice.name]}",
        ("runs", *choice.criteria),
        tuple(lines),
        ("Means over runs, in percent; ± is the standard deviation over runs.",),
    )


def _mean_lines(scores: Scores, criteria: Sequence[str]) -> tuple[Line, ...]:
    """Return a line of means for each row that has runs."""
    return tuple(
        Line(
            title,
            tuple(Cell(f"{statistics.fmean(run[name] for run in runs):.1f}") for name in criteria),
        )
        for title, runs in scores.items()
        if runs
    )


def unscored_tables(setting: Setting, board: Board) -> dict[str, Table]:
    """Return tables of the runs whose targets have no labels, a line for each run.

    ``unscored``: how much is called unknown, and what is not measured; of the runs that have kept
    their banks the chosen ``epochs`` and ``thresholds`` themselves. Empty where every target has
    labels.
    """
    results = {
        f"{row.title}, {result.pair.name}, seed {result.seed}": result
        for row in board.values()
        for result in row.results
        if not has_labels(result.lines)
    }
    if not results:
        return {}
    answers = tuple(Line(title, _answer_cells(r.run)) for title, r in results.items())
    epochs, cuts = _chosen_lines(setting, results)
    which = f"Which classes the targets hold is not known; run as {setting.scenario.upper()}."
    best = ("No labels, so nothing says which is best (docs/selection.md).",)
    of = "Of the entropy / log K, in the last epoch; in brackets what lies above."
    parts = {
        "unscored": (
            *("answers without labels", ("pictures", "unknown"), answers),
            (NOT_MEASURED, which),
        ),
        "epochs": ("epochs chosen without labels", EPOCHS[:-1], epochs, best),
        "thresholds": ("thresholds chosen without labels", CUTS[:-1], cuts, (of, *best)),
    }
    return {
        name: Table(f"{setting.title}: {title}", columns, lines, notes)
        for name, (title, columns, lines, notes) in parts.items()
        if lines
    }


def _chosen_lines(
    setting: Setting, results: Mapping[str, Result]
) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """Return the chosen epochs and the chosen thresholds of the runs that have kept their banks."""
    epochs, cuts = [], []
    for title, result in results.items():
        with suppress(ValueError, OSError, KeyError):  # no epoch, or has kept no banks
            chosen = chosen_epochs(result.run)
            epochs.append(Line(title, tuple(Cell(str(chosen[name])) for name in EPOCHS[:-1])))
            if setting.scenario != "pda":
                cuts.append(Line(title, _cut_cells(result.run)))
    return tuple(epochs), tuple(cuts)


def _answer_cells(run: Run) -> tuple[Cell, Cell]:
    answers = read_answers(run)
    if answers is None:  # an unpacked run
        return Cell("–"), Cell("–")
    label, classes = answers["label"], run.classes()
    unknown = f"{int((label == len(classes)).sum()):,}" if classes else "–"
    return Cell(f"{len(label):,}"), Cell(unknown)


def _cut_cells(run: Run) -> tuple[Cell, ...]:
    probabilities = last_probabilities(run)
    score, cuts = last_scores(run, probabilities), chosen_thresholds(run, probabilities)
    above = {name: 100 * float((score > cuts[name]).mean()) for name in CUTS[:-1]}
    return tuple(Cell(f"{cuts[name]:.2f} ({share:.0f} %)") for name, share in above.items())
