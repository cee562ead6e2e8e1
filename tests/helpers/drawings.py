"""Drawings as tensors."""

from __future__ import annotations

import numpy as np
import torch
from helpers.tiny import CLASSES, draw


def drawings(count=10, px=128):
    """Draw pictures of the tiny dataset's classes on white, uint8 [count, 3, px, px]."""
    rng = np.random.default_rng(0)
    drawn = [draw(CLASSES[k % len(CLASSES)], rng, False, px) for k in range(count)]
    return torch.stack([tensor(image) for image in drawn])


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
