"""CMU (Fu et al., ECCV 2020): an ensemble says what is unknown, and weighs who is aligned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda.methods.base import Bank, Batch, Once, check_share, check_weight, run_locally
from uda.methods.joint import JointMethod
from uda.methods.losses import soft_cross_entropy
from uda.methods.unknown import Prediction, predict_above

HEADS = 5
HIDDEN = 1024  # units of the discriminator
REVERSAL_STEPS = 1_000
EPSILON = 1e-10
UNCERTAINTIES = ("two", "three")


def parts_of(logits: Tensor, uncertainty: str) -> Tensor:
    """Return how known samples are by each measure, [parts, N], the higher the more.

    "two": the margin between the two highest probabilities, and 1 - the entropy over log K, means
    over the heads, as in the Transfer-Learning-Library. "three", as in the paper: the heads' mean
    highest probability, 1 - the mean over classes of their deviation, and 1 - the entropy.

    Args:
        logits: Of the heads [heads, N, K].
        uncertainty: two or three.
    """
    p = logits.softmax(dim=2)
    entropy = -(p * (p + EPSILON).log()).sum(dim=2).mean(dim=0) / math.log(max(2, p.shape[2]))
    if uncertainty == "three":
        return torch.stack([p.amax(dim=2).mean(dim=0), 1 - p.std(dim=0).mean(dim=1), 1 - entropy])
    if p.shape[2] == 1:
        return torch.stack([p.amax(dim=2).mean(dim=0), 1 - entropy])
    first, second = p.topk(2, dim=2).values.unbind(dim=2)
    return torch.stack([(first - second).mean(dim=0), 1 - entropy])


def rescaled(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return ``values`` with ``low`` at 0 and ``high`` at 1; as they are where these are equal."""
    return torch.where(high > low, (values - low) / (high - low), values)


def adversarial_loss(
    source: Tensor, target: Tensor, source_weight: Tensor, target_weight: Tensor
) -> Tensor:
    """Return ½ (mean w_s · -log d + mean w_t · -log(1 - d)) of a discriminator's outputs [B]."""
    of_source = F.binary_cross_entropy(source, torch.ones_like(source), source_weight)
    of_target = F.binary_cross_entropy(target, torch.zeros_like(target), target_weight)
    return (of_source + of_target) / 2


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * grad, None


