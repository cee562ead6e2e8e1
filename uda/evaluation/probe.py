"""What frozen features are worth: a linear probe and nearest neighbours.

The protocol is this project's: papers of self-supervised learning differ, and GenMix's says none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS, TEMPERATURE = 20, 0.1
CS = tuple(10.0**power for power in range(-4, 3))  # of scikit-learn: 1 / strength of the L2 penalty
MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class Sample:
    """Frozen features and what is to be found in them.

    Attributes:
        features: float [N, D].
        labels: int64 [N].
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.bool_]) -> Sample:
        return Sample(self.features[rows], self.labels[rows])


def probe(train: Sample, test: Sample, choosing: NDArray[np.bool_]) -> dict[str, float]:
    """Return the scores of both probes on ``test``, and what the linear one chose.

    Args:
        train: What both learn from.
        test: Held-out pictures.
        choosing: bool [N], the rows of ``train`` on which the linear probe chooses its penalty.

    Returns:
        ``linear`` and ``knn``, top-1 in percent, and ``c``.
    """
    c = chosen_c(train, choosing)
    return {
        "linear": linear_accuracy(train, test, c),
        "knn": knn_accuracy(train, test),
        "c": c,
    }


def chosen_c(train: Sample, choosing: NDArray[np.bool_]) -> float:
    """Return the first of `CS` with the best accuracy on the rows ``choosing`` of ``train``.

    It learns from the others.
    """
    accuracies = [linear_accuracy(train[~choosing], train[choosing], c) for c in CS]
    return CS[int(np.argmax(accuracies))]


def linear_accuracy(train: Sample, test: Sample, c: float) -> float:
    """Return the accuracy in percent of multinomial logistic regression, by L-BFGS.

    Features are first made of mean 0 and deviation 1 over ``train``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=MOST_ITERATIONS))
    with threadpool_limits(1):  # small products, and sums in the same order wherever it runs
        model.fit(train.features.astype(np.float64), train.labels)
        predicted = model.predict(test.features.astype(np.float64))
    return 100 * float((predicted == test.labels).mean())


def knn_accuracy(
    train: Sample, test: Sample, k: int = NEIGHBOURS, temperature: float = TEMPERATURE
) -> float:
    """Return the accuracy in percent of weighted nearest neighbours (arXiv 1805.01978).

    Each of the ``k`` pictures of ``train`` with the highest cosine c votes for its class with
    exp(c / temperature).
    """
    cosines = _unit_rows(test.features) @ _unit_rows(train.features).T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / temperature)
    votes = np.zeros((len(cosines), int(train.labels.max()) + 1))
    rows = np.arange(len(cosines))[:, None]
    np.add.at(votes, (rows, train.labels[nearest]), weights)
    return 100 * float((votes.argmax(axis=1) == test.labels).mean())


def _unit_rows(features: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = features.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.maximum(lengths, 1e-12)
