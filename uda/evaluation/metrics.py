"""Scores of a classifier that may say "unknown". Pure functions of labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def h_score(known_acc: float, unknown_acc: float) -> float:
    """Return the harmonic mean 2ab / (a + b) of the two accuracies, in their unit.

    0 where both are 0; NaN where either is undefined (no shared, or no private, sample).
    """
    if math.isnan(known_acc) or math.isnan(unknown_acc):
        return math.nan
    total = known_acc + unknown_acc
    return 2 * known_acc * unknown_acc / total if total > 0 else 0.0


@dataclass(frozen=True)
class OpenSetScores:
    """The scores of OSDA and OPDA in percent; NaN where undefined.

    Attributes:
        h_score: `h_score` of the two accuracies.
        known_acc: The mean over shared classes of per-class accuracy.
        unknown_acc: The accuracy of all private samples as a class.
        empty_classes: Shared classes without a sample, which are left out of ``known_acc``.
    """

    h_score: float
    known_acc: float
    unknown_acc: float
    empty_classes: tuple[int, ...]


def open_set_scores(
    labels: Labels, predictions: Labels, num_shared: int, num_source: int
) -> OpenSetScores:
    """Return the scores of OSDA and OPDA.

    A shared class without a sample is left out of the mean (the released LEAD counts it as 0).

    Args:
        labels: True labels [N]: 0..num_shared-1 shared, from num_source on target-private.
        predictions: [N] in 0..num_source-1, or num_source for "unknown".
        num_shared: Number of shared classes.
        num_source: Number of source classes.

    Raises:
        ValueError: Lengths differ, or a label is a source-private class.
    """
    _check(labels, predictions)
    if np.any((labels >= num_shared) & (labels < num_source)):
        raise ValueError("a target label is a source-private class")
    per_class = per_class_accuracy(labels, predictions, num_shared)
    empty = tuple(int(k) for k in np.flatnonzero(np.isnan(per_class)))
    known = float(np.nanmean(per_class)) if len(empty) < num_shared else math.nan
    private = labels >= num_source
    rejected = predictions[private] == num_source
    unknown = float(100 * rejected.mean()) if private.any() else math.nan
    return OpenSetScores(h_score(known, unknown), known, unknown, empty)


def per_class_accuracy(
    labels: Labels, predictions: Labels, num_classes: int
) -> NDArray[np.float64]:
    """Return the accuracy in percent of each class 0..num_classes-1; NaN for an empty class."""
    counted = labels < num_classes
    total = np.bincount(labels[counted], minlength=num_classes)
    right = np.bincount(labels[counted & (labels == predictions)], minlength=num_classes)
    with np.errstate(invalid="ignore"):
        return 100 * right / np.where(total > 0, total, np.nan)


def accuracy(labels: Labels, predictions: Labels) -> float:
    """Return the percentage of samples that are right (PDA's score); NaN for none."""
    _check(labels, predictions)
    return float(100 * np.mean(labels == predictions)) if len(labels) else math.nan


def top_k_accuracy(labels: Labels, scores: NDArray[np.floating], k: int) -> float:
    """Return the percentage of samples whose label is among the ``k`` highest of ``scores`` [N, K].

    Of equal scores the lower class number comes first. NaN without samples.
    """
    if len(labels) != len(scores):
        raise ValueError(f"{len(labels)} labels for {len(scores)} rows of scores")
    if not len(labels):
        return math.nan
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(100 * np.mean((best == labels[:, None]).any(axis=1)))


def unknown_auroc(unknown: NDArray[np.bool_], score: NDArray[np.floating]) -> float:
    """Return the area under the ROC curve of ``score`` [N] as a detector of ``unknown`` [N].

    In percent; NaN where known or unknown samples are missing. A companion of the H-score without
    a threshold.
    """
    from sklearn.metrics import roc_auc_score

    if unknown.all() or not unknown.any():
        return math.nan
    return float(100 * roc_auc_score(unknown, score))


def oscr(
    right: NDArray[np.bool_], unknown: NDArray[np.bool_], score: NDArray[np.floating]
) -> float:
    """Return the open-set classification rate in percent (Dhamija et al., arXiv 1811.04110).

    It is the area under the share of known samples that are accepted with the right class, over the
    share of unknown samples that are accepted, for all thresholds. NaN where known or unknown
    samples are missing.

    Args:
        right: [N], whether the most probable class is the true class.
        unknown: [N], which samples are of private classes.
        score: [N], high for unknown.
    """
    from sklearn.metrics import auc

    if unknown.all() or not unknown.any():
        return math.nan
    order = np.argsort(score, kind="stable")
    last_of_equals = np.flatnonzero(np.diff(score[order], append=np.inf))
    accepted_right = np.cumsum((right & ~unknown)[order])[last_of_equals] / (~unknown).sum()
    accepted_unknown = np.cumsum(unknown[order])[last_of_equals] / unknown.sum()
    return float(100 * auc([0, *accepted_unknown], [0, *accepted_right]))


def calibration_error(labels: Labels, probabilities: NDArray[np.floating], bins: int = 15) -> float:
    """Return the expected calibration error in percent (Guo et al., arXiv 1706.04599).

    Σ_b n_b / N · |accuracy(b) - mean confidence(b)| over ``bins`` equally wide bins ((b - 1) /
    bins, b / bins] of the confidence, the largest of ``probabilities`` [N, K]. NaN for no sample.
    """
    if not len(labels):
        return math.nan
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, right - confidence, bins)
    return float(100 * np.abs(gaps).sum() / len(labels))


