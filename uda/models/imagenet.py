"""Image features of a network trained on ImageNet."""

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
    """Return features [B, 1280] of images uint8 [B, 3, H, W], by EfficientNet-lite0 on the CPU.

    Images larger than 224 px are reduced. Screening compares edits and originals by these features.
    """
    pixels = images.cpu().float() / 255
    if (longer := max(pixels.shape[-2:])) > 224:
        size = [max(1, round(length * 224 / longer)) for length in pixels.shape[-2:]]
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return _imagenet_backbone()(pixels)[0]
