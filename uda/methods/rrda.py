"""RRDA (Nejjar et al., arXiv 2411.12558): synthetic features teach the classifier what is unknown.

Before the first epoch features of the target are moved by gradient, to where the source model's
classifier is sure of a class, and, after noise, to where it is most unsure; the classifier, with
further rows for the latter, learns to tell them apart. The network then learns by SHOT's or AaD's
losses over all rows. Numbers are the released code's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda.methods.base import Bank, Batch, Method, Once, check_weight, run_locally
from uda.methods.geometry import centroid_labels
from uda.methods.kmeans import kmeans_centroids, nearest_centroid
from uda.methods.unknown import entropy, normalised_entropy

OBJECTIVES = ("shot", "aad")
SYNTHESIS_RATE = 1e-3  # of Adam
KNOWN_POINTS = 1_000  # of each class, at most
NOISE, COPIES = 2.0, 2  # deviation, and how often each feature of the target gets some
SURE, UNSURE = 0.25, 0.75  # cross-entropy and entropy / log K
EPOCHS, BATCH, RATE, SMOOTHING = 50, 128, 0.01, 0.1  # of the classifier's training
ENTROPY_WEIGHT, LABEL_SMOOTHING = 0.5, 0.3  # of SHOT's losses


def synthesise(start: Tensor, value: Callable[[Tensor], Tensor], steps: int) -> Tensor:
    """Return features [M, D] that Adam has moved from ``start`` to a lower mean ``value`` [M].

    A hinge, the mean of max(1 - σ_d, 0), keeps the deviation σ_d of each dimension.
    """
    points = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([points], lr=SYNTHESIS_RATE, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        deviation = (points.var(dim=0, correction=0) + 1e-4).sqrt()
        (value(points).mean() + F.relu(1 - deviation).mean()).backward()
        optimizer.step()
    return points.detach()


def known_points(
    classifier: nn.Module, features: Tensor, label: int, steps: int, generator: torch.Generator
) -> Tensor:
    """Return features [M, D] of which ``classifier`` is sure that they are of class ``label``.

    They begin at random rows of ``features`` [N, D] and end at a cross-entropy below ¼ log K.
    """

    def cross_entropy(points: Tensor) -> Tensor:
        return -classifier(points).log_softmax(dim=1)[:, label]

    rows = torch.randperm(len(features), generator=generator)[:KNOWN_POINTS]
    points = synthesise(features[rows.to(features.device)], cross_entropy, steps)
    with torch.no_grad():
        num_classes = classifier(points).shape[1]
        return points[cross_entropy(points) < SURE * math.log(num_classes)]


def unknown_points(
    classifier: nn.Module, features: Tensor, steps: int, generator: torch.Generator
) -> Tensor:
    """Return features [M, D] of which ``classifier`` is unsure.

    They begin at ``features`` [N, D] with noise and end at an entropy above ¾ log K.
    """

    def certainty(points: Tensor) -> Tensor:
        return -entropy(classifier(points).softmax(dim=1))

    start = features.repeat(COPIES, 1)
    start = start + NOISE * torch.randn(start.shape, generator=generator).to(start)
    points = synthesise(start, certainty, steps)
    with torch.no_grad():
        return points[normalised_entropy(classifier(points).softmax(dim=1)) > UNSURE]


def synthetic_features(
    classifier: nn.Module, features: Tensor, classes: tuple[int, int], steps: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return synthetic features [M, D] and their labels int64 [M] in 0..K + K' - 1.

    Args:
        classifier: Of K classes, frozen.
        features: Of the target [N, D].
        classes: K and K'; k-means parts the unknown features into K' classes.
        steps: Of `synthesise`.
        seed: Of all that is drawn.
    """
    known, unknown = classes
    generator = torch.Generator().manual_seed(seed)
    parts = [known_points(classifier, features, k, steps, generator) for k in range(known)]
    labels = [torch.full((len(part),), k) for k, part in enumerate(parts)]
    points = unknown_points(classifier, features, steps, generator)
    if len(points):
        parts.append(points)
        labels.append(known + nearest_centroid(points, kmeans_centroids(points, unknown, seed)))
    return torch.cat(parts), torch.cat([label.to(features.device) for label in labels])


