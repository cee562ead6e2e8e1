"""How the network is computed: where, in which precision and layout.

Features and logits leave in float32 whatever the precision: what methods make of them (LEAD's
geometry, the losses) is computed in float32.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from uda.config import DEFAULT_COMPUTE, ComputeConfig
from uda.processes import is_main, rank

Item = TypeVar("Item")
Made = TypeVar("Made")

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def place(model: nn.Module, device: torch.device, compute: ComputeConfig) -> None:
    """Move ``model`` to ``device`` in the configured layout, and compile it if asked to, in place.

    ValueError where the device cannot compute in the precision.
    """
    check_precision(device, compute)
    layout = torch.channels_last if compute.channels_last else torch.contiguous_format
    model.to(device)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    if compute.compile:
        model.compile()
    elif device.type == "cpu":
        _overwrite_in_relu6(model)


def check_precision(device: torch.device, compute: ComputeConfig) -> None:
    """ValueError where the device cannot compute in the precision."""
    if not _can_compute(device, compute):
        raise ValueError("compute.precision: float16 needs a GPU; use bfloat16 or float32")


def to_answer(device: torch.device, compute: ComputeConfig) -> ComputeConfig:
    """``compute`` for asking a finished run's model on ``device``: in float32, which a line on
    standard error says, where that cannot compute in the precision that the run was made in."""
    if _can_compute(device, compute):
        return compute
    if is_main():
        print(
            f"{compute.precision} needs a GPU: this run's model answers in float32 here",
            file=sys.stderr,
        )
    return replace(compute, precision="float32")


def _can_compute(device: torch.device, compute: ComputeConfig) -> bool:
    return compute.precision != "float16" or device.type != "cpu"


def seed_of(*parts: int) -> int:
    """A 63-bit seed made of non-negative integers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def seed_network(device: torch.device, *parts: int) -> None:
    """Let what a network itself draws on ``device`` (dropout, stochastic depth) go by ``parts``,
    non-negative integers, and by the process: each has other rows of a batch.

    Called before each step, with the run's seed and the step: then neither what the process has
    done before nor a restart changes a run. The generators of other devices stay as they are.
    """
    seed = seed_of(*parts, rank())
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs too
    else:
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(seed)


def ahead(make: Callable[[Item], Made], items: Iterable[Item], apart: bool) -> Iterator[Made]:
    """``make`` of each of ``items``, in order; if ``apart``, the next one is made in a thread while
    the caller works with the one before. What ``make`` raises is raised here."""
    if not apart:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        last: Future[Made] | None = None
        for item in items:
            coming = pool.submit(make, item)
            if last:
                yield last.result()
            last = coming
        if last:
            yield last.result()


def pinned(batch: Tensor, device: torch.device) -> Tensor:
    """``batch`` where a GPU ``device`` can copy it from while it computes; for others as it is."""
    if device.type != "cuda":
        return batch
    with torch.cuda.device(device):  # a thread begins on the first one
        return batch.pin_memory()


class _ReLU6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x.clamp_(0, 6)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # The result says as well as the input did where the gradient passes.
        (result,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, result, 0.0, 6.0)


class OverwritingReLU6(nn.Module):
    """min(max(x, 0), 6) in place. Torch's own keeps a copy of x for the gradient, which on a CPU
    is a fifteenth of EfficientNet-lite0's training; values and gradients are the same, bit for
    bit."""

    def forward(self, x: Tensor) -> Tensor:
        return _ReLU6.apply(x) if torch.is_grad_enabled() else x.clamp_(0, 6)


def _overwrite_in_relu6(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.ReLU6 and child.inplace:
                setattr(parent, name, OverwritingReLU6())


def keep_freed_memory() -> None:
    """Keep memory that tensors on the CPU leave, for those that come, until the process ends.

    The C library gives blocks as large as activations back to the system at once, which then clears
    every page anew for the next one: a fifth of a training step. Only glibc can be told so;
    elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)


def forward(
    model: nn.Module, x: Tensor, compute: ComputeConfig = DEFAULT_COMPUTE
) -> tuple[Tensor, Tensor]:
    """``model`` on ``x`` float32 [B, 3, H, W] in [0, 1]: float32 features [B, D], logits [B, K]."""
    if compute.precision == "float32":
        features, logits = model(x)
        return features, logits
    with torch.autocast(x.device.type, DTYPES[compute.precision]):
        features, logits = model(x)
    return features.float(), logits.float()


def gradient_scaler(device: torch.device, compute: ComputeConfig) -> torch.amp.GradScaler:
    """Scales losses so that gradients do not vanish in float16; does nothing otherwise."""
    return torch.amp.GradScaler(device.type, enabled=compute.precision == "float16")
