"""UniOT (Chang et al., arXiv 2210.17067): optimal transport finds common and private classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda.methods.base import Bank, Batch, Once, check_share, check_weight, run_locally
from uda.methods.joint import JointMethod, make_unit_rows
from uda.methods.losses import soft_cross_entropy
from uda.methods.unknown import Prediction

TEMPERATURE = 0.1
BALANCED_REG, BALANCED_ROUNDS = 0.05, 3
REG, MASS_REG = 0.01, 0.5  # of the unbalanced transport: entropy, and its masses
POWER = MASS_REG / (MASS_REG + REG)
ROUNDS = 1_000  # at most
TRAINING_STOP, TEST_STOP = 1e-4, 1e-6
FIRST_STEPS = 101  # without common classes

ANSWER = ("duals", "total", "rows")

Draw = Callable[[int, int], Tensor]  # how many numbers, below which: int64 [count], with repeats


class Neighbours(NamedTuple):
    """The nearest feature of each of a batch's samples.

    Attributes:
        features: Unit-norm [B, D]; those of the batch itself carry a gradient.
        choice: int64 [B]: 0 for one of the queue, i for row i - 1 of the batch.
        similarity: Of the queue's nearest, over the temperature [B].
    """

    features: Tensor
    choice: Tensor
    similarity: Tensor


def nearest(unit: Tensor, index: Tensor, queue: Tensor, queue_index: Tensor) -> Neighbours:
    """Return each sample's nearest in the queue and in the batch, except itself.

    Args:
        unit: Unit-norm features of the batch [B, D].
        index: int64 [B], its rows of the target.
        queue: Unit-norm features [Q, D].
        queue_index: int64 [Q], their rows; those of the batch count for none of it.
    """
    lowest = -1 / TEMPERATURE
    with torch.no_grad():
        kept = unit @ queue.T / TEMPERATURE
        kept[:, torch.isin(queue_index, index)] = lowest
        similarity, place = kept.max(dim=1)
        beside = (unit @ unit.T / TEMPERATURE).fill_diagonal_(lowest)
        best, other = beside.max(dim=1)
        choice = torch.where(best > similarity, other + 1, 0)
    features = torch.where((choice == 0)[:, None], queue[place], unit[(choice - 1).clamp_min(0)])
    return Neighbours(features, choice, similarity)


def balanced_plan(similarity: Tensor) -> Tensor:
    """Return soft assignments [n, C] of rows to clusters of equal mass: n times Sinkhorn's plan."""
    plan = (similarity / BALANCED_REG).exp()
    plan = plan / plan.sum()
    rows, columns = plan.shape
    for _ in range(BALANCED_ROUNDS):
        plan = plan / plan.sum(dim=0, keepdim=True) / columns
        plan = plan / plan.sum(dim=1, keepdim=True) / rows
    return plan * rows


class Transport(NamedTuple):
    """A plan between samples and classes, whose masses need not be met.

    Attributes:
        plan: float64 [n, K], of sum 1.
        duals: float64 [K], the classes' scaling factors.
        total: The sum before it was made 1.
        rounds: How many it took.
    """

    plan: Tensor
    duals: Tensor
    total: Tensor
    rounds: int

    @property
    def weight(self) -> Tensor:
        """Each row's largest entry times n, [n]: above 1 the sample is of that class."""
        return self.plan.amax(dim=1) * len(self.plan)

    @property
    def column_mass(self) -> Tensor:
        """Each class's share [K]."""
        return self.plan.sum(dim=0)

    def labels(self) -> Tensor:
        """Return int64 [n]: the class, or K for unknown."""
        return torch.where(self.weight > 1, self.plan.argmax(dim=1), self.plan.shape[1])

    def sure_labels(self) -> Tensor:
        """Return `labels` for training: unknown also where the class has less than its share."""
        labels, columns = self.labels(), self.plan.shape[1]
        enough = F.pad(self.column_mass >= 1 / columns, (0, 1))
        return torch.where(enough[labels], labels, columns)


def unbalanced_plan(similarity: Tensor, beta: Tensor, stop: float) -> Transport:
    """Return the transport of samples to classes by unbalanced Sinkhorn, in float64.

    In float32 exp(similarity / 0.01) overflows.

    Args:
        similarity: Cosines [n, K].
        beta: The classes' masses [K].
        stop: Largest relative change of the scaling factors to stop at.
    """
    kernel = (similarity.double() / REG).exp()
    beta, rows = beta.double(), len(similarity)
    u = kernel.new_full((rows,), 1 / rows)
    v = kernel.new_full((kernel.shape[1],), 1 / kernel.shape[1])
    rounds, change = 0, stop
    while rounds < ROUNDS and change >= stop:
        before, rounds = (u, v), rounds + 1
        u = (1 / rows / (kernel @ v)) ** POWER
        v = (beta / (kernel.T @ u)) ** POWER
        change = float(sum(map(_relative_change, (u, v), before)) / 2)
    plan = u[:, None] * kernel * v
    return Transport(plan / plan.sum(), v, plan.sum(), rounds)


