"""GLC (Qu et al., CVPR 2023, arXiv 2303.07110).

`pseudo_labels` is the paper's one-vs-all global clustering, ρ its confidence-based source-private
suppression, C_t its silhouette-based estimate (`uda.methods.clusters`), the second of `losses` its
local consensus clustering. The defaults follow the released code where the paper leaves a choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.methods.base import Bank, Batch, Method, Once, check_share, check_weight, run_locally
from uda.methods.clusters import CLUSTERS, estimate_num_clusters
from uda.methods.geometry import consistency, most_confident, prototypes
from uda.methods.kmeans import kmeans_centroids, nearest_centroid
from uda.methods.unknown import LOG_EPSILON

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 3.0)
KMEANS = ("faiss", "torch")
REFINING = 3  # rounds from the centroids of all samples: labels are those of 25, but for 0.5 %


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labels of the whole target, and the similarities that decided them.

    Attributes:
        label: int64 [N] in 0..K, where K is unknown.
        target: [N, K], what the batches are trained towards.
        similarity: [N], the suppressed cosine to the prototype of the nearest class.
        rival: [N], the cosine to the nearest of that class's negative centroids (-inf without any).
    """

    label: Tensor
    target: Tensor
    similarity: Tensor
    rival: Tensor


def unit_centroids(
    points: Tensor, count: int, seed: int, max_rounds: int = 100, max_points: int = 0
) -> Tensor:
    """Return the unit-norm centroids [C, d] of k-means of ``points`` [M, d]; C = min(``count``, M).

    It stays on the device of ``points``: runs from before faiss's k-means were made with it.
    Lloyd's rounds start from ``count`` random points and end when no point moves, or after
    ``max_rounds``. A cluster that loses all its points keeps its centroid. At most ``max_points``
    random points are clustered; 0 takes all.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(points), generator=generator).to(points.device)
    centroids = points[order[:count]]
    if 0 < max_points < len(points):
        points = points[order[:max_points]]
    numbers = torch.arange(len(centroids), device=points.device)
    assigned: Tensor | None = None
    for _ in range(max_rounds):
        nearest = nearest_centroid(points, centroids)
        if assigned is not None and torch.equal(nearest, assigned):
            break
        assigned = nearest
        # As a product, which adds in the same order every time on a GPU too.
        member = (assigned[:, None] == numbers).to(points.dtype)
        sizes = member.sum(dim=0)[:, None]
        centroids = torch.where(sizes > 0, member.T @ points / sizes.clamp(min=1), centroids)
    return F.normalize(centroids, dim=1)


def all_centroids(points: Tensor, count: int, max_points: int) -> Tensor:
    """Return the centroids [C, d] of faiss's k-means of ``points`` [N, d], seed 0."""
    return kmeans_centroids(some_of(points, max_points, 0), count)


def refined_centroids(points: Tensor, start: Tensor, seed: int, max_points: int) -> Tensor:
    """Return the unit-norm centroids of faiss's k-means of ``points`` [M, d] from ``start``."""
    points = some_of(points, max_points, seed)
    start = start[: len(points)]
    return F.normalize(kmeans_centroids(points, len(start), start=start, rounds=REFINING), dim=1)


def some_of(points: Tensor, max_points: int, seed: int) -> Tensor:
    """Return ``points`` [M, d], at most ``max_points`` (seeded random ones) if that is not 0."""
    if not 0 < max_points < len(points):
        return points
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    return points[order[:max_points].to(points.device)]