class Cmu(JointMethod):
    """CMU: cross-entropy, and an adversarial loss of samples weighted by how shared they seem.

    As the Transfer-Learning-Library has it, since the authors' own code reads from the protocol
    which classes are shared. First everything learns from the source, five heads each under a view
    of its own; then classes that confident target samples are of get weight 1, others 0, and the
    discriminator sees both domains. Apart from it: heads learn in every second step, and not after
    an epoch; the rate falls as everywhere here; the last epoch counts, not the best by labels.

    Args:
        open_set: False (PDA) rejects nothing.
        weight: Of the adversarial loss.
        pretrain_steps: First steps, on the source alone.
        uncertainty: two, or three as in the paper: see `parts_of`.
        confident: Samples that are known by at least this give the classes' weights; 0.5 goes with
            three.
        threshold: Unknown is what is known by less than 1 - this; 0.5 goes with three.
    """

    name = "cmu"
    title = "CMU"
    own_score = True
    num_views = HEADS

    def __init__(
        self,
        *,
        open_set: bool,
        weight: float = 1.0,
        pretrain_steps: int = 1000,
        uncertainty: str = "two",
        confident: float = 0.4,
        threshold: float = 0.3,
    ) -> None:
        super().__init__(open_set=open_set)
        check_weight("cmu.weight", weight)
        check_share("cmu.confident", confident)
        check_share("cmu.threshold", threshold)
        if uncertainty not in UNCERTAINTIES:
            raise ValueError(
                f"adapt.options.cmu.uncertainty: {uncertainty!r} is not one of "
                f"{', '.join(UNCERTAINTIES)}"
            )
        if pretrain_steps < 0:
            raise ValueError(f"adapt.options.cmu.pretrain_steps: {pretrain_steps} is negative")
        self.weight = weight
        self.pretrain_steps = pretrain_steps
        self.uncertainty = uncertainty
        self.confident = confident
        self.threshold = threshold if open_set else None
        self.class_weight: Tensor | None = None
        self.bounds: tuple[Tensor, Tensor] | None = None  # of the target's parts [parts, 1] each
        self.batch_bounds = (0.0, 0.0)  # of the epoch's batches

    def make_heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        """Return the five heads and the discriminator."""
        heads = [nn.Linear(num_features, num_classes) for _ in range(HEADS)]
        nn.init.xavier_uniform_(heads[1].weight, math.sqrt(2))
        nn.init.xavier_normal_(heads[2].weight)
        nn.init.kaiming_uniform_(heads[3].weight)
        nn.init.kaiming_normal_(heads[4].weight)
        discriminator = nn.Sequential(
            *(nn.Linear(num_features, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU()),
            *(nn.Linear(HIDDEN, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU()),
            *(nn.Linear(HIDDEN, 1), nn.Sigmoid()),
        )
        return {"ensemble": nn.ModuleList(heads), "discriminator": discriminator}

    @property
    def view_mode(self) -> str:
        """The heads' views: trained on at first, then for the heads alone in every second step."""
        if self.step < self.pretrain_steps:
            return "train"
        return "eval" if self.step % 2 else ""

    def refresh(self, bank: Bank, epoch: int, once: Once = run_locally) -> None:
        """Weigh the source's classes: once after the first steps, or every epoch with "three"."""
        self.batch_bounds = (0.0, 0.0)
        renewed = self.uncertainty == "three" or self.class_weight is None
        if self.step >= self.pretrain_steps and renewed:
            self.class_weight = self._class_weight(bank)

    @torch.no_grad()
    def _class_weight(self, bank: Bank) -> Tensor:
        sure = self._known(bank) >= self.confident
        if not sure.any():
            return torch.ones_like(bank.probabilities[0])
        mean = bank.probabilities[sure].mean(dim=0)
        weight = rescaled(mean, mean.min(), mean.max())
        return weight if self.uncertainty == "three" else (weight > 0.1).float()

    def joint_loss(self, source: Batch, target: Batch, state: Any) -> dict[str, Tensor]:
        """Return the classifier's loss, the heads' of their views, and the adversarial one."""
        assert source.targets is not None
        losses = {"ce": soft_cross_entropy(source.logits, source.targets)}
        if source.views:
            each = zip(self._ensemble, source.views, strict=True)
            of_heads = [soft_cross_entropy(head(view), source.targets) for head, view in each]
            losses["heads"] = torch.stack(of_heads).sum()
        if self.class_weight is not None:
            losses["adv"] = self.weight * self._adversarial(source, target)
        return losses

    def _adversarial(self, source: Batch, target: Batch) -> Tensor:
        assert self.class_weight is not None
        assert source.targets is not None
        done = (self.step - self.pretrain_steps) / REVERSAL_STEPS
        factor = 2 / (1 + math.exp(-done)) - 1
        features = torch.cat([source.features, target.features])
        domain = self.heads["discriminator"](_Reversal.apply(features, factor))[:, 0]
        of_source, of_target = domain.split([len(source.features), len(target.features)])
        source_weight = source.targets @ self.class_weight.to(source.targets)
        return adversarial_loss(of_source, of_target, source_weight, self.batch_weight(target))

    @torch.no_grad()
    def batch_weight(self, target: Batch) -> Tensor:
        """Return the weight of each sample of a batch, [B].

        Of "two" it is rescaled by bounds that follow the epoch's batches, a little inside of them.
        """
        known = parts_of(self._logits(target.features), self.uncertainty).mean(dim=0)
        if self.uncertainty == "three":
            return known
        low, high = self.batch_bounds
        low = 0.01 * low + 0.99 * float(known.min())
        high = 0.01 * high + 0.99 * float(known.max())
        self.batch_bounds = (low, high)
        return rescaled(known, known.new_tensor(low), known.new_tensor(high))

    @torch.no_grad()
    def predict(self, bank: Bank) -> Prediction:
        """Return the answers for the whole target, within whose bounds the score is."""
        self._known(bank)
        return predict_above(self.unknown_score(bank), bank.probabilities, self.threshold)

    @torch.no_grad()
    def unknown_score(self, bank: Bank) -> Tensor:
        """Return 1 - how known each sample is within the target's bounds, [N]."""
        parts = parts_of(self._logits(bank.features), self.uncertainty)
        assert self.bounds is not None
        low, high = (bound.to(parts) for bound in self.bounds)
        return 1 - rescaled(parts, low, high).mean(dim=0)

    def _known(self, bank: Bank) -> Tensor:
        """Take the bounds of the bank's parts; return how known its samples are within them."""
        parts = parts_of(self._logits(bank.features), self.uncertainty)
        self.bounds = (parts.amin(dim=1, keepdim=True), parts.amax(dim=1, keepdim=True))
        return rescaled(parts, *self.bounds).mean(dim=0)

    @property
    def _ensemble(self) -> nn.ModuleList:
        heads = self.heads["ensemble"]
        assert isinstance(heads, nn.ModuleList)
        return heads

    def _logits(self, features: Tensor) -> Tensor:
        return torch.stack([head(features) for head in self._ensemble])

    def state_dict(self) -> dict[str, Any]:
        """Return what the base class does, the classes' weights and the bounds."""
        more = {"class_weight": self.class_weight, "bounds": self.bounds}
        return super().state_dict() | more

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        super().load_state_dict(state)
        self.class_weight, self.bounds = state["class_weight"], state["bounds"]
