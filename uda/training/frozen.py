"""Features of images by a network that stays at rest, computed once and kept in a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from uda.compute.devices import move_to_device
from uda.compute.passes import Pass, eval_pass
from uda.config import ComputeConfig
from uda.data.pixel_cache import stored
from uda.data.views import to_float
from uda.models.backbones import build_backbone, feature_width
from uda.models.classifier import Classifier
from uda.models.weights import weights_digest

VERSION = 1  # part of every file's key: to be raised when the features of an image change
BATCH = 64
FLOAT_BYTES = 4


def frozen_backbone(name: str, weights: str, px: int) -> Classifier:
    """Return a backbone by itself, in eval mode: its features are those that it was trained for.

    Args:
        name, weights: As in `uda.models.classifier.build_model`; without pretrained weights the
            features say nothing.
        px: Side of its images.
    """
    if weights == "none":
        raise ValueError(
            f"model.weights: none leaves {name} without features of its own; take imagenet or a "
            "file"
        )
    body, default_px, mean, std = build_backbone(name, weights)
    width = feature_width(body, name, px, default_px)
    # Nobody asks for its logits.
    return Classifier(body, nn.Identity(), nn.Linear(width, 1), mean, std).eval()


def backbone_alone(model: Classifier, name: str, px: int) -> Classifier:
    """Return a network that gives the features of ``model``'s backbone, of images of ``px``."""
    width = feature_width(model.backbone, name, px, px)
    mean, std = (tuple(values.flatten().tolist()) for values in (model.mean, model.std))
    return Classifier(model.backbone, nn.Identity(), nn.Linear(width, 1), mean, std).eval()


def frozen_features(
    network: Classifier, name: str, images: Tensor, device: torch.device, compute: ComputeConfig
) -> Tensor:
    """Return the features float32 [N, D] of ``images`` uint8 [N, 3, S, S], in eval mode.

    They are read from a file in `compute.cache`, if the same network has seen the same pixels.
    Several processes that ask at once wait for the first of them.

    Args:
        network: Is moved to ``device``.
        name: Of its architecture: other networks may have weights of the same names and shapes.
        images: As they are to pass the network: resized and cropped.
        device: Where they are computed.
        compute: Precision, and the folder.

    Raises:
        ValueError: A feature is not finite.
    """
    key = _key(network, name, images, compute)  # a network on the device may be rebuilt
    width = network.classifier.in_features

    def fill(rows: Tensor) -> list[int]:
        px = images.shape[-1]
        move_to_device(network, device, compute)
        run = eval_pass(network, len(images) * px**2, px, device, compute)
        rows.view(torch.float32).copy_(features_by(run, images, device, compute))
        return [0] * len(rows)

    if not len(images):
        return torch.empty(0, width)
    shape = (len(images), FLOAT_BYTES * width)
    rows, _ = stored(Path(compute.cache), key, shape, fill)
    return rows.view(torch.float32)


@torch.no_grad()
def features_by(run: Pass, images: Tensor, device: torch.device, compute: ComputeConfig) -> Tensor:
    """Return the features float32 [N, D], on the CPU, of ``images`` uint8 [N, 3, S, S] by a pass.

    Raises ValueError where a feature is not finite.
    """
    batches = (to_float(batch, device, compute.channels_last) for batch in images.split(BATCH))
    features = torch.cat([run(batch)[0].float().cpu() for batch in batches])
    if not features.isfinite().all():
        raise ValueError("model.backbone: its features are not finite; take other weights")
    return features


def _key(network: Classifier, name: str, images: Tensor, compute: ComputeConfig) -> str:
    """Return digits for the pixels, the architecture and its weights, and the precision."""
    known = VERSION, name, tuple(images.shape), compute.precision
    digest = hashlib.blake2b(repr(known).encode(), digest_size=10)
    digest.update(weights_digest(network.backbone))
    for tensor in (network.mean, network.std):
        digest.update(_bytes(tensor))
    for image in images:
        digest.update(_bytes(image))
    return f"{digest.hexdigest()}-features"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
