"""Conversion of source models that the released code of LEAD or GLC has trained.

Their file holds ``epoch`` and ``model_state_dict``: ``backbone_layer`` (torchvision's ResNet
without ``fc``, or its VGG without the last Linear), ``feat_embed_layer`` (Linear, BatchNorm) and
``class_layer`` (a weight-normalised Linear). The mathematics is that of
`uda.models.classifier.Classifier` with the head ``bottleneck_wn``, so only names change. Their code
normalises images when it loads them; our model does it in ``forward``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uda.models.classifier import build_model
from uda.models.weights import check_weights, without_module_prefix
from uda.runs.checkpoints import read_checkpoint
from uda.runs.files import atomic_path

# Their names -> ours, except for the backbone's. Weight normalisation (w = g v / |v|, a norm for
# each class) has g and v as original0 and original1 in torch's parametrization.
HEAD = {
    "feat_embed_layer.bottleneck.weight": "bottleneck.0.weight",
    "feat_embed_layer.bottleneck.bias": "bottleneck.0.bias",
    "feat_embed_layer.bn.weight": "bottleneck.1.weight",
    "feat_embed_layer.bn.bias": "bottleneck.1.bias",
    "feat_embed_layer.bn.running_mean": "bottleneck.1.running_mean",
    "feat_embed_layer.bn.running_var": "bottleneck.1.running_var",
    "feat_embed_layer.bn.num_batches_tracked": "bottleneck.1.num_batches_tracked",
    "class_layer.fc.weight_g": "classifier.parametrizations.weight.original0",
    "class_layer.fc.weight_v": "classifier.parametrizations.weight.original1",
    "class_layer.fc.bias": "classifier.bias",
}

# Blocks in each of the four stages, and whether they are bottlenecks (three convolutions).
RESNET_BLOCKS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
# Indices of VGG-19's sixteen convolutions in `features`.
VGG19_CONVOLUTIONS = {0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34}


class ImportedModel(NamedTuple):
    """The sizes of a converted model: ``model.backbone``, K classes, ``model.bottleneck_dim`` D."""

    backbone: str
    num_classes: int
    bottleneck_dim: int


def import_lead(checkpoint: Path, out: Path) -> ImportedModel:
    """Convert a source model of the released code to a checkpoint of this project.

    `uda.models.classifier.load_weights` reads the result (``uda adapt --adapt.checkpoint OUT``).
    The same file always gives the same bytes, and so the same runs. Nothing is unpickled.

    Raises:
        ValueError: The file is wrong, or a key is missing, superfluous or of another shape. Nothing
            is written then.
    """
    if out.is_dir():
        raise ValueError(f"{out}: a folder; name the file to write")
    if out.resolve() == checkpoint.resolve():
        raise ValueError(f"{out}: the checkpoint itself; name another file to write")
    imported, state = convert_state(read_checkpoint(checkpoint), str(checkpoint))
    with atomic_path(out) as path, open(path, "wb") as file:
        torch.save({"model": state}, file)  # with a path, torch writes its name into the file
    return imported


def convert_state(
    checkpoint: dict[str, Any], where: str
) -> tuple[ImportedModel, dict[str, Tensor]]:
    """Return the sizes of a released model, and its tensors under our names.

    Errors begin with ``where``, the file's name.
    """
    theirs = checkpoint.get("model_state_dict")
    if not isinstance(theirs, dict):
        raise ValueError(
            f"{where}: not a checkpoint of LEAD's or GLC's released code: no key "
            "'model_state_dict' in it"
        )
    theirs = without_module_prefix(theirs)
    backbone = _backbone_of(theirs.keys(), where)
    for key in (sizes := ("class_layer.fc.weight_v", "feat_embed_layer.bottleneck.weight")):
        if not (isinstance(theirs.get(key), Tensor) and theirs[key].ndim == 2):
            raise ValueError(f"{where}: {key} is missing, or not a matrix")
    num_classes, bottleneck_dim = (len(theirs[key]) for key in sizes)
    with torch.device("meta"):  # only shapes are needed
        model = build_model(backbone, "none", "bottleneck_wn", bottleneck_dim, num_classes)
    their_names = {ours: name for name, ours in HEAD.items()}
    wanted = {
        their_names.get(name) or _their_backbone_name(name): (name, value)
        for name, value in model.state_dict().items()
    }
    if superfluous := sorted(map(str, theirs.keys() - wanted.keys())):
        raise ValueError(f"{where}: {superfluous[0]} has no place in a {backbone} of that code")
    check_weights(theirs, {key: value for key, (_, value) in wanted.items()}, where)
    zero = torch.zeros((), dtype=torch.long)  # num_batches_tracked, where an old file lacks it
    state = {name: theirs.get(key, zero) for key, (name, _) in wanted.items()}
    return ImportedModel(backbone, num_classes, bottleneck_dim), state


def _their_backbone_name(name: str) -> str:
    """Return their name of our tensor ``name`` of the backbone.

    ``backbone.classifier.3.bias`` -> ``backbone_layer.classifier.classifier3.bias``
    """
    name = re.sub(r"^backbone\.classifier\.(\d+)\.", r"backbone.classifier.classifier\1.", name)
    return name.replace("backbone.", "backbone_layer.", 1)


def _backbone_of(keys: Collection[str], where: str) -> str:
    """Return the name of the backbone that has a file's keys; ValueError if it is unknown."""
    # Any key of a layer counts, so that a missing key of that layer is named later.
    features = _numbers(keys, r"backbone_layer\.features\.(\d+)\..*")
    if features:
        if {index for (index,) in features} != VGG19_CONVOLUTIONS:
            raise ValueError(
                f"{where}: the layers of backbone_layer.features are not VGG-19's, the one VGG "
                "known here"
            )
        return "vgg19"
    stages = [stage for stage, _ in _numbers(keys, r"backbone_layer\.layer([1-4])\.(\d+)\..*")]
    if not stages:
        raise ValueError(
            f"{where}: no backbone known here: neither backbone_layer.layer1.* (ResNet) nor "
            "backbone_layer.features.* (VGG) is in it"
        )
    blocks = tuple(stages.count(stage) for stage in (1, 2, 3, 4))
    bottlenecks = bool(_numbers(keys, r"backbone_layer\.layer([1-4])\.\d+\.conv3\.weight"))
    if (blocks, bottlenecks) not in RESNET_BLOCKS:
        raise ValueError(
            f"{where}: backbone_layer.layer1 to layer4 have {', '.join(map(str, blocks))} blocks, "
            f"as none of {', '.join(RESNET_BLOCKS.values())} has"
        )
    return RESNET_BLOCKS[blocks, bottlenecks]


def _numbers(keys: Collection[str], pattern: str) -> set[tuple[int, ...]]:
    """Return the numbers in the groups of ``pattern`` for each key that it fully matches."""
    matches = (re.fullmatch(pattern, str(key)) for key in keys)
    return {tuple(map(int, match.groups())) for match in matches if match}