def h3_score(known_acc: float, unknown_acc: float, private_nmi: float) -> float:
    """Return the harmonic mean of both accuracies and `private_nmi` (UniOT, arXiv 2210.17067).

    All are in the same unit. NaN where any of them is.
    """
    parts = (known_acc, unknown_acc, private_nmi)
    if any(math.isnan(part) for part in parts):
        return math.nan
    return 3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0


def private_nmi(features: NDArray[np.floating], labels: Labels) -> float:
    """Return how well the ``features`` [M, D] of private samples cluster by class.

    Normalised mutual information, in percent, of the classes ``labels`` [M] and k-means of the
    unit-norm features into as many clusters; NaN for fewer than two classes.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    if (count := len(np.unique(labels))) < 2:
        return math.nan
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    clusters = KMeans(count, random_state=0).fit_predict(unit)
    return float(100 * normalized_mutual_info_score(labels, clusters))


def threshold_curve(
    labels: Labels,
    classes: Labels,
    score: NDArray[np.floating],
    thresholds: NDArray[np.floating],
    num_shared: int,
    num_source: int,
) -> list[OpenSetScores]:
    """Return the scores at each of ``thresholds``, above which a sample is unknown.

    Args:
        labels: True labels [N], as in `open_set_scores`.
        classes: The most probable class of each sample, [N].
        score: [N], high for unknown.
        thresholds: Of the score.
        num_shared: Number of shared classes.
        num_source: Number of source classes.
    """
    return [
        open_set_scores(labels, np.where(score > at, num_source, classes), num_shared, num_source)
        for at in thresholds
    ]


CURVE = tuple(round(0.05 * step, 2) for step in range(21))  # thresholds of a run's H-score curve


def _check(labels: Labels, predictions: Labels) -> None:
    if labels.shape != predictions.shape:
        raise ValueError(f"{labels.shape} labels for {predictions.shape} predictions")


SCORES = {
    "h_score": "H-score",
    "known_acc": "known",
    "unknown_acc": "unknown",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "oscr": "OSCR",
    "h3_score": "H³-score",
}


def neighbour_purity(near: np.ndarray, labels: np.ndarray) -> float:
    """Return the share in percent of images' neighbours that are of the image's class.

    Args:
        near: int64 [N, n], rows of neighbours.
        labels: int64 [N]; those below 0 are not known and left out. NaN where none is left.
    """
    known = (labels >= 0)[:, None] & (labels[near] >= 0)
    same = labels[near] == labels[:, None]
    return 100 * float(same[known].mean()) if known.any() else math.nan
