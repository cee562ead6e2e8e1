"""Scores of predictions on a target, and what reports need of its labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from uda.data.items import Item, picture_names
from uda.data.pixels import labels_of
from uda.data.scenarios import ClassSplit
from uda.evaluation.metrics import (
    CURVE,
    accuracy,
    calibration_error,
    h3_score,
    neighbour_purity,
    open_set_scores,
    oscr,
    per_class_accuracy,
    private_nmi,
    threshold_curve,
    top_k_accuracy,
    unknown_auroc,
)
from uda.methods.base import Bank
from uda.methods.unknown import Prediction
from uda.runs.folder import Run

# The kinds of types that the arrays of `answers` have, as NumPy calls them.
KINDS = {
    "label": "iu",
    "true_label": "iu",
    "is_private": "b",
    "unknown_score": "f",
    "name": "U",
}


def target_scores(
    items: Sequence[Item], split: ClassSplit, scenario: str, prediction: Prediction, bank: Bank
) -> dict[str, Any]:
    """Return the scores in percent of ``prediction`` on the target ``items``.

    Args:
        items: The target's, in the order of ``prediction``. Those whose class nobody knows are not
            scored.
        split: The classes by role.
        scenario: opda, osda or pda.
        prediction: Of all items.
        bank: What it was made of.

    Returns:
        Under OSDA and OPDA h_score, known_acc, unknown_acc; of the unknown score auroc and oscr;
        h3_score and the private_nmi in it; h_curve, the H-score where unknown is what exceeds each
        of `uda.evaluation.metrics.CURVE`; ``empty_classes``, shared classes without a sample. Under
        PDA accuracy. Always ``per_class`` accuracies by name (`class_table`) and ``num_images``,
        the images scored. None stands for an undefined score.
    """
    per_class = {name: _defined(value) for name, _, value in class_table(items, split, prediction)}
    labels = labels_of(items, split.number)
    scored = labels >= 0
    labels, predicted = labels[scored], prediction.label.cpu().numpy()[scored]
    shared, source = len(split.shared), len(split.source_classes)
    if scenario == "pda":
        return {
            "accuracy": _defined(accuracy(labels, predicted)),
            "per_class": per_class,
            "num_images": len(labels),
        }
    scores = open_set_scores(labels, predicted, shared, source)
    private, unknown_score = labels >= source, prediction.unknown_score.cpu().numpy()[scored]
    nearest = bank.probabilities.argmax(dim=1).cpu().numpy()[scored]
    curve = threshold_curve(labels, nearest, unknown_score, np.array(CURVE), shared, source)
    nmi = private_nmi(bank.features.cpu().numpy()[scored][private], labels[private])
    return {
        "h_score": _defined(scores.h_score),
        "known_acc": _defined(scores.known_acc),
        "unknown_acc": _defined(scores.unknown_acc),
        "auroc": _defined(unknown_auroc(private, unknown_score)),
        "oscr": _defined(oscr(nearest == labels, private, unknown_score)),
        "h3_score": _defined(h3_score(scores.known_acc, scores.unknown_acc, nmi)),
        "private_nmi": _defined(nmi),
        "h_curve": [_defined(point.h_score) for point in curve],
        "per_class": per_class,
        "empty_classes": [split.shared[k] for k in scores.empty_classes if len(labels)],
        "num_images": len(labels),
    }


def class_table(
    items: Sequence[Item], split: ClassSplit, prediction: Prediction
) -> list[tuple[str, int, float]]:
    """Return (class, images, accuracy in percent) of each target class.

    Of a private class, it is the share called unknown. NaN for a class without images.
    """
    labels = labels_of(items, split.number)
    predicted = prediction.label.cpu().numpy()[labels >= 0]
    labels = labels[labels >= 0]
    source = len(split.source_classes)
    # A private sample is right when it is called unknown, whatever its class.
    right_label = np.where((labels >= source) & (predicted == source), labels, predicted)
    per_class = per_class_accuracy(labels, right_label, len(split.number))
    counts = np.bincount(labels, minlength=len(split.number))
    return [
        (name, int(counts[k]), float(per_class[k]))
        for name, k in split.number.items()
        if name in split.target_classes
    ]


def neighbours_purity(items: Sequence[Item], split: ClassSplit, near: Tensor) -> float | None:
    """Return `uda.evaluation.metrics.neighbour_purity` of the target's ``near`` int64 [N, n].

    None where nothing has a label.
    """
    return _defined(neighbour_purity(near.cpu().numpy(), labels_of(items, split.number)))


def held_out_scores(items: Sequence[Item], split: ClassSplit, bank: Bank) -> dict[str, Any]:
    """Return an in-domain classifier's scores in percent on held-out ``items``.

    They are top-1 and top-5 accuracy and the calibration error.
    """
    labels = labels_of(items, split.number)
    probabilities = bank.probabilities.cpu().numpy()
    return {
        "top1": _defined(top_k_accuracy(labels, probabilities, 1)),
        "top5": _defined(top_k_accuracy(labels, probabilities, 5)),
        "ece": _defined(calibration_error(labels, probabilities)),
        "num_images": len(labels),
    }


def held_out_labels(items: Sequence[Item], split: ClassSplit) -> np.ndarray:
    """Return true labels int64 [N] of in-domain ``items``, which attacks on the classifier need."""
    return labels_of(items, split.number)


def answers(items: Sequence[Item], split: ClassSplit, prediction: Prediction) -> dict[str, Any]:
    """Return what figures and tables need, each [N].

    Of ``prediction``: label and unknown_score. Of ``items``: true_label (-1 where nobody knows),
    is_private (of a target-private class) and name (class/file).
    """
    labels = labels_of(items, split.number)
    return {
        "label": prediction.label.cpu().numpy(),
        "unknown_score": prediction.unknown_score.cpu().numpy(),
        "is_private": labels >= len(split.source_classes),
        "true_label": labels,
        "name": np.array(picture_names(items)),
    }


def read_answers(run: Run) -> dict[str, Any] | None:
    """Return the `answers` that a run has kept, or None.

    Raises:
        ValueError: naming a file that is broken, or an array that is not of its type.
    """
    arrays = run.predictions()
    for name, values in (arrays or {}).items():
        if values.dtype.kind not in KINDS.get(name, values.dtype.kind):
            raise ValueError(
                f"{run.folder}: in its predictions {name} is of the type {values.dtype}; adapt "
                "again"
            )
    return arrays


def _defined(value: float) -> float | None:
    """Return ``value``, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value
