"""LEAD (Qu et al., CVPR 2024, arXiv 2403.03421): decomposes features into source-known and
source-unknown parts.

`uda.methods.geometry` is the paper's orthogonal feature decomposition, `common_score` and the
thresholds of `pseudo_labels` are its instance-level decision boundaries. The defaults follow the
released code, which the published numbers come from; where the paper's text means something else,
an option has its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.nn import functional as F

from uda.methods.base import Bank, Batch, Method, Once, check_weight, run_locally
from uda.methods.clusters import CLUSTERS, estimate_num_clusters
from uda.methods.geometry import consistency, known_basis, most_confident, prototypes, split_norms
from uda.methods.unknown import LOG_EPSILON

WEIGHT_ALPHA = 1e-4
SPLITS = ("norm", "cosine")


@dataclass(frozen=True)
class PseudoLabels:
    """``label`` int64 [N] in 0..K (K is unknown), ``target`` [N, K], ``weight`` [N].

    ``unknown_norm`` u [N] (`unknown_part`) and its two-component mixture (``means``,
    ``deviations``, ``shares``, each [2], the smaller mean first), and ``threshold`` [N], are what
    they were decided by.
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
    """Labels, training targets and weights of the whole target.

    ``features`` [N, D], ``probabilities`` [N, K], ``class_weights`` W [K, D], ``num_clusters`` C_t.
    ``confident_weights`` sets the weight of samples outside [q, μ₂] to 1, as the paper's text says
    (the released code writes that into a copy). ``split`` is u: see `unknown_part`. ValueError
    where K ≥ D.
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
    """u [N], high for unknown, of ``unit_features`` z [N, D] and ``class_weights`` W [K, D].

    "norm", as published: the norm of what of z lies outside the span of W's rows. "cosine": 1 − the
    highest cosine of z and a row, which also tells what lies inside the span between the classes.
    """
    if split == "norm":
        return split_norms(unit_features, known_basis(class_weights))[1]
    return 1 - (unit_features @ F.normalize(class_weights, dim=1).T).max(dim=1).values


def common_score(target_cosine: Tensor, source_cosine: Tensor) -> Tensor:
    """c [N, K] = sqrt((1 - exp(-max(z·t, 0))) · exp(max(z·s, 0) - 1)): how near a feature is to a
    class's target prototype t and source anchor s together."""
    near_target = 1 - (-target_cosine.clamp(min=0)).exp()
    near_source = (source_cosine.clamp(min=0) - 1).exp()
    return (near_target * near_source).sqrt()


def _mixture(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means, deviations and shares [2] of a two-component Gaussian mixture on ``u`` [N]."""
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
    """Pseudo-labels of this epoch and the bank that the batches keep writing into."""

    pseudo: PseudoLabels
    basis: Tensor
    unit_features: Tensor
    probabilities: Tensor


def start_state(bank: Bank, pseudo: PseudoLabels) -> LeadState:
    """The state at an epoch's start, from copies of ``bank``."""
    return LeadState(
        pseudo,
        known_basis(bank.class_weights),
        F.normalize(bank.features, dim=1),
        bank.probabilities.clone(),
    )


def losses(
    features: Tensor, probabilities: Tensor, index: Tensor, state: LeadState, neighbours: int = 4
) -> tuple[Tensor, Tensor, Tensor]:
    """L_ce, L_reg and L_con of a batch.

    ``features`` [B, D], ``probabilities`` [B, K] and their rows ``index`` [B] of the bank. Weighted
    losses are sums over the batch divided by its size, not by the weights. The batch's rows of the
    state's bank are replaced, detached, after the neighbours were looked up.
    """
    pseudo, z = state.pseudo, F.normalize(features, dim=1)
    target, weight = pseudo.target[index], pseudo.weight[index]
    log_p = (probabilities + LOG_EPSILON).log()
    ce = -(weight * (target * log_p).sum(dim=1)).mean()

    norms = torch.stack(split_norms(z, state.basis), dim=1)
    is_unknown = (pseudo.label[index] == probabilities.shape[1]).long()
    log_part = (norms.softmax(dim=1) + LOG_EPSILON).log()
    reg = -(weight * log_part.gather(1, is_unknown[:, None])[:, 0]).mean()

    con = consistency(z, probabilities, index, state.unit_features, state.probabilities, neighbours)
    return ce, reg, con


class Lead(Method):
    """LEAD: L = λ · L_ce + L_reg + L_con, λ being ``ce_weight``; ``reg_weight`` and
    ``con_weight``, 1 as published, weight the other two.

    ``open_set`` False (PDA) rejects nothing at test time, though pseudo-labels may be unknown.
    ``split`` is what separates known from unknown: norm as published, or cosine.
    ``clusters`` is how C_t is estimated (every ``cluster_every`` epochs): features, tsne as
    released, spectral, or classes for as many as the source has.
    """

    name = "lead"
    title = "LEAD"
    needs_unknown_space = True  # for `known_basis`
    added_options = ("split", "reg_weight", "con_weight")

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
    ) -> None:
        super().__init__(open_set=open_set, entropy_threshold=entropy_threshold)
        for key, choice, known in (("clusters", clusters, CLUSTERS), ("split", split, SPLITS)):
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
        self.reg_weight = reg_weight
        self.con_weight = con_weight
        self.num_clusters: int | None = None

    def refresh(self, bank: Bank, epoch: int, once: Once = run_locally) -> LeadState:
        """Pseudo-labels of the whole target; C_t anew every ``cluster_every`` epochs."""
        return start_state(bank, once(partial(self._pseudo_labels, bank, epoch)))

    def _pseudo_labels(self, bank: Bank, epoch: int) -> PseudoLabels:
        num_classes = bank.class_weights.shape[0]
        if self.num_clusters is None or epoch % self.cluster_every == 0:
            self.num_clusters = estimate_num_clusters(
                bank.features, num_classes, self.num_clusters, self.clusters
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
        """The three losses, weighted."""
        probabilities = target.logits.softmax(dim=1)
        ce, reg, con = losses(target.features, probabilities, target.index, state, self.neighbours)
        return {
            "ce": self.ce_weight * ce,
            "reg": self.reg_weight * reg,
            "con": self.con_weight * con,
        }

    def summary(self, state: LeadState) -> dict[str, Tensor]:
        """The unknown-space norms and their mixture."""
        pseudo = state.pseudo
        names = ("label", "weight", "unknown_norm", "threshold", "means", "deviations", "shares")
        return {name: getattr(pseudo, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """C_t."""
        return {"num_clusters": self.num_clusters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up C_t."""
        self.num_clusters = state["num_clusters"]
