"""Small pictures that editors are tried on."""

from __future__ import annotations

import cv2
import numpy as np
import torch


def drawing(seed, height=96, width=96):
    """Draw flat shapes on white, like an emoji: uint8 [3, H, W]."""
    rng = np.random.default_rng(seed)
    canvas = np.full((height, width, 3), 255, np.uint8)
    side = min(height, width)
    for size in (0.30, 0.18, 0.12, 0.08):
        centre = (
            width / 2 + rng.uniform(-0.2, 0.2) * side,
            height / 2 + rng.uniform(-0.2, 0.2) * side,
        )
        box = (centre, (2 * size * side, 1.5 * size * side), float(rng.uniform(0, 180)))
        cv2.ellipse(canvas, box, rng.integers(0, 230, 3).tolist(), -1, cv2.LINE_AA)
    return torch.from_numpy(canvas).permute(2, 0, 1).contiguous()


def photograph(seed, height=96, width=96):
    """Draw graded light, shapes and texture up to the border: uint8 [3, H, W]."""
    rng = np.random.default_rng(seed)
    picture = drawing(seed, height, width).permute(1, 2, 0).numpy().astype(np.float32)
    ramp = np.linspace(0.5, 1, height, dtype=np.float32)[:, None, None]
    coarse = rng.uniform(60, 200, (6, 6, 3)).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture = np.where(picture.min(axis=2, keepdims=True) > 250, field, picture) * ramp
    picture += rng.normal(0, 6, picture.shape)
    return torch.from_numpy(np.clip(picture, 0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous()
