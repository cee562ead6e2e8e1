"""The threshold `source`: above it a picture is unknown that the source's pictures have decided.

In each of a number of splits one half of the source's classes plays the known ones, the other half
the unknown ones: the softmax, and the cosines to the classifier's rows, are those of the known half
alone. The cut of the best H-score is taken, and the mean over the splits is the threshold. No
target is asked, so the same threshold holds whether a target has unknown classes or none. A
temperature is found by such splits in arXiv 2305.11092.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uda.evaluation.answering import classifier_scores
from uda.evaluation.metrics import Labels

SPLITS = 20
FEWEST_CLASSES = 3  # half of them must be two, as a softmax over a single class says nothing


def source_cuts(
    score: str, views: Tensor, cosines: Tensor, labels: Labels, num_splits: int = SPLITS
) -> list[float]:
    """Return the best cut of each of ``num_splits`` seeded splits of the source's K classes.

    Classes without a picture are left out.

    Args:
        score: entropy, cosine or probability.
        views: The probabilities of each view of the source's pictures, [V, N, K].
        cosines: [N, K], of features and the classifier's rows, averaged over the views.
        labels: Of the pictures, [N] in 0..K-1.
        num_splits: Number of splits.

    Raises:
        ValueError: The source has too few classes to split.
    """
    classes = np.unique(labels)
    if (num_classes := len(classes)) < FEWEST_CLASSES:
        raise ValueError(
            f"answer.threshold: source splits the source's classes, at least {FEWEST_CLASSES}, and "
            f"there are pictures of {num_classes}; name another, such as two-means"
        )
    rng = np.random.default_rng(0)
    cuts = []
    for _ in range(num_splits):
        known = np.sort(rng.permutation(classes)[: (num_classes + 1) // 2])
        probabilities = restricted(views[..., known])
        unknown_score = classifier_scores(score, probabilities, cosines[:, known])
        nearest = known[probabilities.argmax(dim=1).numpy()]
        cuts.append(best_cut(labels, nearest, unknown_score.numpy(), known))
    return cuts


def restricted(views: Tensor) -> Tensor:
    """Return the mean over views of the softmax over some classes alone, [N, S].

    Args:
        views: What the softmax over all classes gives these classes, [V, N, S].
    """
    positive = views.clamp_min(torch.finfo(views.dtype).tiny)
    return (positive / positive.sum(dim=-1, keepdim=True)).mean(dim=0)


def best_cut(labels: Labels, nearest: Labels, score: NDArray[np.floating], known: Labels) -> float:
    """Return the threshold of ``score`` [N] at which the H-score is highest.

    It is that of `uda.evaluation.metrics.open_set_scores`: of the mean over ``known`` classes of
    the share answered rightly, and of the share of the other classes' samples that is rejected. The
    threshold is in the middle between two scores; of equally good ones it is the lowest.

    Args:
        labels: True classes [N].
        nearest: Most probable known classes [N].
        score: [N], high for unknown.
        known: The known classes; a sample of another class is unknown.
    """
    unknown = ~np.isin(labels, known)
    present, counts = np.unique(labels[~unknown], return_counts=True)
    share = np.zeros(max(labels.max(), known.max()) + 1)
    share[present] = 1 / (counts * len(present))
    order = np.argsort(score, kind="stable")
    last_of_equals = np.flatnonzero(np.diff(score[order], append=np.inf))
    right = (share[labels] * (nearest == labels))[order].cumsum()[last_of_equals]
    rejected = 1 - unknown[order].cumsum()[last_of_equals] / max(unknown.sum(), 1)
    h = 2 * right * rejected / np.maximum(right + rejected, np.finfo(float).tiny)
    values = score[order][last_of_equals]
    best = int(h.argmax())
    return float(values[best : best + 2].mean())
