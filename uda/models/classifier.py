"""Backbone, bottleneck and classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from uda.models.backbones import build_backbone, feature_width
from uda.models.weights import check_weights, weights_digest
from uda.runs.checkpoints import check_classes, classes_of, read_checkpoint

FINGERPRINT = "backbone.fingerprint"  # in the checkpoints of a frozen backbone


class Classifier(nn.Module):
    """A network of ``backbone``, ``bottleneck`` and ``classifier``, for images in [0, 1].

    ``forward(images [B, 3, H, W])`` returns features [B, D] and logits [B, K]. It normalises the
    images, so callers need not know the backbone's mean and deviation.

    Attributes:
        frozen: Whether the backbone stays as it is in training.
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
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.bottleneck = bottleneck
        self.classifier = classifier
        self.frozen = frozen
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.bottleneck(self.backbone((images - self.mean) / self.std))
        return features, self.classifier(features)

    @property
    def trained(self) -> Classifier:
        """The network that is trained and kept in checkpoints: all of it, unless it is ``frozen``.

        Then it is the layers behind the backbone, the same modules: for the backbone's features, as
        images [B, D, 1, 1].
        """
        if not self.frozen:
            return self
        features = BackboneFeatures(self.backbone)
        return Classifier(features, self.bottleneck, self.classifier, (0.0,), (1.0,))


class BackboneFeatures(nn.Module):
    """Stands for a backbone at rest whose features, as images [B, D, 1, 1], are the input.

    It keeps a hash of the backbone's weights, by which a checkpoint is told from those of others.
    """

    fingerprint: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        digest = weights_digest(backbone)
        self.register_buffer("fingerprint", torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    def forward(self, features: Tensor) -> Tensor:
        return features.flatten(1)


class CosineClassifier(nn.Linear):
    """Logits [B, K] are cosines of features [B, D] and rows, divided by a temperature.

    The rows are made unit once; whoever trains them projects them back after each step (plain
    weights that happen to be unit rows, as DANCE and UniOT have them, rather than a layer that
    normalises in its forward pass, whose gradient has no radial part).
    """

    def __init__(self, rows: Tensor, temperature: float) -> None:
        super().__init__(rows.shape[1], rows.shape[0], bias=False, device=rows.device)
        self.temperature = temperature
        with torch.no_grad():
            self.weight.copy_(F.normalize(rows, dim=1))

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(F.normalize(features, dim=1), self.weight) / self.temperature


def build_model(
    backbone: str,
    weights: str,
    head: str,
    bottleneck_dim: int,
    num_classes: int,
    seed: int = 0,
    crop_px: int | None = None,
    frozen: bool = False,
) -> Classifier:
    """Build a classifier in channels-last layout.

    Args:
        backbone: ``efficientnet_lite0``, a torchvision ResNet, ``vgg19`` (up to its 4,096-wide
            layer), ``preact_resnet18`` (for 32 px images; ``preact_resnet18_64`` for 64 px), or
            ``timm:NAME``.
        weights: ``imagenet`` (torchvision's IMAGENET1K_V1, or timm's default), ``none``, another of
            torchvision's names such as IMAGENET1K_V2, or a file of backbone weights. timm's names
            include theirs: ``timm:resnet50.a1_in1k``.
        head: ``bottleneck_wn`` (Linear, BatchNorm, weight-normalised classifier), ``linear``,
            ``linear_nobias``, ``mlp`` (two layers with a ReLU between them, and a classifier),
            ``bottleneck`` (Linear, BatchNorm, and a classifier) or ``bottleneck_relu`` (with a ReLU
            before the classifier).
        bottleneck_dim: Features of all but the linear ones.
        num_classes: Classes K.
        seed: Seed of the new layers' weights.
        crop_px: Side of the images; by default the backbone's.
        frozen: See `Classifier`.

    Raises:
        ValueError: The backbone or file is wrong, or the backbone does not accept the image size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs too
        body, default_px, mean, std = build_backbone(backbone, weights)
        width = feature_width(body, backbone, crop_px or default_px, default_px)
        if head == "bottleneck_wn":
            bottleneck: nn.Module = nn.Sequential(
                nn.Linear(width, bottleneck_dim), nn.BatchNorm1d(bottleneck_dim)
            )
            # Torch's default initial weights, on purpose: a classifier that starts larger
            # (Xavier's) fits the source with features that lie further from its weights, which
            # LEAD's decomposition separates less well (docs/adaptation.md).
            classifier = nn.Linear(bottleneck_dim, num_classes)
            weight_norm(classifier, dim=0)
        elif head in ("bottleneck", "bottleneck_relu"):
            last = [nn.ReLU()] if head == "bottleneck_relu" else []
            bottleneck = nn.Sequential(
                nn.Linear(width, bottleneck_dim), nn.BatchNorm1d(bottleneck_dim), *last
            )
            classifier = nn.Linear(bottleneck_dim, num_classes)
        elif head == "mlp":
            bottleneck = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, bottleneck_dim)
            )
            classifier = nn.Linear(bottleneck_dim, num_classes)
        elif head in ("linear", "linear_nobias"):
            bottleneck = nn.Identity()
            classifier = nn.Linear(width, num_classes, bias=head == "linear")
        else:
            raise ValueError(f"model.head: {head!r} is not known")
    model = Classifier(body, bottleneck, classifier, mean, std, frozen)
    # Twice the speed of the default layout for EfficientNet on a CPU.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_weights(model: Classifier, path: Path, classes: Sequence[str] = ()) -> None:
    """Load a checkpoint's weights (its key ``model``) into what is `trained` of ``model``.

    Args:
        classes: In label order; those of the checkpoint, if it names any.

    Raises:
        ValueError: The file cannot be read, or its classes, their number or a tensor do not fit.
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint.get("model")
    if not isinstance(state, dict):
        released = "model_state_dict" in checkpoint
        advice = "; `uda import-lead` makes one of LEAD's and GLC's" if released else ""
        raise ValueError(f"{path}: not a checkpoint of this project: no key 'model' in it{advice}")
    names = classes_of(checkpoint, str(path))
    if names is not None:
        check_classes(names, classes, str(path))
    bias = state.get("classifier.bias")
    if bias is not None and len(bias) != model.classifier.out_features:
        raise ValueError(
            f"{path}: a model of {len(bias)} classes, where the scenario's source has "
            f"{model.classifier.out_features}; name the scenario that it was trained for"
        )
    trained = model.trained
    check_weights(state, trained.state_dict(), str(path), "does not fit the configured model")
    if model.frozen and not torch.equal(state[FINGERPRINT], trained.state_dict()[FINGERPRINT]):
        raise ValueError(
            f"{path}: trained on features of other weights of the frozen backbone; name those as "
            "model.weights, or train again"
        )
    try:
        trained.load_state_dict(state)
    except Exception as error:  # RuntimeError, or of keys that are no names
        reason = str(error).splitlines()[-1].strip()[:200]
        raise ValueError(f"{path}: does not fit the configured model: {reason}") from None
