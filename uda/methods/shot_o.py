"""SHOT-O (Liang et al., ICML 2020, arXiv 2002.08546): SHOT's variant for open sets.

Information maximisation with centroid pseudo-labels (its Eq. 3 to 7) on the samples that 2-means
of the entropy takes for known. Rate 0.01 and 15 epochs: ``configs/methods/shot_o.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from uda.methods.base import Bank, Batch, Method, Once, check_weight, run_locally
from uda.methods.geometry import centroid_labels
from uda.methods.unknown import Prediction, entropy, higher_cluster, normalised_entropy


@dataclass(frozen=True)
class ShotOState:
    """Pseudo-labels of the whole target.

    Attributes:
        label: int64 [N] in 0..K, where K is unknown.
        entropy: [N], over log K; it decided what is unknown.
    """

    label: Tensor
    entropy: Tensor


def pseudo_labels(features: Tensor, probabilities: Tensor) -> ShotOState:
    """Return pseudo-labels of the whole target, ``features`` [N, D] and ``probabilities`` [N, K].

    Unknown is the higher cluster of the entropies; the others get the class of the nearest
    centroid.
    """
    score = normalised_entropy(probabilities)
    known = ~higher_cluster(score)
    label = torch.full_like(score, probabilities.shape[1], dtype=torch.long)
    label[known] = centroid_labels(features[known], probabilities[known])
    return ShotOState(label, score)


def losses(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cross-entropy, entropy and diversity losses of a batch (SHOT, Eq. 3 and 7).

    ``logits`` are [B, K], the pseudo-labels ``label`` [B] in 0..K. The first two are means over the
    known samples of the batch; the third is minus the entropy of the mean probability of the whole
    batch, unknown included, as in the released code. All are 0 where no sample is known.
    """
    num_classes = logits.shape[1]
    known = (label < num_classes).to(logits.dtype)
    count = known.sum().clamp(min=1)
    log_p = logits.log_softmax(dim=1)
    log_own = log_p.gather(1, label.clamp(max=num_classes - 1)[:, None])[:, 0]
    ce = -(known * log_own).sum() / count
    probabilities = log_p.exp()
    mean_entropy = (known * entropy(probabilities)).sum() / count
    diversity = -entropy(probabilities.mean(dim=0)) * known.amax()
    return ce, mean_entropy, diversity


class ShotO(Method):
    """SHOT-O: L = ``ce_weight`` · L_ce + L_entropy + L_diversity.

    At test time, too, unknown is the higher cluster of the entropies of all samples; with
    ``open_set`` False (PDA) nothing is rejected then, though pseudo-labels may be unknown.
    """

    name = "shot_o"
    title = "SHOT-O"
    has_threshold = False

    def __init__(self, *, open_set: bool, ce_weight: float = 0.3) -> None:
        check_weight("shot_o.ce_weight", ce_weight)
        super().__init__(open_set=open_set)
        self.ce_weight = ce_weight

    def refresh(self, bank: Bank, epoch: int, once: Once = run_locally) -> ShotOState:
        """Return pseudo-labels of the whole target."""
        return once(partial(pseudo_labels, bank.features, bank.probabilities))

    def loss(self, target: Batch, state: ShotOState) -> dict[str, Tensor]:
        """Return the three losses, the first weighted; none for a batch without a known sample.

        Such a batch is passed over, as in the released code.
        """
        label = state.label[target.index]
        if not (label < target.logits.shape[1]).any():
            return {}
        ce, mean_entropy, diversity = losses(target.logits, label)
        return {"ce": self.ce_weight * ce, "entropy": mean_entropy, "diversity": diversity}

    def predict(self, bank: Bank) -> Prediction:
        """Return the most probable classes, or unknown in the higher cluster of the entropies."""
        score = normalised_entropy(bank.probabilities)
        label = bank.probabilities.argmax(dim=1)
        if self.open_set:
            label = torch.where(higher_cluster(score), bank.probabilities.shape[1], label)
        return Prediction(label, score)

    def summary(self, state: ShotOState) -> dict[str, Tensor]:
        """Return the pseudo-labels and the entropies."""
        return {"label": state.label, "entropy": state.entropy}
