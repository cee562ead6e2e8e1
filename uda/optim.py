"""Parameter groups and the learning rate's schedule (LEAD's, for both stages)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Optimizer


def sgd(
    backbone: Iterable[nn.Parameter],
    head: Iterable[nn.Parameter],
    rate: float,
    backbone_factor: float = 0.1,
    weight_decay: float = 1e-3,
) -> SGD:
    """SGD with Nesterov momentum 0.9; the backbone's rate is ``backbone_factor`` of ``rate``.

    Each group keeps its first rate as ``initial_rate`` for `set_rate`. Weight decay is on every
    parameter, biases and BatchNorm included.
    """
    groups = [
        {"params": list(backbone), "lr": rate * backbone_factor},
        {"params": list(head), "lr": rate},
    ]
    for group in groups:
        group["initial_rate"] = group["lr"]
    return SGD(groups, lr=rate, momentum=0.9, weight_decay=weight_decay, nesterov=True)


def set_rate(optimizer: Optimizer, step: int, total_steps: int) -> None:
    """Set every group's rate for ``step`` (counted from 1) of ``total_steps``: its first rate times
    (1 + 10 p)^-0.75 with p = step / total_steps. Called before the step."""
    factor = (1 + 10 * step / total_steps) ** -0.75
    for group in optimizer.param_groups:
        group["lr"] = group["initial_rate"] * factor
