"""Features of pictures by a network trained on ImageNet."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.models.classifier import Classifier, build_model


@cache
def _imagenet_backbone() -> Classifier:
    return build_model("efficientnet_lite0", "imagenet", "linear", 0, 1).eval()


@torch.no_grad()
def imagenet_features(images: Tensor) -> Tensor:
    """Features [B, 1280] of images uint8 [B, 3, H, W] by EfficientNet-lite0 trained on ImageNet.

    On the CPU, larger ones reduced to 224 px; what screening compares edits and originals by.
    """
    pixels = images.cpu().float() / 255
    if (longer := max(pixels.shape[-2:])) > 224:
        size = [max(1, round(length * 224 / longer)) for length in pixels.shape[-2:]]
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return _imagenet_backbone()(pixels)[0]
