"""On which device, in which precision and in which memory layout the network is computed.

Features and logits leave in float32 whatever the precision: what methods make of them (LEAD's
geometry, the losses) is computed in float32.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from torch import Tensor, nn

from uda.compute.cpu import overwrite_in_relu6
from uda.compute.depthwise import replace_depthwise
from uda.compute.distributed import count, is_main
from uda.config import DEFAULT_COMPUTE, ComputeConfig

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def device_of_rank(name: str) -> torch.device:
    """Return the device that ``name`` means: auto, cpu, cuda, cuda:N or what else torch knows.

    Of several ranks each has the GPU of its number on the machine. Raises ValueError where the
    device cannot be used.
    """
    if count() > 1:
        from accelerate import PartialState

        device = PartialState().device
        return torch.device("cpu") if device.type == "cpu" else device  # without a number
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        probe = torch.ones(1, device=kind)
        probe.item()  # "meta" holds no values
        return probe.device
    except Exception:  # of many types, with torch's reasons in a thousand characters
        raise ValueError(
            f"device: {kind!r} cannot be used here; choose from {', '.join(_usable_devices())}"
        ) from None


def _usable_devices() -> list[str]:
    """Return the names of this machine's devices."""
    if not torch.accelerator.is_available():
        return ["auto", "cpu"]
    kind = torch.accelerator.current_accelerator().type  # type: ignore[union-attr]
    numbers = range(torch.accelerator.device_count())
    return ["auto", "cpu", kind, *(f"{kind}:{number}" for number in numbers)]


def move_to_device(model: nn.Module, device: torch.device, compute: ComputeConfig) -> None:
    """Move ``model`` to ``device`` in the configured layout, and compile it if configured.

    Raises ValueError where the device cannot compute in the precision.
    """
    check_precision(device, compute)
    layout = torch.channels_last if compute.channels_last else torch.contiguous_format
    model.to(device)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    if compute.compile:
        model.compile()
    elif device.type == "cpu":
        overwrite_in_relu6(model)
        replace_depthwise(model)


def check_precision(device: torch.device, compute: ComputeConfig) -> None:
    """Raise ValueError where the device cannot compute in the precision."""
    if not _can_compute(device, compute):
        raise ValueError("compute.precision: float16 needs a GPU; use bfloat16 or float32")


def to_answer(device: torch.device, compute: ComputeConfig) -> ComputeConfig:
    """Return ``compute`` for using a finished run's model on ``device``.

    Where the device cannot compute in the run's precision it is float32, and a line on standard
    error says so.
    """
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


def pinned(batch: Tensor, device: torch.device) -> Tensor:
    """Return ``batch`` in memory from which a GPU ``device`` can copy it while it computes."""
    if device.type != "cuda":
        return batch
    with torch.cuda.device(device):  # a thread begins on the first GPU
        return batch.pin_memory()


def forward(
    model: nn.Module, x: Tensor, compute: ComputeConfig = DEFAULT_COMPUTE
) -> tuple[Tensor, Tensor]:
    """Return float32 features [B, D] and logits [B, K] of ``x`` float32 [B, 3, H, W] in [0, 1]."""
    if compute.precision == "float32":
        features, logits = model(x)
        return features, logits
    with torch.autocast(x.device.type, DTYPES[compute.precision]):
        features, logits = model(x)
    return features.float(), logits.float()


def gradient_scaler(device: torch.device, compute: ComputeConfig) -> torch.amp.GradScaler:
    """Return a scaler that keeps float16's gradients from vanishing, and otherwise does nothing."""
    return torch.amp.GradScaler(device.type, enabled=compute.precision == "float16")