def _relative_change(new: Tensor, old: Tensor) -> Tensor:
    """Return the largest change, over the largest value or 1."""
    return (new - old).abs().max() / torch.maximum(new.max(), old.max()).clamp_min(1)


def filling(
    unit: Tensor,
    similarity: Tensor,
    rows: Tensor,
    gamma: float,
    beta: Tensor,
    stop: float,
    draw: Draw,
) -> Tensor:
    """Return similarities [m, K] of samples to put before the others, so that half are known.

    Where fewer have a cosine above ``gamma``, those that the transport is sure of are repeated;
    where more have, mixtures of samples and their furthest prototypes are added.

    Args:
        unit: Unit-norm features [n, D].
        similarity: Their cosines [n, K] to the prototypes.
        rows: The prototypes [K, D].
        gamma: γ.
        beta: The classes' masses [K].
        stop: Of `unbalanced_plan`.
        draw: Draws with repeats.
    """
    known = int((similarity.amax(dim=1) > gamma).sum())
    others = len(similarity) - known
    if others > known:
        sure = unbalanced_plan(similarity, beta, stop).sure_labels() < similarity.shape[1]
        if not sure.any():
            return similarity[:0]
        found = similarity[sure]
        return found[draw(others - known, len(found))]
    if known > others:
        mixed = F.normalize((unit + rows[similarity.argmin(dim=1)]) / 2, dim=1)
        return (mixed @ rows.T)[draw(known - others, len(mixed))]
    return similarity[:0]


