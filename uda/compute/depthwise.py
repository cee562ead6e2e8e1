"""Depthwise convolutions whose weight gradient a CPU computes quickly.

Torch's takes longer than everything else of such a layer where the kernel is 5 x 5 or the maps are
small: on EfficientNet-lite0 a fifth of a training step with AVX-512, a third with AVX2.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional as F

Pair = tuple[int, int]


def weight_gradient(x: Tensor, grad: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """Return the gradient [C, 1, k, l] of a depthwise convolution's weights.

    Args:
        x: The layer's input [B, C, H, W].
        grad: The gradient of its output [B, C, h, w].
        kernel: k and l.
        stride: Of the layer.
        padding: Of the layer.
    """
    height, width = grad.shape[-2:]
    if height * width <= 4:
        return _by_shifts(x, grad, kernel, stride, padding)
    if min(kernel) >= 5 and (max(stride) == 1 or max(height, width) <= 8):
        return _by_convolution(x, grad, kernel, stride, padding)
    weight = grad.new_empty((x.shape[1], 1, *kernel))
    return _torchs(x, weight, grad, stride, padding, (False, True, False))[1]


def _by_convolution(x: Tensor, grad: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """Convolve each map of ``x`` with the same map of ``grad``, and add up the images."""
    batch, channels = x.shape[:2]
    maps = batch * channels
    images = x.contiguous().view(1, maps, *x.shape[-2:])
    kernels = grad.contiguous().view(maps, 1, *grad.shape[-2:])
    each = F.conv2d(images, kernels, padding=padding, dilation=stride, groups=maps)
    # Rows and columns beyond the kernel are left where the stride skips the image's last ones.
    each = each[0, :, : kernel[0], : kernel[1]].reshape(batch, channels, *kernel)
    return each.sum(dim=0)[:, None]


def _by_shifts(x: Tensor, grad: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """Multiply ``grad`` with ``x`` moved to each place of the kernel."""
    (top, left), (down, right) = padding, stride
    height, width = grad.shape[-2:]
    rows = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
    grad = grad.permute(0, 2, 3, 1)
    weight = grad.new_empty((*kernel, grad.shape[-1]))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            moved = rows[:, i::down, j::right][:, :height, :width]
            weight[i, j] = (grad * moved).sum(dim=(0, 1, 2))
    return weight.permute(2, 0, 1)[:, None]


def _torchs(
    x: Tensor,
    weight: Tensor,
    grad: Tensor,
    stride: Pair,
    padding: Pair,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), wanted
    )
    return result


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            wanted = (True, False, False)
            of_x = _torchs(x, weight, grad, ctx.stride, ctx.padding, wanted)[0]
        if ctx.needs_input_grad[1]:
            kernel = (weight.shape[2], weight.shape[3])
            of_weight = weight_gradient(x, grad, kernel, ctx.stride, ctx.padding)
        return of_x, of_weight, None, None


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise ``convolution`` without bias, of the same parameter.

    Values are those of the layer that it stands for, gradients too up to rounding.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            (convolution.kernel_size[0], convolution.kernel_size[1]),
            (convolution.stride[0], convolution.stride[1]),
            (int(convolution.padding[0]), int(convolution.padding[1])),
            groups=convolution.groups,
            bias=False,
            device="meta",
        )
        self.weight = convolution.weight
        self._pads_as_needed = isinstance(convolution, Conv2dSame)

    def forward(self, x: Tensor) -> Tensor:
        if self._pads_as_needed:
            x = pad_same(x, list(self.kernel_size), list(self.stride))
        trained = torch.is_grad_enabled() and self.weight.requires_grad
        if trained and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
            return _Depthwise.apply(x, self.weight, self.stride, self.padding)
        return F.conv2d(x, self.weight, None, self.stride, self.padding, 1, self.groups)


def replace_depthwise(model: nn.Module) -> None:
    """Replace ``model``'s depthwise convolutions by `DepthwiseConv2d`."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and _is_depthwise(child):
                setattr(parent, name, DepthwiseConv2d(child))


def _is_depthwise(layer: nn.Conv2d) -> bool:
    return (
        type(layer) in (nn.Conv2d, Conv2dSame)
        and 1 < layer.groups == layer.in_channels == layer.out_channels
        and layer.bias is None
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )
