"""Depthwise convolutions with a quicker weight gradient are torch's, up to rounding."""

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from uda.compute.depthwise import DepthwiseConv2d, replace_depthwise
from uda.compute.devices import move_to_device
from uda.config import DEFAULT_COMPUTE
from uda.models.classifier import build_model

CHANNELS = 6


def depthwise(kernel, stride, padding=None, kind=nn.Conv2d):
    if padding is None:
        padding = kernel // 2
    return kind(CHANNELS, CHANNELS, kernel, stride, padding, groups=CHANNELS, bias=False)


def gradients(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view(y.shape))
    found = (y.detach(), x.grad, layer.weight.grad)
    layer.weight.grad = None
    return found


# Maps of 1 to 4 pixels, small ones and larger ones; 5 x 5 and 3 x 3; strides that skip the last
# row; uneven sides.
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (4, 4), (8, 7), (13, 20)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_values_and_gradients(kind, kernel, stride, size):
    torch.manual_seed(0)
    layer = depthwise(kernel, stride, kind=kind)
    x = torch.randn(3, CHANNELS, *size)
    for memory in (torch.contiguous_format, torch.channels_last):
        ours = gradients(DepthwiseConv2d(layer), x.to(memory_format=memory))
        for mine, theirs in zip(ours, gradients(layer, x), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_a_kernel_of_uneven_sides_and_strides():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, (5, 7), (1, 2), (0, 3), groups=4, bias=False)
    x = torch.randn(2, 4, 9, 12)
    for mine, theirs in zip(gradients(DepthwiseConv2d(layer), x), gradients(layer, x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_frozen_weights_get_no_gradient():
    layer = DepthwiseConv2d(depthwise(5, 1))
    layer.weight.requires_grad_(False)
    x = torch.randn(1, CHANNELS, 4, 4, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


def test_the_network_keeps_its_parameters_and_their_names():
    model = build_model("efficientnet_lite0", "none", "bottleneck_wn", 8, 3, crop_px=32)
    names, parameters = list(model.state_dict()), set(model.parameters())
    move_to_device(model, torch.device("cpu"), DEFAULT_COMPUTE)
    assert list(model.state_dict()) == names
    assert set(model.parameters()) == parameters
    assert sum(isinstance(module, DepthwiseConv2d) for module in model.modules()) == 16
    replace_depthwise(model)  # again changes nothing
    assert list(model.state_dict()) == names


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, dilation=2),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding="same"),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 1, 3, groups=1, bias=False),
    ],
)
def test_other_convolutions_stay(layer):
    model = nn.Sequential(layer)
    replace_depthwise(model)
    assert model[0] is layer


def test_in_autocast_torch_computes():
    layer = DepthwiseConv2d(depthwise(5, 1))
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(torch.randn(1, CHANNELS, 4, 4))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
