"""What is chosen of a finished adaptation without labels: its epoch, and its threshold."""

from __future__ import annotations

import json
from collections.abc import Sequence

from torch import Tensor

from uda.adapt import read_probabilities
from uda.methods.base import normalised_entropy
from uda.runs import Run, atomic_path
from uda.selection import CRITERIA, THRESHOLDS, best_epoch


def chosen_epochs(run: Run) -> dict[str, int]:
    """The ``last`` epoch, and the one that each of `uda.selection.CRITERIA` chooses. ValueError
    naming a run that has no epoch of adaptation, or has not kept its banks."""
    epochs = [line["epoch"] for line in run.metrics("evaluate") if line["epoch"]]
    if not epochs:
        raise ValueError(f"{run.folder}: has no epoch to choose from")
    values = criteria_of(run, epochs)
    return {"last": len(epochs), **{name: best_epoch(own) for name, own in values.items()}}


def last_probabilities(run: Run) -> Tensor:
    """The last epoch's probabilities [N, K]. ValueError naming a run that has kept no banks."""
    return read_probabilities(run, run.metrics("evaluate")[-1]["epoch"])


def chosen_thresholds(run: Run, probabilities: Tensor) -> dict[str, float]:
    """Thresholds on the entropy / log K of the run's `last_probabilities`: ``fixed``, the method's
    own (0.55 where it has none), and what each of `uda.selection.THRESHOLDS` chooses."""
    fixed = run.config["adapt"].get("options", {}).get("entropy_threshold", 0.55)
    score = normalised_entropy(probabilities).numpy()
    return {"fixed": fixed, **{name: of(score) for name, of in THRESHOLDS.items()}}


def criteria_of(run: Run, epochs: Sequence[int]) -> dict[str, list[float]]:
    """By criterion: its value in each of ``epochs``. Of a finished run they are kept in its folder,
    criteria.json. ValueError naming the run that has not kept its banks."""
    path = run.folder / "criteria.json"
    if path.is_file():
        kept: dict[str, list[float]] = json.loads(path.read_text())
        if kept.keys() == CRITERIA.keys() and all(len(own) == len(epochs) for own in kept.values()):
            return kept
    each = [read_probabilities(run, epoch) for epoch in epochs]
    values = {name: [of(own) for own in each] for name, of in CRITERIA.items()}
    if run.is_done:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(values))
    return values
