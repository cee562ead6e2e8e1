"""A diffusion model's random numbers: the same on every device and in every precision.

Asked for half precision, PyTorch (2.6, say) draws other and coarser numbers from the same seed
than in float32. A GPU's edit would then differ from the CPU's, and from its repeat in float32.
So noise is always drawn in float32 on the CPU, and rounded afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def first_noise(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Return normal noise float32 [B, *shape] on the CPU, a row from each of the B generators."""
    return torch.cat([torch.randn(1, *shape, generator=generator) for generator in generators])


def step_in_float32(scheduler: Any) -> None:
    """Let a diffusers scheduler take its steps, and draw their noise, in float32.

    The latents keep the type that they have. For calls with `return_dict=False`.
    """
    step = scheduler.step

    @functools.wraps(step)  # pipelines look into its signature for `generator`
    def wide_step(
        model_output: Tensor, timestep: Tensor, sample: Tensor, **options: Any
    ) -> tuple[Tensor, ...]:
        moved, *rest = step(model_output.float(), timestep, sample.float(), **options)
        return (moved.to(sample.dtype), *rest)

    scheduler.step = wide_step
