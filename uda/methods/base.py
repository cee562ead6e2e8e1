"""What an adaptation method is, and what it receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from uda.methods.geometry import neighbours_in
from uda.methods.unknown import Prediction, normalised_entropy, predict_above

Value = TypeVar("Value")


@dataclass(frozen=True)
class Bank:
    """The whole target under its clean view, network in eval mode.

    Attributes:
        features: [N, D], not of unit norm.
        probabilities: [N, K].
        class_weights: [K, D], of the frozen classifier.
    """

    features: Tensor
    probabilities: Tensor
    class_weights: Tensor


@dataclass(frozen=True)
class Batch:
    """A training batch under its random view.

    Attributes:
        features: [B, D].
        logits: [B, K].
        index: int64 [B], the images' rows in the bank.
        targets: Soft labels [B, K] of a batch of the source; None of the target's.
        views: Features [B, D] of the further views that a `uda.methods.joint` method asks for.
        near: int64 [B, n], rows of the bank that are each image's neighbours; None where the
            method looks them up by the network's features.
    """

    features: Tensor
    logits: Tensor
    index: Tensor
    targets: Tensor | None = None
    views: tuple[Tensor, ...] = ()
    near: Tensor | None = None


class Once(Protocol):
    """A function ``once(make)`` that returns what ``make()`` returns.

    Of several ranks the first alone calls ``make``; it sends the result to the others.
    """

    def __call__(self, make: Callable[[], Value]) -> Value: ...


def run_locally(make: Callable[[], Value]) -> Value:
    """Return what ``make`` returns, as `Once` does in a single process."""
    return make()


def check_share(option: str, value: float) -> None:
    """Raise ValueError naming ``option`` (such as glc.rho) where ``value`` is not in 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"adapt.options.{option}: {value} is not between 0 and 1")


def check_weight(option: str, value: float) -> None:
    """Raise ValueError naming ``option`` (such as lead.ce_weight) where ``value`` is negative."""
    if not value >= 0:
        raise ValueError(f"adapt.options.{option}: {value} must not be negative")


class Method:
    """An adaptation of a source model to a target, which never sees images, labels or the loop.

    Subclasses override the defaults: train nothing, keep nothing between epochs, and call a sample
    unknown where entropy / log K > ``entropy_threshold``. No method uses another.

    Attributes:
        heads: The method's own layers on the network's features, trained at the head's rate. All
            ranks have the same heads, and compute the same from whole batches.
        classifier: The network's, whose weights are those of the moment, once `build` was called.
        seed: Of what the method draws.
        num_target: Images of the target; 0 where the method only answers.
        trains_classifier: Whether the loop trains the network's classifier; else it is frozen.
        name: What configurations call it, as in `uda.methods.METHODS`.
        title: What tables call it.
        trains: "nothing": the model stays as it is; "statistics": batches of the target pass the
            network, which moves BatchNorm's running statistics; "weights": `loss` is minimised.
        needs_unknown_space: Whether features must have more dimensions than the source has classes.
        added_options: Options that are newer than some runs: at their defaults they are left out of
            a run's identity, so that runs from before them keep their names.
        former_options: Options that are newer than some runs and have another default: the values
            that those runs had, which are left out of a run's identity.
        own_score: Whether `unknown_score` is another than the entropy, and so may need what
            `state_dict` keeps.
        has_threshold: Whether `threshold` alone decides what is unknown. False where `predict`
            decides over the whole target.
        neighbours: How many neighbours of each image `loss` looks up in the bank, unless a batch
            names them; 0 for none.
        threshold: The unknown score above which a sample is unknown; None where nothing is
            (``open_set`` False, as under PDA).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    trains: ClassVar[Literal["nothing", "statistics", "weights"]] = "weights"
    needs_unknown_space: ClassVar[bool] = False
    added_options: ClassVar[tuple[str, ...]] = ()
    former_options: ClassVar[Mapping[str, Any]] = {}
    own_score: ClassVar[bool] = False
    has_threshold: ClassVar[bool] = True
    trains_classifier: bool = False
    neighbours: int = 0
    threshold: float | None
    classifier: nn.Linear

    def __init__(self, *, open_set: bool, entropy_threshold: float = 0.55) -> None:
        check_share(f"{self.name}.entropy_threshold", entropy_threshold)
        self.open_set = open_set
        self.heads = nn.ModuleDict()
        self.num_target = self.seed = 0
        self.threshold = entropy_threshold if open_set else None

    @property
    def identity(self) -> Mapping[str, Any]:
        """The values that replace options in a run's identity, where these decide nothing."""
        return {}

    def build(self, classifier: nn.Linear, num_target: int, seed: int) -> None:
        """Make the `heads`, once, before anything is trained or loaded.

        Args:
            classifier: See the attribute.
            num_target: The same.
            seed: Of the first weights, and of what is drawn later.
        """
        self.classifier, self.num_target, self.seed = classifier, num_target, seed
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.heads.update(self.make_heads(classifier.in_features, classifier.out_features))

    def make_heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        """Return the method's layers by name, for features of D and K classes."""
        return {}

    def refresh(self, bank: Bank, epoch: int, once: Once = run_locally) -> Any:
        """Return what `loss` needs of the whole target; called at the start of each epoch.

        Args:
            bank: Of the whole target, the same on every rank.
            epoch: From 0.
            once: Computes on the first rank alone what is expensive or depends on rounding (a
                number of clusters). Its result should be small, as it is sent to the others.
        """

    def loss(self, target: Batch, state: Any) -> dict[str, Tensor]:
        """Return a batch's losses by name, to be summed; without any, no step is taken.

        ``state`` is what `refresh` returned.
        """
        return {}

    def neighbours_of(self, target: Batch, unit_features: Tensor, bank_features: Tensor) -> Tensor:
        """Return the rows of the bank, int64 [B, n], that are neighbours of each of a batch.

        They are those that the batch names, or `uda.methods.geometry.neighbours_in` the bank.

        Args:
            target: The batch.
            unit_features: Its, [B, D].
            bank_features: [N, D], of unit norm.
        """
        if target.near is not None:
            return target.near
        return neighbours_in(unit_features, bank_features, self.neighbours)

    def unknown_score(self, bank: Bank) -> Tensor:
        """Return how unknown each sample of the bank is, [N]: the entropy over log K."""
        return normalised_entropy(bank.probabilities)

    def predict(self, bank: Bank) -> Prediction:
        """Return the label and the unknown score of each sample of the target."""
        return predict_above(self.unknown_score(bank), bank.probabilities, self.threshold)

    def summary(self, state: Any) -> dict[str, Tensor]:
        """Return those tensors of ``state`` that a report may draw, by name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what has to survive a restart."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
