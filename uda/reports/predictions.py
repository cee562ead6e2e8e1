"""What runs predicted on their targets, with the target's labels.

The only file of the reports that reads target labels; others see what its methods return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from uda.data.scenarios import ClassSplit, OtherClassesError, split_of_run
from uda.data.spec import DatasetSpec
from uda.evaluation.evaluate import read_answers
from uda.evaluation.metrics import neighbour_purity, threshold_curve
from uda.methods.geometry import nearest_others
from uda.runs.folder import Run

NEIGHBOURS = 5
SHARED, PRIVATE = "shared classes", "target-private classes"
NAMES_OF_ROLES = {False: SHARED, True: PRIVATE}


class Confusion(NamedTuple):
    """Shares of each true class (a row) by what its images were called (a column).

    ``shares`` [rows, columns] sum to 1 over a row, and are NaN in that of a class without images.
    """

    shares: NDArray[np.float64]
    rows: list[str]
    columns: list[str]


@dataclass(frozen=True)
class Predictions:
    """The last epoch's predictions on the N images of a target whose classes are known.

    ``rows`` int64 [N] are their rows among all images of the target.
    ``label`` int64 [N] in 0..K (K is unknown), ``true_label`` int64 [N] (from K on private),
    ``score`` float [N], the unknown score, and ``name`` [N], ``class/file``. ``run`` made them.
    """

    split: ClassSplit
    rows: NDArray[np.int64]
    label: NDArray[np.int64]
    true_label: NDArray[np.int64]
    score: NDArray[np.floating]
    name: NDArray[np.str_]
    run: Run

    @property
    def unknown(self) -> int:
        """K, the label that means unknown."""
        return len(self.split.source_classes)

    @property
    def private(self) -> NDArray[np.bool_]:
        """Which images are of target-private classes, [N]."""
        return self.true_label >= self.unknown

    @property
    def has_private(self) -> bool:
        """Whether any image is of a target-private class."""
        return bool(self.private.any())

    @property
    def scores_by_role(self) -> dict[str, NDArray[np.floating]]:
        """The unknown scores of `SHARED` and `PRIVATE` classes, as far as there are images."""
        scores = {
            name: self.score[self.private == private] for private, name in NAMES_OF_ROLES.items()
        }
        return {name: values for name, values in scores.items() if len(values)}

    @property
    def cut(self) -> float | None:
        """The unknown score between what was called known and what unknown.

        None where nothing was called either of the two, or where the score alone does not decide.
        """
        rejected = self.label == self.unknown
        if not rejected.any() or rejected.all():
            return None
        below, above = float(self.score[~rejected].max()), float(self.score[rejected].min())
        return (below + above) / 2 if below <= above else None

    def h_scores(
        self,
        classes: NDArray[np.int64],
        score: NDArray[np.floating],
        thresholds: Sequence[float],
    ) -> list[float]:
        """Return the H-score at each of ``thresholds`` on ``score`` [target], in percent.

        ``classes`` [target] are the most probable ones. Both are of the whole target, those without
        labels included.
        """
        self._check_bank(len(classes))
        curve = threshold_curve(
            self.true_label,
            classes[self.rows],
            score[self.rows],
            np.asarray(thresholds),
            len(self.split.shared),
            self.unknown,
        )
        return [point.h_score for point in curve]

    def purity(self, features: NDArray[np.floating]) -> float:
        """Return how many of each image's `NEIGHBOURS` nearest are of its class, in percent.

        Classes are all of the target's, private ones too. ``features`` [target, D] are of the whole
        target; NaN where a single image has a label.
        """
        self._check_bank(len(features))
        labelled = torch.from_numpy(features[self.rows]).float()
        near = nearest_others(labelled, min(NEIGHBOURS, len(labelled) - 1))
        return neighbour_purity(near.numpy(), self.true_label)

    def _check_bank(self, count: int) -> None:
        """Raise ValueError where a bank of ``count`` images is not of these."""
        if len(self.rows) and count <= self.rows.max():
            raise ValueError(f"{self.run.folder}: its bank is of other pictures than its answers")

    def confusion(self) -> Confusion:
        """Return the confusion matrix.

        Rows: the shared classes, then all private ones together, if any has images. Columns: the
        shared classes, then together all that only the source has, if any, then unknown, if any
        image is predicted or truly unknown.
        """
        shared = len(self.split.shared)
        true = np.where(self.private, shared, self.true_label)
        called = np.where(self.label >= shared, shared, self.label)
        called = np.where(self.label == self.unknown, shared + 1, called)
        counts = np.zeros((shared + 1, shared + 2))
        np.add.at(counts, (true, called), 1)
        rows, columns = [*range(shared)], [*range(shared)]
        if self.has_private:
            rows.append(shared)
        if self.split.source_private:
            columns.append(shared)
        if self.has_private or (self.label == self.unknown).any():
            columns.append(shared + 1)
        with np.errstate(invalid="ignore"):
            shares = counts / counts.sum(axis=1, keepdims=True)
        true_names = [*self.split.shared, "private"]
        called_names = [*self.split.shared, "only in source", "unknown"]
        return Confusion(
            shares[np.ix_(rows, columns)],
            [true_names[k] for k in rows],
            [called_names[k] for k in columns],
        )

    def surest(self, kind: str, count: int) -> list[int]:
        """Return ``count`` rows of a kind, the surest first, round-robin over the classes.

        Args:
            kind: ``detected`` (private and called unknown), ``missed`` (private and called a known
                class) or ``rejected`` (shared and called unknown).
        """
        called_unknown = self.label == self.unknown
        chosen = {
            "detected": self.private & called_unknown,
            "missed": self.private & ~called_unknown,
            "rejected": ~self.private & called_unknown,
        }[kind]
        rows = np.flatnonzero(chosen)
        score = self.score[rows] if kind == "missed" else -self.score[rows]
        rows = rows[np.argsort(score, kind="stable")]
        rounds: dict[int, int] = {}
        ranked = []
        for rank, row in enumerate(rows.tolist()):
            label = int(self.true_label[row])
            ranked.append((rounds.get(label, 0), rank, row))
            rounds[label] = rounds.get(label, 0) + 1
        return [row for _, _, row in sorted(ranked)[:count]]


def read_predictions(run: Run, spec: DatasetSpec) -> Predictions | None:
    """Return what ``run`` predicts on the target's labelled images.

    None where no image has a label, or the run has kept no predictions with labels.

    Raises:
        OtherClassesError: naming a class that the dataset has no more, or in another role.
        ValueError: naming a file that is broken.
    """
    answers = read_answers(run)
    if answers is None or not {"label", "unknown_score", "true_label"} <= answers.keys():
        return None
    known = answers["true_label"] >= 0
    if not known.any():
        return None
    split = split_of_run(run, spec)
    _check_range(run, split, answers["label"], answers["true_label"])
    names, shared = split.source_classes, len(split.shared)
    if wrong := sorted({*answers["true_label"].tolist()} & {*range(shared, len(names))}):
        raise OtherClassesError(
            f"{run.folder}: its target has {names[wrong[0]]!r}, a class of the source alone in "
            f"{spec.name} by now; restore the dataset's scenario, or move the run elsewhere"
        )
    return Predictions(
        split,
        np.flatnonzero(known),
        answers["label"][known],
        answers["true_label"][known],
        answers["unknown_score"][known],
        answers.get("name", np.full(len(known), ""))[known],
        run,
    )


def _check_range(
    run: Run, split: ClassSplit, label: NDArray[np.integer], true_label: NDArray[np.integer]
) -> None:
    """Raise OtherClassesError naming the run unless its predictions and labels are of its classes.

    They are not where the dataset has lost private classes.
    """
    most = {"label": len(split.source_classes), "true_label": len(split.number) - 1}
    for (name, limit), values in zip(most.items(), (label, true_label), strict=True):
        least = -1 if name == "true_label" else 0
        if len(values) and not (least <= values.min() and values.max() <= limit):
            raise OtherClassesError(
                f"{run.folder}: its predictions' {name} goes from {values.min()} to "
                f"{values.max()}, where {least} to {limit} is expected; adapt again"
            )


def split_by_role(run: Run, values: NDArray[np.floating]) -> Mapping[str, NDArray[np.floating]]:
    """Return a target's ``values`` [N], a value for each image, by the role of the image's class.

    `SHARED` and `PRIVATE`; without private classes `SHARED` alone, or "all pictures" where some
    have no label.

    Raises:
        ValueError: where the run has kept no predictions.
    """
    answers = read_answers(run)
    if answers is None:
        raise ValueError(f"{run.folder}: has kept no predictions")
    private = answers.get("is_private", np.zeros(0, bool))
    if len(private) != len(values):
        raise ValueError(f"{run.folder}: its predictions are not of its {len(values)} pictures")
    if private.any():
        return {SHARED: values[~private], PRIVATE: values[private]}
    all_labelled = bool((answers.get("true_label", np.zeros(1)) >= 0).all())
    return {SHARED if all_labelled else "all pictures": values}
