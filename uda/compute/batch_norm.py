"""BatchNorm over the rows of several ranks, on a CPU too."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from uda.compute.distributed import (
    count,
    gather,
)


def synchronise(model: nn.Module, device: torch.device) -> None:
    """Make ``model``'s BatchNorm layers take their statistics over all ranks' rows, in place.

    The state dict keeps its keys. Raises ValueError naming a layer for which that is impossible on
    a CPU.
    """
    if count() == 1:
        return
    from timm.layers import BatchNormAct2d, convert_sync_batchnorm

    if device.type != "cpu":
        convert_sync_batchnorm(model)  # torch's, and timm's for layers with a ReLU
        return
    # Torch's refuses CPU tensors.
    known = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d)
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm):
            if type(layer) not in known:
                kind = type(layer).__name__
                raise ValueError(f"model.backbone: {name} is a {kind}: run it in one process")
            layer.forward = partial(_batch_norm, layer)  # type: ignore[method-assign]


def _batch_norm(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Normalise ``x`` [B, C, …] by the statistics of all ranks' x, which are of equal size."""
    if not layer.training:
        return type(layer).forward(layer, x)
    with torch.no_grad():
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        var, mean = torch.var_mean(exact, _all_but_channels(x), correction=0)
        means, variances = gather(torch.stack([mean, var])[None]).unbind(1)
        mean, var = means.mean(dim=0), variances.mean(dim=0) + means.var(dim=0, correction=0)
        _track(layer, mean, var, count() * x.numel() // x.shape[1])
    y = _Normalised.apply(x, layer.weight, layer.bias, mean, var, layer.eps)
    for name in ("drop", "act"):  # further parts of timm's layers
        y = getattr(layer, name)(y) if hasattr(layer, name) else y
    return y


def _track(layer: _BatchNorm, mean: Tensor, var: Tensor, number: int) -> None:
    """Move the running statistics towards those of a batch of ``number`` values a channel."""
    if layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    step = layer.momentum
    if step is None:  # the mean of all batches
        step = 1 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, step)
    layer.running_var.lerp_(var * (number / max(number - 1, 1)), step)


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) · weight + bias, where mean and var are of all ranks' x."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, mean, var = ctx.saved_tensors
        # As if mean and var were constants; the last two are this rank's part of the sums.
        through, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([to_weight, to_bias])
        dist.all_reduce(sums)
        # And through mean and var (Ioffe and Szegedy, 2015, section 3), over all ranks' rows.
        number = count() * x.numel() // x.shape[1]
        scale = (var + ctx.eps).rsqrt()
        factor = scale if weight is None else scale * weight
        view = [1, -1, *[1] * (x.ndim - 2)]
        slope = (factor * scale * sums[0] / number).view(view)
        offset = (factor * sums[1] / number).view(view)
        to_x = through - offset - (x - mean.view(view)) * slope
        to_affine = (None, None) if weight is None else (to_weight, to_bias)
        return to_x.to(x.dtype), *to_affine, None, None, None


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether ``module`` keeps running statistics of the batches that pass it."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)
