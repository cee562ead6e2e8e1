"""DCC (Li et al., CVPR 2021): clusters of the target that agree with classes of the source."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.methods.base import Bank, Batch, Once, check_weight, run_locally
from uda.methods.joint import JointMethod
from uda.methods.kmeans import kmeans_centroids, nearest_centroid
from uda.methods.losses import soft_cross_entropy
from uda.methods.unknown import Prediction, predict_above, predict_by_entropy

TEMPERATURE = 0.1
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
DROPS = 4  # scores of which none is higher than the one before end the search
RAMP_STEPS = 5_000
FIRST_THRESHOLD = 0.55  # of the entropy, before there are clusters
SEARCHES = ("best", "released")


class Consensus(NamedTuple):
    """The pairs of a class and a cluster that are each other's nearest.

    Attributes:
        pairs: int64 [P, 2]: class, cluster.
        parts: [P, 2]: the share of the cluster's samples nearest to the class's centre, and of the
            class's samples nearest to the cluster's.
    """

    pairs: Tensor
    parts: Tensor

    @property
    def score(self) -> float:
        """The mean of all parts; 0 without a pair, where the released code divides by zero."""
        return float(self.parts.mean()) if len(self.parts) else 0.0


def class_centres(unit: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the unit-norm mean [K, D] of each class's unit-norm features [N, D]."""
    sums = unit.new_zeros(num_classes, unit.shape[1]).index_add_(0, labels, unit)
    return F.normalize(sums, dim=1)


def consensus(
    source: Tensor, labels: Tensor, centres: Tensor, target: Tensor, codes: Tensor, clusters: Tensor
) -> Consensus:
    """Return which classes and clusters agree, and how far.

    Args:
        source: Unit-norm features [N_s, D].
        labels: int64 [N_s].
        centres: Of the classes, unit-norm [K, D].
        target: Unit-norm features [N_t, D].
        codes: int64 [N_t], each sample's cluster.
        clusters: Their centres [C, D].
    """
    clusters = F.normalize(clusters, dim=1)
    cosines = centres @ clusters.T
    classes = torch.arange(len(centres), device=cosines.device)
    cluster = cosines.argmax(dim=1)
    mutual = cosines.argmax(dim=0)[cluster] == classes
    pairs = torch.stack([classes, cluster], dim=1)[mutual]
    of_target = (target @ centres.T).argmax(dim=1)
    of_source = (source @ clusters.T).argmax(dim=1)
    parts = [
        [
            (of_target[codes == j] == k).float().mean().nan_to_num(0),
            (of_source[labels == k] == j).float().mean().nan_to_num(0),
        ]
        for k, j in pairs.tolist()
    ]
    return Consensus(pairs, cosines.new_tensor(parts).view(-1, 2))


def ends_search(scores: Sequence[float]) -> bool:
    """Return whether none of the last `DROPS` scores is higher than the one before."""
    last = scores[-DROPS:]
    return len(last) == DROPS and all(b <= a for a, b in pairwise(last))


def chosen_place(scores: Sequence[float], search: str) -> int:
    """Return the place of the chosen score.

    The first highest; or, "released" and ended by `ends_search`, the first of those that ended it.
    """
    if search == "released" and ends_search(scores):
        return len(scores) - DROPS
    return scores.index(max(scores))


def contrastive_discrepancy(source: Tensor, target: Tensor, num_matched: int) -> Tensor:
    """Return CDD: the kernel distance within classes less that between them.

    Bandwidths are of the samples, and carry no gradient.

    Args:
        source: Features [C, n, D], n of each class.
        target: The same of the target's clusters.
        num_matched: C': by how many classes the sums are divided.
    """
    count, size = source.shape[:2]
    within_source = _squared(source, source)  # [C, n, n]
    within_target = _squared(target, target)
    between = _squared(source[:, None], target[None])  # [C, C, n, n]
    with torch.no_grad():
        sums = within_source.sum(dim=(1, 2))[:, None] + within_target.sum(dim=(1, 2))[None]
        gamma = (sums + 2 * between.sum(dim=(2, 3))) / (4 * size**2 - 2 * size)
    distance = (
        _kernel(within_source[:, None], gamma)
        + _kernel(within_target[None], gamma)
        - 2 * _kernel(between, gamma)
    )
    intra = distance.diagonal().sum() / num_matched
    if num_matched == 1 or count == 1:
        return intra
    inter = (distance.sum() - distance.diagonal().sum()) / (num_matched * (num_matched - 1))
    return intra - inter


def _squared(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., :, None, :] - b[..., None, :, :]).square().sum(dim=-1)


def _kernel(distances: Tensor, gamma: Tensor) -> Tensor:
    """Return the mean over a block of samples of the sum of five Gaussians, [C, C]."""
    total = sum(
        (-(distances / (gamma * width).clamp_min(1e-5)[..., None, None]).clamp(1e-5, 1e5)).exp()
        for width in BANDWIDTHS
    )
    assert isinstance(total, Tensor)
    return total.mean(dim=(2, 3))


