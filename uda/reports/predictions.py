"""What a run said of its target's pictures, read back for figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uda.data.scenarios import ClassSplit
from uda.evaluation.metrics import threshold_curve
from uda.runs.folder import Run


@dataclass(frozen=True)
class Predictions:
    """The last epoch's predictions on the N pictures of a target whose classes are known.

    ``rows`` int64 [N] are their rows among all pictures of the target.
    ``label`` int64 [N] in 0..K (K is unknown), ``true_label`` int64 [N] (from K on private),
    ``score`` float [N], the unknown score, and ``name`` [N], ``class/file``.
    """

    split: ClassSplit
    rows: NDArray[np.int64]
    label: NDArray[np.int64]
    true_label: NDArray[np.int64]
    score: NDArray[np.floating]
    name: NDArray[np.str_]

    @property
    def unknown(self) -> int:
        """K, the label that means unknown."""
        return len(self.split.source_classes)

    @property
    def private(self) -> NDArray[np.bool_]:
        """Which pictures are of target-private classes, [N]."""
        return self.true_label >= self.unknown

    @property
    def cut(self) -> float | None:
        """The unknown score between what was called known and what unknown.

        None where nothing was called one of the two, or where the score alone does not decide.
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
        curve = threshold_curve(
            self.true_label,
            classes[self.rows],
            score[self.rows],
            np.asarray(thresholds),
            len(self.split.shared),
            self.unknown,
        )
        return [point.h_score for point in curve]

    def confusion(self) -> tuple[NDArray[np.float64], list[str], list[str]]:
        """Shares of each true class's pictures by what they were called, and both sides' names.

        Rows: the shared classes, then all private ones as one, if there are any. Columns: the
        shared classes, then all that only the source has as one, if there are any, then unknown, if
        anything was called so or is. NaN in the row of a class without pictures.
        """
        shared = len(self.split.shared)
        true = np.where(self.private, shared, self.true_label)
        called = np.where(self.label >= shared, shared, self.label)
        called = np.where(self.label == self.unknown, shared + 1, called)
        counts = np.zeros((shared + 1, shared + 2))
        np.add.at(counts, (true, called), 1)
        open_set = bool(self.private.any() or (self.label == self.unknown).any())
        columns = [*range(shared)]
        if self.split.source_private:
            columns.append(shared)
        if open_set:
            columns.append(shared + 1)
        rows = [*range(shared), *([shared] if self.private.any() else [])]
        with np.errstate(invalid="ignore"):
            shares = counts / counts.sum(axis=1, keepdims=True)
        names = [*self.split.shared, "only in source", "unknown"]
        sides = [*self.split.shared, "private"]
        return shares[np.ix_(rows, columns)], [sides[k] for k in rows], [names[k] for k in columns]

    def surest(self, kind: str, count: int) -> list[int]:
        """Rows of ``count`` pictures, one a class as far as classes go, the surest first.

        ``found``: private ones called unknown; ``missed``: private ones taken for a known class;
        ``rejected``: shared ones called unknown.
        """
        said_unknown = self.label == self.unknown
        chosen = {
            "found": self.private & said_unknown,
            "missed": self.private & ~said_unknown,
            "rejected": ~self.private & said_unknown,
        }[kind]
        rows = np.flatnonzero(chosen)
        score = self.score[rows] if kind == "missed" else -self.score[rows]
        rows = rows[np.argsort(score, kind="stable")]
        turn: dict[int, int] = {}
        placed = []
        for place, row in enumerate(rows.tolist()):
            label = int(self.true_label[row])
            placed.append((turn.get(label, 0), place, row))
            turn[label] = turn.get(label, 0) + 1
        return [row for _, _, row in sorted(placed)[:count]]


def read_predictions(run: Run, split: ClassSplit) -> Predictions | None:
    """Return what ``run`` says of the target's labelled pictures.

    None where none has a label, or the run has kept no answers with labels.

    ValueError naming a file that is broken.
    """
    held = run.predictions()
    if held is None or not {"label", "unknown_score", "true_label"} <= held.keys():
        return None
    known = held["true_label"] >= 0
    if not known.any():
        return None
    return Predictions(
        split,
        np.flatnonzero(known),
        held["label"][known],
        held["true_label"][known],
        held["unknown_score"][known],
        held.get("name", np.full(len(known), ""))[known],
    )


class Roles(NamedTuple):
    """Which images [N] of a target are of private classes, and whether all have a label."""

    is_private: NDArray[np.bool_]
    complete: bool


def read_roles(run: Run) -> Roles:
    """Return the roles of all images of the run's target. ValueError where it has kept none."""
    answers = run.predictions()
    if answers is None:
        raise ValueError(f"{run.folder}: has kept no predictions")
    return Roles(answers["is_private"], bool((answers.get("true_label", np.zeros(1)) >= 0).all()))
