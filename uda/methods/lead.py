"""LEAD (Qu et al., CVPR 2024, arXiv 2403.03421): source-known and source-unknown parts of features.

`uda.methods.geometry` is the paper's orthogonal feature decomposition, `common_score` and the
thresholds of `pseudo_labels` are its instance-level decision boundaries. The defaults follow the
released code, which the published numbers come from; where the paper's text means something else,
an option has its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.methods.base import Bank, Batch, Method, Once, check_weight, run_locally
from uda.methods.clusters import CLUSTERS, KMEANS, estimate_num_clusters
from uda.methods.geometry import consistency, known_basis, most_confident, prototypes, split_norms
from uda.methods.unknown import LOG_EPSILON

WEIGHT_ALPHA = 1e-4
SPLITS = ("norm", "cosine")


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labels of the whole target, and what decided them.

    Attributes:
        label: int64 [N] in 0..K, where K is unknown.
        target: [N, K], what the batches are trained towards.
        weight: [N], of a sample in the losses.
        unknown_norm: u [N], of `unknown_part`.
        threshold: [N]; a sample is unknown where u reaches it.
        means, deviations, shares: Each [2], of u's two-component mixture, the smaller mean first.
    """

    label: Tensor
    target: Tensor
    weight: Tensor
    unknown_norm: Tensor
    threshold: Tensor
    means: Tensor
    deviations: Tensor
    shares: Tensor