def moved_memory(memory: Tensor, unit: Tensor, codes: Tensor) -> Tensor:
    """Return the clusters' rows [C, D], those of a batch moved towards its unit-norm features."""
    sums = F.normalize(memory.new_zeros(memory.shape).index_add_(0, codes, unit.detach()), dim=1)
    share = (memory * sums).sum(dim=1, keepdim=True)
    moved = F.normalize(share * memory + (1 - share) * sums, dim=1)
    seen = torch.zeros(len(memory), 1, dtype=torch.bool, device=memory.device)
    seen[codes] = True
    return torch.where(seen, moved, memory)


class Clusters(NamedTuple):
    """An epoch's clusters.

    Attributes:
        codes: int64 [N], each target sample's cluster.
        centres: Unit-norm [C, D], which every step moves, and by which pictures are answered.
        class_of: int64 [C]: the class that a cluster is matched with, or -1.
    """

    codes: Tensor
    centres: Tensor
    class_of: Tensor


class Dcc(JointMethod):
    """DCC: cross-entropy, ``weight`` · CDD of matched classes and clusters, and clusters' memory.

    Every epoch the target is clustered anew; the number of clusters is that which classes and
    clusters agree on most. A batch's first halves are of matched classes, ``per_class`` pictures
    each of the source and of the cluster; the rest of the source's is any, that of the target's of
    any clusters. So BatchNorm sees one batch of either domain where the released code has four.

    Two things are otherwise than released unless asked for. Its search ends at the first run of
    four scores that do not rise and takes where that began, though an earlier one was higher. And
    its batches hold a class several times, which CDD then pushes from itself.

    Args:
        open_set: False (PDA) rejects nothing.
        weight: λ.
        per_class: n_p, pictures of a class or cluster in a batch; no smaller cluster is matched.
        interval: Between the numbers of clusters that are tried.
        most: The highest of them, times K.
        search: best, or released.
        repeated: Whether a batch may hold a class several times, as released.
    """

    name = "dcc"
    title = "DCC"
    own_score = True
    needs_source_bank = True

    def __init__(
        self,
        *,
        open_set: bool,
        weight: float = 0.1,
        per_class: int = 6,
        interval: int = 5,
        most: int = 5,
        search: str = "best",
        repeated: bool = False,
    ) -> None:
        super().__init__(open_set=open_set)
        check_weight("dcc.weight", weight)
        for key, value in (("per_class", per_class), ("interval", interval), ("most", most)):
            if value < 1:
                raise ValueError(f"adapt.options.dcc.{key}: {value} must be at least 1")
        if search not in SEARCHES:
            raise ValueError(
                f"adapt.options.dcc.search: {search!r} is not one of {', '.join(SEARCHES)}"
            )
        self.weight = weight
        self.per_class = per_class
        self.interval = interval
        self.most = most
        self.search = search
        self.repeated = repeated
        self.threshold = 0.0 if open_set else None
        self.counts: list[int] = []  # of clusters, by epoch
        self.clusters: Clusters | None = None
        self.source: tuple[Bank, Tensor, Tensor] | None = None

    def see_source(self, bank: Bank, labels: Tensor, row_labels: Tensor) -> None:
        """Keep the source's bank for `refresh`."""
        self.source = bank, labels.to(bank.features.device), row_labels

    def refresh(self, bank: Bank, epoch: int, once: Once = run_locally) -> Clusters:
        """Cluster the target anew."""
        self.clusters = once(partial(self._cluster, bank))
        self.counts.append(len(self.clusters.centres))
        return self.clusters

    def _cluster(self, bank: Bank) -> Clusters:
        assert self.source is not None
        source, labels, _ = self.source
        unit, target = (F.normalize(b.features, dim=1) for b in (source, bank))
        centres = class_centres(unit, labels, len(bank.class_weights))
        tried: list[tuple[Tensor, Tensor, Consensus]] = []
        for clusters in self._tries(target, len(centres)):
            codes = nearest_centroid(target, clusters)
            tried.append(
                (codes, clusters, consensus(unit, labels, centres, target, codes, clusters))
            )
            if self.search == "released" and ends_search([each.score for *_, each in tried]):
                break
        place = chosen_place([each.score for *_, each in tried], self.search)
        codes, clusters, found = tried[place]
        sizes = codes.bincount(minlength=len(clusters))
        class_of = torch.full((len(clusters),), -1, device=codes.device)
        for k, j in found.pairs.tolist():
            if sizes[j] > self.per_class:
                class_of[j] = k
        return Clusters(codes, F.normalize(clusters, dim=1), class_of)

    def _tries(self, target: Tensor, num_classes: int) -> Iterator[Tensor]:
        """Yield centroids of k-means for the numbers of clusters that are tried, in their order.

        Once two epochs in a row had the same number it is kept, and k-means begins at the memory.
        """
        if self.clusters and len(self.counts) > 1 and self.counts[-1] == self.counts[-2]:
            start = self.clusters.centres
            yield kmeans_centroids(target, len(start), start=start)
            return
        first = self.interval if self.counts else num_classes
        last = max(first, min(self.most * num_classes, len(target)))
        for count in range(first, last + 1, self.interval):
            yield kmeans_centroids(target, count, self.seed)

    def rows(self, state: Clusters, steps: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return the rows of the source's list and of the target of an epoch's steps."""
        assert self.source is not None
        _, _, row_labels = self.source
        generator = torch.Generator().manual_seed((self.seed << 32) + self.step + 1)
        by_class = _members(row_labels.cpu())
        by_cluster = _members(state.codes.cpu())
        matched = (state.class_of.cpu() >= 0).nonzero()[:, 0]
        slots = self.slots(len(matched), batch_size)
        left = batch_size - slots * self.per_class
        source, target = [], []
        for _ in range(steps):
            if self.repeated and slots:
                clusters = matched[
                    torch.randperm(10 * slots, generator=generator)[:slots] % len(matched)
                ]
            else:
                clusters = matched[torch.randperm(len(matched), generator=generator)[:slots]]
            classes = [int(state.class_of[j]) for j in clusters.tolist()]
            some = torch.randint(
                len(by_cluster), (-(-left // self.per_class),), generator=generator
            )
            others = [list(by_cluster)[j] for j in some.tolist()]
            plain = torch.randperm(len(row_labels), generator=generator)[:left]
            if len(plain) < left:
                plain = torch.randint(len(row_labels), (left,), generator=generator)
            source.append(torch.cat([*self._drawn(by_class, classes, generator), plain]))
            every = [*clusters.tolist(), *others]
            target.append(torch.cat(self._drawn(by_cluster, every, generator))[:batch_size])
        return torch.stack(source), torch.stack(target)

    def slots(self, num_matched: int, batch_size: int) -> int:
        """Return how many classes a batch's first half holds."""
        room = batch_size // 2 // self.per_class
        return room if self.repeated and num_matched else min(room, num_matched)

    def _drawn(
        self, members: Mapping[int, Tensor], groups: Sequence[int], generator: torch.Generator
    ) -> list[Tensor]:
        """Return ``per_class`` rows of each group, with repeats."""
        sizes = [len(members[group]) for group in groups]
        return [
            members[group][torch.randint(size, (self.per_class,), generator=generator)]
            for group, size in zip(groups, sizes, strict=True)
        ]

    def joint_loss(self, source: Batch, target: Batch, state: Clusters) -> dict[str, Tensor]:
        """Return the losses, weighted."""
        assert source.targets is not None
        matched = int((state.class_of >= 0).sum())
        slots = self.slots(matched, len(source.index))
        first = slots * self.per_class
        losses = {"ce": soft_cross_entropy(source.logits[first:], source.targets[first:])}
        if slots:
            shape = (slots, self.per_class, source.features.shape[1])
            of_source, of_target = (side.features[:first].view(shape) for side in (source, target))
            losses["aware"] = soft_cross_entropy(source.logits[:first], source.targets[:first])
            losses["cdd"] = self.weight * contrastive_discrepancy(of_source, of_target, matched)
        unit = F.normalize(target.features[first:], dim=1)
        codes = state.codes[target.index[first:]]
        state.centres.copy_(moved_memory(state.centres, unit, codes))
        ramp = math.exp(-3 * max(0, RAMP_STEPS - self.step) / RAMP_STEPS)
        of_clusters = F.cross_entropy(unit @ state.centres.clone().T / TEMPERATURE, codes)
        return losses | {"memory": ramp * of_clusters}

    @torch.no_grad()
    def predict(self, bank: Bank) -> Prediction:
        """Return the classifier's label, or unknown where the nearest cluster is matched by none.

        Before the first epoch, by the entropy.
        """
        if self.clusters is None:
            cut = FIRST_THRESHOLD if self.open_set else None
            return predict_by_entropy(bank.probabilities, cut)
        return predict_above(self.unknown_score(bank), bank.probabilities, self.threshold)

    @torch.no_grad()
    def unknown_score(self, bank: Bank) -> Tensor:
        """Return the highest cosine to unmatched clusters less that to matched ones, [N].

        It counts as -1 where there is none.
        """
        if self.clusters is None:
            return super().unknown_score(bank)
        cosines = F.normalize(bank.features, dim=1) @ self.clusters.centres.to(bank.features).T
        matched = self.clusters.class_of.to(cosines.device) >= 0
        unlike, like = (cosines.masked_fill(part, -1).amax(dim=1) for part in (matched, ~matched))
        return unlike - like

    def state_dict(self) -> dict[str, Any]:
        """Return what the base class does, and the clusters."""
        more: dict[str, Any] = {"counts": self.counts, "clusters": None}
        if self.clusters:
            more["clusters"] = self.clusters._asdict()
        return super().state_dict() | more

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        super().load_state_dict(state)
        self.counts = list(state["counts"])
        self.clusters = Clusters(**state["clusters"]) if state["clusters"] else None


def _members(codes: Tensor) -> dict[int, Tensor]:
    """Return the rows of each group of ``codes`` [N] that has any."""
    order = codes.argsort(stable=True)
    groups, sizes = codes[order].unique_consecutive(return_counts=True)
    return dict(zip(groups.tolist(), order.split(sizes.tolist()), strict=True))
