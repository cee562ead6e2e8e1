"""Finds the layer of a network that still knows where in a picture something is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from uda.models.classifier import Classifier


def last_spatial_layer(model: Classifier, view: Tensor) -> nn.Module | None:
    """Return the backbone's last layer whose output [B, C, h, w] has several positions.

    None for transformers, and for images that are too small. ``view`` is [1, 3, H, W] in [0, 1];
    the network is to be in eval mode.
    """
    spatial: list[nn.Module] = []

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and math.prod(output.shape[2:]) > 1:
            spatial.append(layer)

    hooks = [layer.register_forward_hook(note) for layer in model.backbone.modules()]
    try:
        with torch.no_grad():
            model.backbone((view - model.mean) / model.std)
    finally:
        for hook in hooks:
            hook.remove()
    return spatial[-1] if spatial else None
