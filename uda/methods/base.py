"""What an adaptation method is, and what it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.neighbours import nearest

LOG_EPSILON = 1e-5
Value = TypeVar("Value")


@dataclass(frozen=True)
class Bank:
    """The whole target under its clean view, network in eval mode.

    ``features`` [N, D] (not of unit norm), ``probabilities`` [N, K]; ``class_weights`` [K, D] of
    the frozen classifier.
    """

    features: Tensor
    probabilities: Tensor
    class_weights: Tensor


@dataclass(frozen=True)
class Batch:
    """A training batch under its random view: ``features`` [B, D], ``logits`` [B, K] and the rows
    ``index`` [B] of the bank that it came from."""

    features: Tensor
    logits: Tensor
    index: Tensor


@dataclass(frozen=True)
class Prediction:
    """``label`` int64 [N] in 0..K, where K is unknown; ``unknown_score`` [N], high for unknown."""

    label: Tensor
    unknown_score: Tensor


class Once(Protocol):
    """``once(make)`` is what ``make()`` returns; of several processes the first one alone calls it
    and the others are sent the result."""

    def __call__(self, make: Callable[[], Value]) -> Value: ...


def here(make: Callable[[], Value]) -> Value:
    """`Once` where there is one process."""
    return make()


class Method(Protocol):
    """Adapts a source model to a target. Methods never see data, loops or each other.

    ``trains`` is False for a method that only predicts. ``needs_source`` and ``extra_heads`` say
    what else the loop must bring: it brings neither yet, and refuses a method that asks for them.
    """

    trains: bool
    needs_source: bool
    extra_heads: tuple[str, ...]

    def refresh(self, bank: Bank, epoch: int, once: Once = here) -> Any:
        """Once an epoch: whatever `loss` needs of the whole target.

        Every process has the bank, and calls this: what is dear, or hangs on rounding (a number of
        clusters), is worked out by ``once``, and is small, as it is sent around.
        """

    def loss(self, target: Batch, state: Any, source: Batch | None = None) -> dict[str, Tensor]:
        """Once a batch: named losses, to be summed; none for a batch to take no step by."""

    def predict(self, bank: Bank) -> Prediction:
        """Labels and scores of the whole target."""

    def summary(self, state: Any) -> dict[str, Tensor]:
        """What a report may draw of ``state``."""

    def state_dict(self) -> dict[str, Any]:
        """What has to survive a restart."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up `state_dict` again."""


def normalised_entropy(probabilities: Tensor) -> Tensor:
    """Entropy [N] of ``probabilities`` [N, K] over log K: 0 for certain, 1 for uniform."""
    if probabilities.shape[1] == 1:  # one class: nothing to be unsure between
        return probabilities.new_zeros(len(probabilities))
    entropy = -(probabilities * (probabilities + LOG_EPSILON).log()).sum(dim=1)
    return entropy / math.log(probabilities.shape[1])


def predict_by_entropy(probabilities: Tensor, threshold: float | None) -> Prediction:
    """The most probable class, or unknown (K) where the entropy over log K exceeds ``threshold``.

    ``threshold`` None rejects nothing (PDA).
    """
    score = normalised_entropy(probabilities)
    label = probabilities.argmax(dim=1)
    if threshold is not None:
        label = torch.where(score > threshold, probabilities.shape[1], label)
    return Prediction(label, score)


def check_share(option: str, value: float) -> None:
    """ValueError naming ``option`` (lead.entropy_threshold) where ``value`` is not in 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"adapt.options.{option}: {value} is not between 0 and 1")


def check_weight(option: str, value: float) -> None:
    """ValueError naming ``option`` (lead.ce_weight) where ``value`` is negative."""
    if not value >= 0:
        raise ValueError(f"adapt.options.{option}: {value} must not be negative")


class BaseMethod:
    """What a method does unless it says otherwise: it minimises nothing, keeps nothing between
    epochs, and says unknown where entropy / log K > ``entropy_threshold``. ``open_set`` False (PDA)
    rejects nothing. ``name`` is what the method is called in `uda.methods.METHODS`."""

    name: str
    needs_source = False
    extra_heads: tuple[str, ...] = ()

    def __init__(self, *, open_set: bool, entropy_threshold: float = 0.55) -> None:
        check_share(f"{self.name}.entropy_threshold", entropy_threshold)
        self.threshold = entropy_threshold if open_set else None

    def refresh(self, bank: Bank, epoch: int, once: Once = here) -> Any:
        """Nothing is kept."""

    def loss(self, target: Batch, state: Any, source: Batch | None = None) -> dict[str, Tensor]:
        """None: the loop takes no step then."""
        return {}

    def predict(self, bank: Bank) -> Prediction:
        """Labels by the highest probability, unknown by entropy."""
        return predict_by_entropy(bank.probabilities, self.threshold)

    def summary(self, state: Any) -> dict[str, Tensor]:
        """Nothing to draw."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take up."""


def most_confident(probabilities: Tensor, count: int) -> Tensor:
    """Rows [K, count] of ``probabilities`` [N, K] that are the most probable for each class."""
    return probabilities.topk(count, dim=0).indices.T


def prototypes(unit_features: Tensor, rows: Tensor) -> Tensor:
    """Unit-norm means [K, D] of the ``rows`` [K, n] of ``unit_features`` [N, D]."""
    # Class by class: gathering all at once would hold [K, n, D].
    return F.normalize(torch.stack([unit_features[own].mean(dim=0) for own in rows]), dim=1)


def consistency(
    unit_features: Tensor,
    probabilities: Tensor,
    index: Tensor,
    bank_features: Tensor,
    bank_probabilities: Tensor,
    neighbours: int,
) -> Tensor:
    """L_con of GLC and LEAD: cross-entropy of a batch to the mean of its neighbours' probabilities.

    ``unit_features`` [B, D] and ``probabilities`` [B, K] of the batch, its rows ``index`` [B] of
    the bank, which is ``bank_features`` [N, D] of unit norm and ``bank_probabilities`` [N, K].
    Those rows are replaced, detached and in place, after the neighbours were looked up. ValueError
    where N is not more than ``neighbours``.
    """
    with torch.no_grad():
        # The first of the nearest is left out whoever it is: mostly the image's own clean view.
        near = nearest(unit_features, bank_features, neighbours + 1)[:, 1:]
        agreed = bank_probabilities[near].mean(dim=1)
    bank_features[index] = unit_features.detach()
    bank_probabilities[index] = probabilities.detach()
    return -(agreed * (probabilities + LOG_EPSILON).log()).sum(dim=1).mean()