def pseudo_labels(
    features: Tensor,
    probabilities: Tensor,
    num_clusters: int,
    rho: float = 0.75,
    samples_per_centroid: int = 0,
    kmeans: str = "faiss",
) -> PseudoLabels:
    """Return labels and training targets of the whole target; equal arguments give equal labels.

    A sample's label is the class k of the nearest prototype t_k, the mean of the n = N // C_t most
    confident for k. It is unknown if a unit centroid (of C_t, of all samples but those n) is nearer
    to it than ρ_k z·t_k, where ρ_k = ``rho`` + (1 - ``rho``) · mean p_k of those n.

    Args:
        features: [N, D].
        probabilities: [N, K].
        num_clusters: C_t.
        rho: In 0 to 1, where 1 suppresses no class.
        samples_per_centroid: Random samples of each k-means, at most so many times C_t; 0 takes
            all.
        kmeans: An entry of `KMEANS`. faiss begins each class's k-means at the centroids of all
            samples, of which it leaves out a few.
    """
    num_classes = probabilities.shape[1]
    z = F.normalize(features, dim=1)
    rows = most_confident(probabilities, max(len(z) // num_clusters, 1))
    confidence = torch.stack([probabilities[top, k].mean() for k, top in enumerate(rows)])
    similarity, label = (z @ prototypes(z, rows).T).max(dim=1)
    similarity = (rho + (1 - rho) * confidence)[label] * similarity
    rival = torch.full_like(similarity, -torch.inf)
    most = samples_per_centroid * num_clusters
    start = all_centroids(z, num_clusters, most) if kmeans == "faiss" else None
    for k, top in enumerate(rows):
        # Only samples nearest to t_k ask for this class's centroids, so not all N are compared.
        asking = label == k
        others = torch.ones_like(asking)
        others[top] = False
        if asking.any() and others.any():
            if start is None:
                centroids = unit_centroids(z[others], num_clusters, seed=k, max_points=most)
            else:
                centroids = refined_centroids(z[others], start, k, most)
            rival[asking] = (z[asking] @ centroids.T).amax(dim=1)
    unknown = similarity < rival
    target = F.one_hot(label, num_classes).to(z.dtype)
    target[unknown] = 1 / num_classes
    return PseudoLabels(torch.where(unknown, num_classes, label), target, similarity, rival)


@dataclass
class GlcState:
    """The pseudo-labels of an epoch, and the bank that its batches keep up to date."""

    pseudo: PseudoLabels
    unit_features: Tensor
    probabilities: Tensor


def start_state(bank: Bank, pseudo: PseudoLabels) -> GlcState:
    """Return the state at an epoch's start, from copies of ``bank``."""
    return GlcState(pseudo, F.normalize(bank.features, dim=1), bank.probabilities.clone())


def losses(
    features: Tensor, probabilities: Tensor, index: Tensor, state: GlcState, near: Tensor
) -> tuple[Tensor, Tensor]:
    """Return L_ce and L_con of a batch: the paper's global and local losses.

    ``features`` are [B, D], ``probabilities`` [B, K]; ``index`` [B] are their rows in the bank,
    which `consistency` replaces; ``near`` [B, n] are their neighbours' rows.
    """
    log_p = (probabilities + LOG_EPSILON).log()
    ce = -(state.pseudo.target[index] * log_p).sum(dim=1).mean()
    z = F.normalize(features, dim=1)
    con = consistency(z, probabilities, index, state.unit_features, state.probabilities, near)
    return ce, con


def affinity(z: Tensor, near: Tensor, bank_features: Tensor, num_clusters: int) -> Tensor:
    """Return GLC++'s L_aff (arXiv 2403.14410): neighbours nearer, and others further.

    Of the batch, those count as others that come just after as many as one cluster would have.

    Args:
        z: Unit-norm features of the batch [B, D].
        near: int64 [B, n], each sample's neighbours in the bank.
        bank_features: Unit-norm [N, D], with the batch's own already replaced.
        num_clusters: C_t.
    """
    attracted = (z[:, None] * bank_features[near]).sum(dim=(1, 2))
    first = math.ceil(len(z) / num_clusters)
    ranked = (z @ z.detach().T).sort(dim=1, descending=True).values[:, 1:]  # but itself
    pushed = ranked[:, first : first + near.shape[1]].sum(dim=1)
    return (pushed - attracted).mean()


class Glc(Method):
    """GLC: L = ``ce_weight`` · L_ce + L_con, and GLC++ with ``affinity_weight`` · L_aff.

    Args:
        open_set: False (PDA) rejects nothing at test time, though pseudo-labels may be unknown.
        ce_weight: λ: 0.3 for Office-31 and VisDA, 1.5 for Office-Home and DomainNet.
        rho: In 0 to 1; the lower it is, the less the prototypes of unsure classes count.
        entropy_threshold: Above this entropy / log K a sample is unknown at test time.
        neighbours: Neighbours of L_con.
        clusters: How C_t is estimated, once and among 0.25 0.5 1 2 3 times K: as in
            `uda.methods.clusters.estimate_num_clusters`.
        affinity_weight: 0 for GLC, 1 for GLC++ (arXiv 2403.14410), there 0 for DomainNet.
        samples_per_centroid: Bounds the samples of each k-means (256 as released, 0 for all).
        kmeans: faiss, of which each class's begins at the centroids of all samples (the released
            code's at random ones); or torch, with which C_t of "features" and "spectral" is
            estimated by scikit-learn.
    """

    name = "glc"
    title = "GLC"
    added_options = ("samples_per_centroid", "affinity_weight")
    former_options: ClassVar[Mapping[str, Any]] = {"kmeans": "torch"}

    def __init__(
        self,
        *,
        open_set: bool,
        ce_weight: float = 1.5,
        rho: float = 0.75,
        entropy_threshold: float = 0.55,
        neighbours: int = 4,
        clusters: str = "tsne",
        samples_per_centroid: int = 0,
        kmeans: str = "faiss",
        affinity_weight: float = 0.0,
    ) -> None:
        super().__init__(open_set=open_set, entropy_threshold=entropy_threshold)
        for key, choice, known in (("clusters", clusters, CLUSTERS), ("kmeans", kmeans, KMEANS)):
            if choice not in known:
                raise ValueError(
                    f"adapt.options.glc.{key}: {choice!r} is not one of {', '.join(known)}"
                )
        if neighbours < 1:
            raise ValueError(f"adapt.options.glc.neighbours: {neighbours} must be at least 1")
        if samples_per_centroid < 0:
            raise ValueError(
                f"adapt.options.glc.samples_per_centroid: {samples_per_centroid} must be 0 (all) or"
                " more"
            )
        check_share("glc.rho", rho)
        check_weight("glc.ce_weight", ce_weight)
        check_weight("glc.affinity_weight", affinity_weight)
        self.ce_weight = ce_weight
        self.rho = rho
        self.neighbours = neighbours
        self.clusters = clusters
        self.samples_per_centroid = samples_per_centroid
        self.kmeans = kmeans
        self.affinity_weight = affinity_weight
        self.num_clusters: int | None = None

    def refresh(self, bank: Bank, epoch: int, once: Once = run_locally) -> GlcState:
        """Return the epoch's pseudo-labels and bank; C_t is estimated the first time only."""
        return start_state(bank, once(partial(self._pseudo_labels, bank)))

    def _pseudo_labels(self, bank: Bank) -> PseudoLabels:
        if self.num_clusters is None:
            num_classes = bank.probabilities.shape[1]
            self.num_clusters = estimate_num_clusters(
                bank.features,
                num_classes,
                clusters=self.clusters,
                multiples=MULTIPLES,
                kmeans="faiss" if self.kmeans == "faiss" else "scikit-learn",
            )
        return pseudo_labels(
            bank.features,
            bank.probabilities,
            self.num_clusters,
            self.rho,
            self.samples_per_centroid,
            self.kmeans,
        )

    def loss(self, target: Batch, state: GlcState) -> dict[str, Tensor]:
        """Return the losses of a batch, weighted."""
        probabilities, z = target.logits.softmax(dim=1), F.normalize(target.features, dim=1)
        # Looked up before the batch's rows of the bank are replaced.
        near = self.neighbours_of(target, z, state.unit_features)
        ce, con = losses(target.features, probabilities, target.index, state, near)
        found = {"ce": self.ce_weight * ce, "con": con}
        if self.affinity_weight and self.num_clusters:
            apart = affinity(z, near, state.unit_features, self.num_clusters)
            found["aff"] = self.affinity_weight * apart
        return found

    def summary(self, state: GlcState) -> dict[str, Tensor]:
        """Return the labels, and the two similarities that decided them."""
        pseudo = state.pseudo
        return {name: getattr(pseudo, name) for name in ("label", "similarity", "rival")}

    def state_dict(self) -> dict[str, Any]:
        """Return C_t."""
        return {"num_clusters": self.num_clusters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore C_t."""
        self.num_clusters = state["num_clusters"]
