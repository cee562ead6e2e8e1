"""A diffusion model's random numbers: the same on every device and in every precision.

Asked for half precision, PyTorch (2.6, say) draws other and coarser numbers from the same seed
than in float32. A GPU's edit would then differ from the CPU's, and from its repeat in float32.
So noise is always drawn in float32 on the CPU, and rounded afterwards.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def float32_draws(pipeline: Any) -> Iterator[None]:
    """Let a pipeline draw its noise, and the VAE's, in float32 whatever type it asks for."""
    from diffusers.models.autoencoders import vae

    modules: list[Any] = [vae, sys.modules[type(pipeline).__module__]]
    originals = [module.randn_tensor for module in modules]
    for module, original in zip(modules, originals, strict=True):
        module.randn_tensor = functools.partial(_wide_draw, original)
    try:
        yield
    finally:
        for module, original in zip(modules, originals, strict=True):
            module.randn_tensor = original


def _wide_draw(
    draw: Callable[..., Tensor], *args: Any, dtype: torch.dtype | None = None, **options: Any
) -> Tensor:
    """Call diffusers' `randn_tensor` for float32 numbers, and round them."""
    return draw(*args, dtype=torch.float32, **options).to(dtype or torch.float32)


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
