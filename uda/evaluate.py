"""Scores of predictions on a target. The only reader of target labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from uda.datasets import Item, labels_of
from uda.methods.base import Bank, Prediction
from uda.metrics import accuracy, open_set_scores, per_class_accuracy, top_k_accuracy, unknown_auroc
from uda.splits import ClassSplit


def target_scores(
    items: Sequence[Item], split: ClassSplit, scenario: str, prediction: Prediction
) -> dict[str, Any]:
    """Scores in percent of ``prediction`` on the target ``items``, in their order.

    OSDA and OPDA: h_score, known_acc, unknown_acc and auroc (of the unknown score). PDA: accuracy.
    ``None`` stands for an undefined score; ``empty_classes`` names shared classes with no sample.
    Pictures whose class nobody knows are not scored: ``num_images`` counts the others.
    """
    labels = labels_of(items, split.number)
    scored = labels >= 0
    labels, predicted = labels[scored], prediction.label.cpu().numpy()[scored]
    shared, source = len(split.shared), len(split.source_classes)
    if scenario == "pda":
        return {"accuracy": _defined(accuracy(labels, predicted)), "num_images": len(labels)}
    scores = open_set_scores(labels, predicted, shared, source)
    auroc = unknown_auroc(labels >= source, prediction.unknown_score.cpu().numpy()[scored])
    return {
        "h_score": _defined(scores.h_score),
        "known_acc": _defined(scores.known_acc),
        "unknown_acc": _defined(scores.unknown_acc),
        "auroc": _defined(auroc),
        "empty_classes": [split.shared[k] for k in scores.empty_classes if len(labels)],
        "num_images": len(labels),
    }


def class_table(
    items: Sequence[Item], split: ClassSplit, prediction: Prediction
) -> list[tuple[str, int, float]]:
    """(class, images, accuracy in percent) of each target class; for a private one, the share
    called unknown. NaN for a class with no image."""
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


def held_out_scores(items: Sequence[Item], split: ClassSplit, bank: Bank) -> dict[str, Any]:
    """Top-1 and top-5 accuracy in percent of an in-domain classifier on held-out ``items``."""
    labels = labels_of(items, split.number)
    probabilities = bank.probabilities.cpu().numpy()
    return {
        "top1": _defined(top_k_accuracy(labels, probabilities, 1)),
        "top5": _defined(top_k_accuracy(labels, probabilities, 5)),
        "num_images": len(labels),
    }


def true_labels(items: Sequence[Item], split: ClassSplit) -> np.ndarray:
    """Labels int64 [N] of ``items``, -1 where nobody knows: for figures."""
    return labels_of(items, split.number)


def private_mask(items: Sequence[Item], split: ClassSplit) -> np.ndarray:
    """Which of ``items`` are of target-private classes, bool [N]: for figures."""
    return labels_of(items, split.number) >= len(split.source_classes)


def _defined(value: float) -> float | None:
    """NaN is no JSON: None."""
    return None if math.isnan(value) else value
