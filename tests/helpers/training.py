"""A tiny network and its images, and comparisons of weights, for tests of the loops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from uda.config import ImageConfig
from uda.data.items import domain_items
from uda.data.pixels import Labelled, PixelStore, Unlabelled
from uda.data.spec import load_dataset_spec
from uda.models.classifier import Classifier, build_model

SIZES = ImageConfig(decode_px=32, resize_px=32, crop_px=28)
CPU = torch.device("cpu")


class Killed(Exception):
    """Ends a run in the middle, as a killed process would."""


def tiny_model(num_classes: int, seed: int = 0) -> Classifier:
    """Return a network with random weights that takes a few milliseconds a batch."""
    return build_model("timm:test_efficientnet", "none", "bottleneck_wn", 16, num_classes, seed)


def labelled(dataset: Path) -> Labelled:
    """Return the images and labels of the tiny dataset's domain Plain."""
    spec = load_dataset_spec(str(dataset))
    labels = {name: k for k, name in enumerate(spec.classes)}
    return PixelStore().labelled(domain_items(spec, "Plain"), labels, 32)


def unlabelled(dataset: Path) -> Unlabelled:
    """Return the images of the tiny dataset's domain Dark."""
    spec = load_dataset_spec(str(dataset))
    return PixelStore().unlabelled(domain_items(spec, "Dark"), 32)[0]


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """Return the names of the tensors that differ; both mappings must have the same names."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}