def pseudo_labels(
    features: Tensor,
    probabilities: Tensor,
    class_weights: Tensor,
    num_clusters: int,
    confident_weights: bool = False,
    split: str = "norm",
) -> PseudoLabels:
    """Return labels, training targets and weights of the whole target.

    Args:
        features: [N, D].
        probabilities: [N, K].
        class_weights: W [K, D].
        num_clusters: C_t.
        confident_weights: Whether samples outside [q, μ₂] weigh 1, as the paper's text says (the
            released code writes that into a copy).
        split: How u is measured, as in `unknown_part`.

    Raises:
        ValueError: K ≥ D, where ``split`` is "norm".
    """
    num_classes = class_weights.shape[0]
    z = F.normalize(features, dim=1)
    u = unknown_part(z, class_weights, split)
    means, deviations, shares = _mixture(u)
    rows = most_confident(probabilities, max(len(z) // num_clusters, 1))
    priors = torch.stack([u[top].mean() for top in rows])
    anchors = F.normalize(class_weights, dim=1)
    common = common_score(z @ prototypes(z, rows).T, z @ anchors.T)
    score, label = common.max(dim=1)
    prior = priors[label]
    threshold = prior + score * (means[1] - prior).clamp(min=0)
    unknown = u >= threshold
    weight = 1 - (1 + (u - threshold) ** 2 / WEIGHT_ALPHA) ** (-(WEIGHT_ALPHA + 1) / 2)
    if confident_weights:
        weight = torch.where((u < prior) | (u > means[1]), torch.ones_like(weight), weight)
    target = F.one_hot(label, num_classes).to(weight.dtype)
    target[unknown] = 1 / num_classes
    label = torch.where(unknown, num_classes, label)
    return PseudoLabels(label, target, weight, u, threshold, means, deviations, shares)


def unknown_part(unit_features: Tensor, class_weights: Tensor, split: str = "norm") -> Tensor:
    """Return u [N], high for unknown, of ``unit_features`` z [N, D].

    By ``split``: "norm", as published, is the norm of the part of z outside the span of the rows of
    ``class_weights`` W [K, D]. "cosine" is 1 − the highest cosine of z and a row, which is high,
    too, for what lies inside the span between the classes.
    """
    if split == "norm":
        return split_norms(unit_features, known_basis(class_weights))[1]
    return 1 - (unit_features @ F.normalize(class_weights, dim=1).T).max(dim=1).values


def common_score(target_cosine: Tensor, source_cosine: Tensor) -> Tensor:
    """Return how near features z are to each class's target prototype t and source anchor s.

    c [N, K] = sqrt((1 - exp(-max(z·t, 0))) · exp(max(z·s, 0) - 1)), of ``target_cosine`` z·t and
    ``source_cosine`` z·s.
    """
    near_target = 1 - (-target_cosine.clamp(min=0)).exp()
    near_source = (source_cosine.clamp(min=0) - 1).exp()
    return (near_target * near_source).sqrt()


def _mixture(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return means, deviations and shares [2] of a two-component Gaussian mixture on ``u`` [N]."""
    from sklearn.mixture import GaussianMixture

    if len(u) < 2:
        value = u.mean().expand(2)
        return value, torch.zeros_like(value), torch.full_like(value, 0.5)
    # scikit-learn's default tolerance on purpose: run to convergence it gives other labels than
    # the released code.
    mixture = GaussianMixture(2, random_state=0).fit(u.detach().cpu().numpy()[:, None])
    order = mixture.means_[:, 0].argsort()
    parts = (
        mixture.means_[order, 0],
        mixture.covariances_[order, 0, 0] ** 0.5,
        mixture.weights_[order],
    )
    means, deviations, shares = (torch.as_tensor(part).to(u) for part in parts)
    return means, deviations, shares


@dataclass
class LeadState:
    """The pseudo-labels of an epoch, and the bank that its batches keep up to date."""

    pseudo: PseudoLabels
    basis: Tensor
    unit_features: Tensor
    probabilities: Tensor


def start_state(bank: Bank, pseudo: PseudoLabels) -> LeadState:
    """Return the state at an epoch's start, from copies of ``bank``."""
    return LeadState(
        pseudo,
        known_basis(bank.class_weights),
        F.normalize(bank.features, dim=1),
        bank.probabilities.clone(),
    )


def losses(
    features: Tensor,
    probabilities: Tensor,
    index: Tensor,
    state: LeadState,
    near: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return L_ce, L_reg and L_con of a batch.

    Weighted losses are sums over the batch divided by its size, not by the weights.

    Args:
        features: [B, D].
        probabilities: [B, K].
        index: int64 [B], the batch's rows in the state's bank, which are replaced (detached).
        state: The epoch's.
        near: int64 [B, n], the bank's rows that are each sample's neighbours in L_con.
    """
    pseudo, z = state.pseudo, F.normalize(features, dim=1)
    target, weight = pseudo.target[index], pseudo.weight[index]
    log_p = (probabilities + LOG_EPSILON).log()
    ce = -(weight * (target * log_p).sum(dim=1)).mean()

    norms = torch.stack(split_norms(z, state.basis), dim=1)
    is_unknown = (pseudo.label[index] == probabilities.shape[1]).long()
    log_part = (norms.softmax(dim=1) + LOG_EPSILON).log()
    reg = -(weight * log_part.gather(1, is_unknown[:, None])[:, 0]).mean()

    con = consistency(z, probabilities, index, state.unit_features, state.probabilities, near)
    return ce, reg, con


class Lead(Method):
    """LEAD: L = ``ce_weight`` · L_ce + ``reg_weight`` · L_reg + ``con_weight`` · L_con.

    Args:
        open_set: False (PDA) rejects nothing at test time, though pseudo-labels may be unknown.
        ce_weight: λ.
        entropy_threshold: Above this entropy / log K a sample is unknown at test time.
        neighbours: Neighbours of L_con.
        clusters: How C_t is estimated: features, tsne as released, spectral, or classes for as many
            as the source has.
        cluster_every: Epochs from one estimate of C_t to the next.
        confident_weights: As in `pseudo_labels`.
        split: What separates known from unknown: norm as published, or cosine.
        kmeans: What makes the clusters of "features" and "spectral": faiss or scikit-learn.
        reg_weight, con_weight: 1 as published.
    """

    name = "lead"
    title = "LEAD"
    needs_unknown_space = True  # for `known_basis`
    added_options = ("split", "reg_weight", "con_weight")
    former_options: ClassVar[Mapping[str, Any]] = {"kmeans": "scikit-learn"}

    def __init__(
        self,
        *,
        open_set: bool,
        ce_weight: float = 2.0,
        entropy_threshold: float = 0.55,
        neighbours: int = 4,
        clusters: str = "features",
        cluster_every: int = 10,
        confident_weights: bool = False,
        split: str = "norm",
        reg_weight: float = 1.0,
        con_weight: float = 1.0,
        kmeans: str = "faiss",
    ) -> None:
        super().__init__(open_set=open_set, entropy_threshold=entropy_threshold)
        for key, choice, known in (
            ("clusters", clusters, CLUSTERS),
            ("split", split, SPLITS),
            ("kmeans", kmeans, KMEANS),
        ):
            if choice not in known:
                raise ValueError(
                    f"adapt.options.lead.{key}: {choice!r} is not one of {', '.join(known)}"
                )
        for key, value in (("neighbours", neighbours), ("cluster_every", cluster_every)):
            if value < 1:
                raise ValueError(f"adapt.options.lead.{key}: {value} must be at least 1")
        check_weight("lead.ce_weight", ce_weight)
        check_weight("lead.reg_weight", reg_weight)
        check_weight("lead.con_weight", con_weight)
        self.ce_weight = ce_weight
        self.neighbours = neighbours
        self.clusters = clusters
        self.cluster_every = cluster_every
        self.confident_weights = confident_weights
        self.split = split
        self.kmeans = kmeans
        self.reg_weight = reg_weight
        self.con_weight = con_weight
        self.num_clusters: int | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """Without faiss's k-means where no cluster is made by it."""
        return {} if self.clusters in ("features", "spectral") else self.former_options

    def refresh(self, bank: Bank, epoch: int, once: Once = run_locally) -> LeadState:
        """Return the epoch's pseudo-labels and bank; C_t is new every ``cluster_every`` epochs."""
        return start_state(bank, once(partial(self._pseudo_labels, bank, epoch)))

    def _pseudo_labels(self, bank: Bank, epoch: int) -> PseudoLabels:
        num_classes = bank.class_weights.shape[0]
        if self.num_clusters is None or epoch % self.cluster_every == 0:
            self.num_clusters = estimate_num_clusters(
                bank.features, num_classes, self.num_clusters, self.clusters, kmeans=self.kmeans
            )
        return pseudo_labels(
            bank.features,
            bank.probabilities,
            bank.class_weights,
            self.num_clusters,
            self.confident_weights,
            self.split,
        )

    def loss(self, target: Batch, state: LeadState) -> dict[str, Tensor]:
        """Return the three losses of a batch, weighted."""
        probabilities = target.logits.softmax(dim=1)
        z = F.normalize(target.features, dim=1)
        # Looked up before the batch's rows of the bank are replaced.
        near = self.neighbours_of(target, z, state.unit_features)
        ce, reg, con = losses(target.features, probabilities, target.index, state, near)
        return {
            "ce": self.ce_weight * ce,
            "reg": self.reg_weight * reg,
            "con": self.con_weight * con,
        }

    def summary(self, state: LeadState) -> dict[str, Tensor]:
        """Return labels and weights, and the unknown-space norms and mixture that decided them."""
        pseudo = state.pseudo
        names = ("label", "weight", "unknown_norm", "threshold", "means", "deviations", "shares")
        return {name: getattr(pseudo, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Return C_t."""
        return {"num_clusters": self.num_clusters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore C_t."""
        self.num_clusters = state["num_clusters"]
