"""What is chosen of a finished adaptation without labels: its epoch, and its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from uda.evaluation.criteria import CRITERIA, THRESHOLDS, best_epoch
from uda.evaluation.evaluate import read_answers
from uda.methods import METHODS
from uda.methods.unknown import normalised_entropy
from uda.runs.folder import Run
from uda.training.bank import read_probabilities


def chosen_epochs(run: Run) -> dict[str, int]:
    """Return the ``last`` epoch, and the epoch that each of `CRITERIA` chooses.

    Raises ValueError naming a run that has no epoch of adaptation, or has not kept its banks.
    """
    epochs = [line["epoch"] for line in run.metrics("evaluate") if line["epoch"]]
    if not epochs:
        raise ValueError(f"{run.folder}: has no epoch to choose from")
    values = criteria_of(run, epochs)
    return {
        "last": len(epochs),
        **{name: best_epoch(by_epoch) for name, by_epoch in values.items()},
    }


def last_probabilities(run: Run) -> Tensor:
    """Return the last epoch's probabilities [N, K]. Raises ValueError for a run without banks."""
    lines = run.metrics("evaluate")
    if not lines:
        raise ValueError(f"{run.folder}: has no epoch to choose from")
    return read_probabilities(run, lines[-1]["epoch"])


def last_scores(run: Run, probabilities: Tensor) -> NDArray[np.floating[Any]]:
    """Return the unknown scores [N] that thresholds are chosen of, float.

    They are the entropies / log K of ``probabilities``, which are `last_probabilities`; or the
    run's, if it answers by another score. Raises ValueError where it has lost these.
    """
    kind = run.answer.get("score", "method")
    own = kind == "method" and METHODS[run.method].own_score
    # Co-learn's probabilities are others than those whose entropy was the score.
    if kind in ("method", "entropy") and not own and "labels" not in run.answer:
        return normalised_entropy(probabilities).numpy()
    answers = read_answers(run)
    if answers is None or "unknown_score" not in answers:
        raise ValueError(f"{run.folder}: has kept no predictions, and so no unknown scores")
    scores: NDArray[np.floating[Any]] = answers["unknown_score"]
    return scores


def chosen_thresholds(run: Run, probabilities: Tensor) -> dict[str, float]:
    """Return thresholds on the `last_scores` of a run.

    ``fixed`` is what the run went by; the others are those that each of `THRESHOLDS` chooses.
    Raises ValueError where a threshold was decided over the target and the run has no predictions.
    """
    fixed = None if "threshold" in run.answer else run.entropy_threshold
    if fixed is None:
        cut = decided_threshold(run, probabilities.shape[1])
        fixed = 1.0 if cut is None else cut
    score = last_scores(run, probabilities)
    return {"fixed": fixed, **{name: choose(score) for name, choose in THRESHOLDS.items()}}


def decided_threshold(run: Run, num_classes: int) -> float | None:
    """Return the threshold that a rule came to; None where it called nothing unknown.

    The source stage's is kept with the run. Of a rule over the whole target (SHOT-O's, two-means)
    it is the middle between the highest unknown score of what it called known and the lowest of
    what it called unknown. Raises ValueError where the run has kept neither.
    """
    if (cut := run.source_cut()) is not None:
        return cut
    answers = read_answers(run)
    if answers is None:
        raise ValueError(f"{run.folder}: has kept no predictions, and there is no other threshold")
    if not {"unknown_score", "label"} <= answers.keys():
        raise ValueError(f"{run.folder}: its predictions lack labels or unknown scores")
    score, unknown = answers["unknown_score"], answers["label"] == num_classes
    if not unknown.any():
        return None
    highest_known = score[~unknown].max(initial=0.0)
    return float((highest_known + score[unknown].min()) / 2)


def criteria_of(run: Run, epochs: Sequence[int]) -> dict[str, list[float]]:
    """Return each criterion's value in each of ``epochs``; a finished run keeps them.

    Raises ValueError naming a run that has not kept its banks.
    """
    kept = run.choices("criteria") or {}
    if kept.keys() == CRITERIA.keys() and all(
        len(values) == len(epochs) for values in kept.values()
    ):
        return kept
    banks = [read_probabilities(run, epoch) for epoch in epochs]
    values = {name: [value(bank) for bank in banks] for name, value in CRITERIA.items()}
    run.save_choices("criteria", values)
    return values


NOT_MEASURED = (
    "Not measured, for want of target labels: how many answers are right (accuracy, H-score), and "
    "whether what is called unknown is of no class of the source."
)