def train_rows(rows: nn.ModuleList, points: Tensor, labels: Tensor, seed: int) -> None:
    """Train the layers ``rows``, whose logits stand side by side, on labelled ``points`` [M, D]."""
    rows.requires_grad_(True)
    optimizer = torch.optim.SGD(
        rows.parameters(), lr=RATE, momentum=0.9, weight_decay=1e-3, nesterov=True
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        order = torch.randperm(len(points), generator=generator).to(points.device)
        for batch in order.split(BATCH):
            logits = torch.cat([layer(points[batch]) for layer in rows], dim=1)
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def shot_losses(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return SHOT's cross-entropy, entropy and diversity losses of a batch.

    ``logits`` are [B, K + K'], the pseudo-labels ``label`` [B].
    """
    probabilities = logits.softmax(dim=1)
    ce = F.cross_entropy(logits, label, label_smoothing=LABEL_SMOOTHING)
    return ce, entropy(probabilities).mean(), -entropy(probabilities.mean(dim=0))


def aad_losses(probabilities: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Return AaD's losses of a batch (Yang et al., NeurIPS 2022, arXiv 2205.04183, Eq. 5).

    They attract a sample's probabilities p to its neighbours', -Σ p·p_n, and disperse the batch's,
    Σ_{j≠i} p_i·p_j; both are means over the batch.

    Args:
        probabilities: p [B, C].
        near: Of the neighbours [B, n, C], without gradient.
    """
    attracted = (probabilities[:, None] * near).sum(dim=(1, 2))
    similarity = probabilities @ probabilities.T
    dispersed = similarity.sum(dim=1) - similarity.diagonal()
    return -attracted.mean(), dispersed.mean()


@dataclass(frozen=True)
class ShotState:
    """SHOT's pseudo-labels int64 [N] in 0..K + K' - 1, and the weight of their cross-entropy."""

    label: Tensor
    ce_weight: float


@dataclass(frozen=True)
class AadState:
    """The bank that AaD's batches keep up to date: unit features [N, D], probabilities [N, C]."""

    unit_features: Tensor
    probabilities: Tensor


class Rrda(Method):
    """RRDA: unknown is what one of K' further rows of the classifier has the highest logit of.

    Until the first epoch these rows are zero.

    Args:
        open_set: False (PDA) rejects nothing at test time, though the losses are the same.
        objective: shot, which freezes the classifier: L = ``ce_weight`` · L_ce + ½ L_entropy +
            L_diversity, in the first epoch without L_ce; or aad, which trains it: L = L_attract +
            L_disperse.
        unknown_classes: K'; 0 takes as many as the source has.
        ce_weight: 0.3 for Office-31, 0.1 for Office-Home, 0.4 for VisDA.
        neighbours: AaD's.
        steps: Of the synthesis of features.
    """

    name = "rrda"
    title = "RRDA"
    own_score = True

    def __init__(
        self,
        *,
        open_set: bool,
        objective: str = "shot",
        unknown_classes: int = 0,
        ce_weight: float = 0.3,
        neighbours: int = 5,
        steps: int = 1000,
    ) -> None:
        super().__init__(open_set=open_set)
        if objective not in OBJECTIVES:
            raise ValueError(
                f"adapt.options.rrda.objective: {objective!r} is not one of {', '.join(OBJECTIVES)}"
            )
        for key, number, least in (
            ("unknown_classes", unknown_classes, 0),
            ("neighbours", neighbours, 1),
            ("steps", steps, 1),
        ):
            if number < least:
                raise ValueError(f"adapt.options.rrda.{key}: {number} must be at least {least}")
        check_weight("rrda.ce_weight", ce_weight)
        self.objective = objective
        self.unknown_classes = unknown_classes
        self.ce_weight = ce_weight
        self.neighbours = neighbours if objective == "aad" else 0
        self.steps = steps
        self.trains_classifier = objective == "aad"
        self.threshold = 0.5 if open_set else None  # of `unknown_score`

    def make_heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        """Return the K' rows of what is unknown."""
        layer = nn.Linear(num_features, self.unknown_classes or num_classes)
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        return {"unknown": layer.requires_grad_(self.trains_classifier)}

    def refresh(self, bank: Bank, epoch: int, once: Once = run_locally) -> ShotState | AadState:
        """Return the epoch's pseudo-labels or bank; before the first epoch train the classifier."""
        if epoch == 0:
            rows = nn.ModuleList([self.classifier, self._unknown])
            rows.load_state_dict(once(partial(self._trained_rows, rows, bank.features)))
        with torch.no_grad():
            probabilities = self._logits(self.classifier(bank.features), bank.features).softmax(1)
        if self.objective == "aad":
            return AadState(F.normalize(bank.features, dim=1), probabilities)
        label = once(partial(centroid_labels, bank.features, probabilities))
        return ShotState(label, self.ce_weight if epoch else 0.0)

    @property
    def _unknown(self) -> nn.Linear:
        layer = self.heads["unknown"]
        assert isinstance(layer, nn.Linear)
        return layer

    def _trained_rows(self, rows: nn.ModuleList, features: Tensor) -> dict[str, Any]:
        """Return the weights of ``rows``, the known and the unknown, that the synthesis teaches."""
        classes = self.classifier.out_features, self._unknown.out_features
        frozen = copy.deepcopy(self.classifier).requires_grad_(False)
        points, labels = synthetic_features(frozen, features, classes, self.steps, self.seed)
        trained = copy.deepcopy(rows)
        train_rows(trained, points, labels, self.seed)
        return trained.state_dict()

    def _logits(self, known: Tensor, features: Tensor) -> Tensor:
        """Return the logits [B, K + K'] of ``features``, whose ``known`` are [B, K]."""
        return torch.cat([known, self._unknown(features)], dim=1)

    def loss(self, target: Batch, state: ShotState | AadState) -> dict[str, Tensor]:
        """Return the losses of a batch, weighted."""
        logits = self._logits(target.logits, target.features)
        if isinstance(state, ShotState):
            ce, mean_entropy, diversity = shot_losses(logits, state.label[target.index])
            return {
                "ce": state.ce_weight * ce,
                "entropy": ENTROPY_WEIGHT * mean_entropy,
                "diversity": diversity,
            }
        probabilities, z = logits.softmax(dim=1), F.normalize(target.features.detach(), dim=1)
        state.unit_features[target.index] = z
        state.probabilities[target.index] = probabilities.detach()
        near = state.probabilities[self.neighbours_of(target, z, state.unit_features)]
        attract, disperse = aad_losses(probabilities, near)
        return {"attract": attract, "disperse": disperse}

    @torch.no_grad()
    def unknown_score(self, bank: Bank) -> Tensor:
        """Return the highest unknown row's share of its and the highest known row's exponentials.

        [N], above ½ where a further row has the highest logit of all.
        """
        known = self.classifier(bank.features).amax(dim=1)
        return (self._unknown(bank.features).amax(dim=1) - known).sigmoid()

    def summary(self, state: ShotState | AadState) -> dict[str, Tensor]:
        """Return SHOT's pseudo-labels, in 0..K, where K is unknown."""
        if isinstance(state, AadState):
            return {}
        return {"label": state.label.clamp(max=self.classifier.out_features)}

    def state_dict(self) -> dict[str, Any]:
        """Return the unknown rows; the known ones are the network's."""
        return {"heads": self.heads.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.heads.load_state_dict(state["heads"])