class UniOT(JointMethod):
    """UniOT: L = cross-entropy + ``weight`` · (L_pcd + L_ccd), with a classifier of cosines.

    L_pcd assigns target samples and their neighbours to cluster prototypes by balanced transport,
    L_ccd takes the labels of those that the unbalanced transport to the classes is sure of. As
    released, but that the queue is filled at first from the bank's centre crops, and that images
    are not normalised twice.

    At test time the transport of the whole target decides. Other pictures are answered by the
    classes' scaling factors that it ended with.

    Args:
        open_set: False (PDA) rejects nothing.
        weight: λ.
        clusters: Cluster prototypes K_c: Office-31 50, Office-Home 150, VisDA 500, DomainNet 1,000.
        queue: Samples M of the queue: 2,000, 4,000, 5,000 and 5,000.
        gamma: γ.
        momentum: μ, of the classes' masses: 0.7, 1, 0.7 and 1.
    """

    name = "uniot"
    title = "UniOT"
    temperature = TEMPERATURE
    own_score = True
    has_threshold = False

    def __init__(
        self,
        *,
        open_set: bool,
        weight: float = 0.1,
        clusters: int = 150,
        queue: int = 4000,
        gamma: float = 0.7,
        momentum: float = 1.0,
    ) -> None:
        super().__init__(open_set=open_set)
        check_weight("uniot.weight", weight)
        check_share("uniot.gamma", gamma)
        check_share("uniot.momentum", momentum)
        for key, value in (("clusters", clusters), ("queue", queue)):
            if value < 1:
                raise ValueError(f"adapt.options.uniot.{key}: {value} must be at least 1")
        self.weight = weight
        self.clusters = clusters
        self.queue = queue
        self.gamma = gamma
        self.momentum = momentum
        self.answer: dict[str, Tensor] = {}

    def make_heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        """Return the cluster prototypes [K_c, D], of unit rows."""
        layer = nn.Linear(num_features, self.clusters, bias=False)
        make_unit_rows(layer)
        return {"clusters": layer}

    def refresh(self, bank: Bank, epoch: int, once: Once = run_locally) -> Bank:
        """Return the bank, of which the queue is filled at the first step."""
        return bank

    def joint_loss(self, source: Batch, target: Batch, state: Bank) -> dict[str, Tensor]:
        """Return the losses, weighted; common classes are looked for from the 102nd step on."""
        assert source.targets is not None
        self._fill_queue(state, len(target.index))
        draw = self._draws(self.step)
        unit = F.normalize(target.features, dim=1)
        losses = {
            "ce": soft_cross_entropy(source.logits, source.targets),
            "pcd": self.weight * self._private_loss(unit, target.index, draw),
        }
        if self.step >= FIRST_STEPS:
            losses["ccd"] = self.weight * self._common_loss(unit.detach(), target.logits, draw)
        return losses

    def _private_loss(self, unit: Tensor, index: Tensor, draw: Draw) -> Tensor:
        """Return L_pcd: samples and their neighbours have the same clusters."""
        memory = self.memory
        neighbours = nearest(unit, index, memory["queue"], memory["index"]).features
        fillers = memory["queue"][draw(self.clusters, len(memory["queue"])).to(unit.device)]
        rows = self._clusters.weight
        similarity = torch.cat([unit, neighbours, fillers]) @ rows.T
        count = len(unit)
        plan = balanced_plan(similarity.detach())
        of_anchors, of_neighbours = plan[:count], plan[count : 2 * count]
        anchors = similarity[:count] / TEMPERATURE
        beside = similarity[count : 2 * count] / TEMPERATURE
        everywhere = soft_cross_entropy(anchors, of_anchors)
        nearby = soft_cross_entropy(anchors, of_neighbours) + soft_cross_entropy(beside, of_anchors)
        return (everywhere + nearby / 2) / 2

    def _common_loss(self, unit: Tensor, logits: Tensor, draw: Draw) -> Tensor:
        """Return L_ccd: the cross-entropy to the labels that the transport is sure of."""
        memory, rows = self.memory, self.classifier.weight.detach()
        kept = memory["queue"][draw(len(memory["queue"]), len(memory["queue"])).to(unit.device)]
        every = torch.cat([kept, unit])
        similarity = every @ rows.T
        beta = memory["beta"]
        put = filling(every, similarity, rows, self.gamma, beta, TRAINING_STOP, draw)
        found = unbalanced_plan(torch.cat([put, similarity]), beta, TRAINING_STOP)
        memory["beta"] = self.momentum * beta + (1 - self.momentum) * found.column_mass
        labels = found.sure_labels()[-len(unit) :]
        sure = labels < len(rows)
        if not sure.any():
            return logits.sum() * 0
        return F.cross_entropy(logits[sure], labels[sure])

    @torch.no_grad()
    def after_step(self, source: Batch, target: Batch) -> None:
        """Make the rows unit, and put the batch in the place of the queue's oldest."""
        memory, count = self.memory, len(target.index)
        place = slice(self.step * count % len(memory["index"]), None)
        memory["queue"][place][:count] = F.normalize(target.features, dim=1)
        memory["index"][place][:count] = target.index
        make_unit_rows(self._clusters)
        super().after_step(source, target)

    @torch.no_grad()
    def predict(self, bank: Bank) -> Prediction:
        """Return what the transport of the whole target to the classes says."""
        unit, rows = F.normalize(bank.features, dim=1), bank.class_weights
        similarity, beta = unit @ rows.T, self._beta(rows)
        put = filling(unit, similarity, rows, self.gamma, beta, TEST_STOP, self._draws(-1))
        found = unbalanced_plan(torch.cat([put, similarity]), beta, TEST_STOP)
        count = len(unit)
        self.answer = {
            "duals": found.duals,
            "total": found.total,
            "rows": found.plan.new_tensor(len(found.plan)),
            "beta": beta,
        }
        weight = found.weight[-count:]
        label = found.labels()[-count:] if self.open_set else bank.probabilities.argmax(dim=1)
        return Prediction(label, -weight.float())

    @torch.no_grad()
    def unknown_score(self, bank: Bank) -> Tensor:
        """Return minus the weight that each sample would have in the target's transport, [N].

        It is that of `predict` for the target's own samples.
        """
        duals, total, rows = (self.answer[name].to(bank.features.device) for name in ANSWER)
        cosines = F.normalize(bank.features, dim=1) @ bank.class_weights.T
        kernel = (cosines.double() / REG).exp()
        u = (1 / rows / (kernel @ duals)) ** POWER
        return -(u * (kernel * duals).amax(dim=1) / total * rows).float()

    def state_dict(self) -> dict[str, Any]:
        """Return what the base class does, and what other pictures are answered by."""
        return super().state_dict() | {"answer": self.answer}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        super().load_state_dict(state)
        self.answer = dict(state["answer"])

    @property
    def _clusters(self) -> nn.Linear:
        layer = self.heads["clusters"]
        assert isinstance(layer, nn.Linear)
        return layer

    def _beta(self, rows: Tensor) -> Tensor:
        """Return the classes' masses [K]: training's, or of a finished run those it answered by."""
        uniform = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64, device=rows.device)
        return self.memory.get("beta", self.answer.get("beta", uniform)).to(rows.device)

    def _fill_queue(self, bank: Bank, batch_size: int) -> None:
        """Fill the queue, of whole batches, from the target in random order; begin with β even."""
        if "queue" in self.memory:
            return
        count, total = max(1, self.queue // batch_size) * batch_size, len(bank.features)
        generator = self._generator(-1)
        passes = [torch.randperm(total, generator=generator) for _ in range(-(-count // total))]
        rows = torch.cat(passes)[:count].to(bank.features.device)
        self.memory = {
            "queue": F.normalize(bank.features[rows], dim=1),
            "index": rows,
            "beta": self._beta(bank.class_weights),
        }

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed << 32) + step + 2)

    def _draws(self, step: int) -> Draw:
        """Return what draws in a step: the same for the same seed and step."""
        generator = self._generator(step)
        return lambda count, below: torch.randint(below, (count,), generator=generator)
