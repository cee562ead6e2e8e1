"""How a finished model answers: by a score of how unknown an image is, and a threshold on it.

The mean of six views, the cosine to the classifier's rows and the cut of two-means need no
training, no labels and no constant. docs/methods.md says what they gain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uda.config import AnswerConfig
from uda.evaluation.criteria import THRESHOLDS, mixture_threshold
from uda.methods.base import Bank, Method
from uda.methods.co_learn import Opinion
from uda.methods.unknown import Prediction, normalised_entropy, predict_above

ABOVE_ZERO = 1e-6  # Box and Cox's transform needs positive values


class Answer(NamedTuple):
    """What a model says of a whole target.

    Attributes:
        bank: Probabilities averaged over the views and, by Co-learn, agreed with the opinion.
        prediction: Each image's label and unknown score.
        opinion: Of the frozen network; None where it is not asked.
    """

    bank: Bank
    prediction: Prediction
    opinion: Opinion | None = None


def unknown_scores(score: str, method: Method, bank: Bank, cosines: Tensor) -> Tensor:
    """Return how unknown each sample is, [N], by a score of `uda.config.AnswerConfig`.

    Args:
        score: method, entropy, cosine or probability.
        method: Whose score "method" is.
        bank: Of the samples.
        cosines: [N, K], of features and the classifier's rows.
    """
    if score == "method":
        return method.unknown_score(bank)
    return classifier_scores(score, bank.probabilities, cosines)


def classifier_scores(score: str, probabilities: Tensor, cosines: Tensor) -> Tensor:
    """Return `unknown_scores` [N] by a score that asks the classifier alone, not the method.

    Args:
        score: entropy, cosine or probability.
        probabilities: [N, K].
        cosines: [N, K], of features and the classifier's rows.
    """
    if score == "cosine":
        return 1 - cosines.amax(dim=1)
    if score == "probability":
        return 1 - probabilities.amax(dim=1)
    return normalised_entropy(probabilities)


def answer(
    settings: AnswerConfig,
    method: Method,
    bank: Bank,
    cosines: Tensor,
    source_cut: float | None = None,
) -> Prediction:
    """Return the label and the unknown score of each sample of the whole target.

    Args:
        settings: How to answer.
        method: Says whether something may be unknown, and decides where ``settings`` leave it to
            the method.
        bank: Of the whole target; see `uda.training.bank.average`.
        cosines: [N, K], of features and the classifier's rows.
        source_cut: The threshold of ``source`` (`uda.evaluation.source_cut`), which decides even
            where ``method`` says that nothing is unknown: it does not ask for the scenario.
    """
    if settings.threshold == "method":
        return method.predict(bank)
    score = unknown_scores(settings.score, method, bank, cosines)
    cut = source_cut
    if settings.threshold != "source" and method.open_set:
        cut = settings.number
        if cut is None:
            cut = CUTS[settings.threshold](score.cpu().numpy())
    return predict_above(score, bank.probabilities, cut)


def relabel(
    bank: Bank, prediction: Prediction, opinion: Opinion, frozen: Tensor
) -> tuple[Bank, Prediction]:
    """Return ``bank`` with the probabilities of both networks, and ``prediction`` with its labels.

    What is unknown, and how unknown it is, stays as it was.

    Args:
        bank: Of the samples.
        prediction: Of the samples, by the model alone.
        opinion: Of the frozen network.
        frozen: Its features of the samples, [N, d].
    """
    probabilities = opinion.agree(bank.probabilities, frozen)
    unknown = prediction.label == probabilities.shape[1]
    label = torch.where(unknown, prediction.label, probabilities.argmax(dim=1))
    return replace(bank, probabilities=probabilities), replace(prediction, label=label)


def box_cox_threshold(score: np.ndarray) -> float:
    """Return `mixture_threshold` of ``score`` [N] brought nearer to normal (arXiv 2504.14224).

    The scores, at least 0, go through Box and Cox's transform of the likeliest power, and the cut
    goes back.
    """
    if len(score) < 2 or np.ptp(score) == 0:
        return float(score.max(initial=0.0))
    from scipy.special import inv_boxcox
    from scipy.stats import boxcox

    transformed, power = boxcox(score.astype(np.float64) + ABOVE_ZERO)
    return float(inv_boxcox(mixture_threshold(transformed), power) - ABOVE_ZERO)


CUTS: dict[str, Callable[[np.ndarray], float]] = {**THRESHOLDS, "box-cox": box_cox_threshold}
