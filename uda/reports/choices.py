"""What criteria choose of a finished run without labels, and the scores that it gets, beside the
oracle's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from uda.data.spec import load_dataset_spec
from uda.evaluation.choices import (
    chosen_epochs,
    chosen_thresholds,
    last_probabilities,
    last_scores,
)
from uda.evaluation.criteria import CRITERIA, THRESHOLDS, best_epoch
from uda.reports.predictions import read_predictions
from uda.reports.results import Result, has_labels
from uda.runs.folder import Run

GRID = np.linspace(0, 1, 101)  # thresholds that the oracle tries
EPOCHS, CUTS = ("last", *CRITERIA, "oracle"), ("fixed", *THRESHOLDS, "oracle")


def epoch_choices(run: Run) -> dict[str, tuple[int, float]]:
    """Return by criterion the epoch of adaptation that it chooses, and that epoch's score.

    The score is the H-score, under PDA accuracy. ``last`` and ``oracle`` stand beside the criteria.

    Raises:
        ValueError: for a run that has an undefined score, or has not kept its banks.
    """
    lines = [line for line in run.metrics("evaluate") if line["epoch"]]
    if not lines:
        raise ValueError("it has no epoch to choose from")
    main = "accuracy" if "accuracy" in lines[-1] else "h_score"
    scores: list[Any] = [line.get(main) for line in lines]
    if None in scores:
        why = "a score is undefined" if has_labels(lines) else "its target has no labels"
        raise ValueError(f"{why}, so there is no oracle to compare with")
    epochs = {**chosen_epochs(run), "oracle": best_epoch(scores)}
    return {name: (epoch, scores[epoch - 1]) for name, epoch in epochs.items()}


def threshold_choices(run: Run) -> dict[str, tuple[float, float]]:
    """Return by rule the threshold on the last epoch's unknown score, and the H-score it gives.

    ``fixed`` is the method's threshold, ``oracle`` the best of a grid. Rules and oracle decide over
    the same scores (`uda.evaluation.choices.last_scores`), whatever the method decides by. Those of
    a finished run are kept in its folder.

    Raises:
        ValueError: where the run has not kept its banks, or nothing in its target has a label.
    """
    stored = run.choices("thresholds") or {}
    kept = {name: (pair[0], pair[1]) for name, pair in stored.items() if len(pair) == 2}
    if set(kept) == set(CUTS) and run.choices_are_newer("thresholds"):
        return kept
    probabilities = last_probabilities(run)
    answers = read_predictions(run, load_dataset_spec(run.dataset))
    if answers is None:
        raise ValueError("its target has no labels, so there is no oracle to compare with")
    score = last_scores(run, probabilities)
    classes = probabilities.argmax(dim=1).numpy()
    cuts = chosen_thresholds(run, probabilities)
    grid = [*GRID, *cuts.values()]
    cuts["oracle"] = float(grid[int(np.argmax(answers.h_scores(classes, score, grid)))])
    scores = answers.h_scores(classes, score, list(cuts.values()))
    values = {name: (cut, h) for (name, cut), h in zip(cuts.items(), scores, strict=True)}
    run.save_choices("thresholds", values)
    return values


def purities(run: Run) -> dict[str, float]:
    """Return `uda.reports.predictions.Predictions.purity` of the run's features, by name.

    They are those of the ``source model`` and of the ``last epoch``; ``chosen`` is how many of the
    neighbours that `adapt.neighbours` named are right, where it did. Those of a finished run are
    kept in its folder.

    Raises:
        ValueError: where the run has not kept its banks, or at most one picture has a label.
    """
    stored = run.choices("purity") or {}
    if {"source model", "last epoch"} <= stored.keys() and all(map(len, stored.values())):
        return {name: values[0] for name, values in stored.items()}
    answers = read_predictions(run, load_dataset_spec(run.dataset))
    if answers is None or len(answers.rows) < 2:
        raise ValueError("its target has no labels, so nothing says which neighbours are right")
    last = run.metrics("evaluate")[-1]["epoch"]
    epochs = {"source model": 0, "last epoch": last}
    values = {
        name: answers.purity(run.bank(epoch, ["features"])[0]) for name, epoch in epochs.items()
    }
    for line in run.metrics("neighbours"):
        values["chosen"] = line["purity"]
    run.save_choices("purity", {name: [value] for name, value in values.items()})
    return values


@dataclass(frozen=True)
class Choice:
    """Something to choose of a run: its epoch, or its threshold.

    ``criteria`` end with the oracle. ``with_scores`` needs labels, ``without_scores`` does not.
    """

    name: str
    criteria: tuple[str, ...]
    with_scores: Callable[[Run], Mapping[str, tuple[float, float]]]
    without_scores: Callable[[Run], Mapping[str, float]]

    def of(self, result: Result) -> Mapping[str, tuple[float, float | None]]:
        """Return by criterion what it chooses, and the score; without labels no oracle's and no
        scores.

        Raises:
            ValueError: for a run that has nothing to choose from, or has not kept its banks.
        """
        if has_labels(result.lines):
            return self.with_scores(result.run)
        return {name: (value, None) for name, value in self.without_scores(result.run).items()}


EPOCH = Choice("epoch", EPOCHS, epoch_choices, chosen_epochs)
THRESHOLD = Choice(
    *("threshold", CUTS, threshold_choices),
    lambda run: chosen_thresholds(run, last_probabilities(run)),
)


def choices_under(scenario: str) -> tuple[Choice, ...]:
    """Return what can be chosen under a scenario: PDA has no threshold."""
    return (EPOCH,) if scenario == "pda" else (EPOCH, THRESHOLD)
