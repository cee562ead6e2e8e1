"""Parameter groups and schedules of the learning rate; LEAD's serves both stages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import nn
from torch.optim import SGD, Optimizer


def sgd(
    backbone: Iterable[nn.Parameter],
    head: Iterable[nn.Parameter],
    rate: float,
    backbone_factor: float = 0.1,
    weight_decay: float = 1e-3,
) -> SGD:
    """Return SGD with Nesterov momentum 0.9; the backbone's rate is ``rate * backbone_factor``.

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


def rate_factor(
    step: int,
    total_steps: int,
    schedule: str = "inverse",
    warmup_steps: int = 0,
    milestones: Sequence[float] = (),
    step_factor: float = 0.1,
) -> float:
    """Return the factor of the first rate in ``step`` of ``total_steps``.

    Args:
        step: From 1.
        total_steps: In all of training.
        schedule: Of the T steps t = 1 … T after the warm-up, with p = (t - 1) / T: "inverse" is
            LEAD's (1 + 10 t / T)^-0.75; "cosine" is (1 + cos(π p)) / 2 (Loshchilov and Hutter,
            arXiv 1608.03983, without restarts); "step" falls at the milestones.
        warmup_steps: First steps, where the factor is step / (warmup_steps + 1).
        milestones: Of "step": shares of all steps, warm-up included.
        step_factor: Of "step": multiplies the rate at each milestone.
    """
    if step <= warmup_steps:
        return step / (warmup_steps + 1)
    after, left = step - warmup_steps, total_steps - warmup_steps
    if schedule == "inverse":
        return (1 + 10 * after / left) ** -0.75
    if schedule == "cosine":
        return (1 + math.cos(math.pi * (after - 1) / left)) / 2
    if schedule == "step":
        # Compared in whole steps, as p may fall short of a milestone by rounding.
        return step_factor ** sum(step - 1 >= round(share * total_steps) for share in milestones)
    raise ValueError(f"train.schedule: {schedule!r} is not known")


def set_rate(
    optimizer: Optimizer, step: int, total_steps: int, factor: float | None = None
) -> None:
    """Set every group's rate for ``step`` (counted from 1) of ``total_steps``, before the step.

    It is the group's first rate times ``factor``, or LEAD's `rate_factor` without it. A group with
    the key ``constant`` keeps its first rate.
    """
    if factor is None:
        factor = rate_factor(step, total_steps)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_rate"] * (1.0 if group.get("constant") else factor)
