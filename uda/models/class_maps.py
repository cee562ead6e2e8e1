"""Class activation maps: where in an image a network sees a class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from uda.models.classifier import Classifier

TOLERANCE = 1e-4  # of features against the mean of the maps, relative to the largest


class ClassMaps:
    """The class activation maps (CAM, arXiv 1512.04150) of ``model``, for images like ``images``.

    The network's last maps A [B, C, h, w] are averaged over positions to become the features, and
    what follows (bottleneck and classifier, in eval mode) is one affine map of them. Applied to
    each position of A instead, its output for a class is the class's map, whose mean is the logit.
    A `uda.models.classifier.CosineClassifier` divides by the features' norm, which here it does
    not: its maps are the logit's up to a factor for each image.

    Raises ValueError naming the part of the network that has no such maps.
    """

    def __init__(self, model: Classifier, images: Tensor) -> None:
        if any(isinstance(layer, nn.ReLU) for layer in model.bottleneck.modules()):
            raise ValueError(
                "model.head: it has a ReLU behind the features, so there are no class maps, which "
                "snapmix needs; take linear, bottleneck or bottleneck_wn, or another augmentation"
            )
        self.model = model
        self.layer, self.is_rectified = pooled_layer(model, images[:2])

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the maps [B, h, w] of ``labels`` [B] in ``images`` [B, 3, H, W]."""
        model = self.model
        with _outputs([self.layer]) as outputs:
            # Not by the network's call, which may be compiled: then no hook is called.
            model.backbone((images - model.mean) / model.std)
        maps = _maps(outputs[self.layer], self.is_rectified)
        count, _, height, width = maps.shape
        positions = model.bottleneck(maps.flatten(2).transpose(1, 2).flatten(0, 1))
        positions = positions.view(count, height * width, -1)
        of_class = positions @ model.classifier.weight[labels][:, :, None].to(positions)
        if model.classifier.bias is not None:
            of_class = of_class + model.classifier.bias[labels][:, None, None]
        return of_class.view(count, height, width)


@torch.no_grad()
def pooled_layer(model: Classifier, images: Tensor) -> tuple[nn.Module, bool]:
    """Return the backbone's layer whose output, averaged over positions, is the features.

    Of several the one with the most positions, and of these the last. Also returned is whether a
    ReLU, which is not a layer, comes before the mean. Raises ValueError where no layer is one.

    Args:
        model: In eval mode.
        images: A few to try.
    """
    with _outputs(model.backbone.modules()) as outputs:
        features = model.backbone((images - model.mean) / model.std)
    found: tuple[int, nn.Module, bool] | None = None
    for layer, output in outputs.items():
        if not isinstance(output, Tensor) or output.ndim != 4 or features.ndim != 2:
            continue
        if output.shape[:2] != features.shape:
            continue
        num_positions = output.shape[2] * output.shape[3]
        for is_rectified in (False, True):
            near = _close(_maps(output, is_rectified).mean(dim=(2, 3)), features)
            if near and (found is None or num_positions >= found[0]):
                found = num_positions, layer, is_rectified
                break
    if found is None:
        raise ValueError(
            f"model.backbone: {type(model.backbone).__name__} does not average its last maps into "
            "features, so there are no class maps, which snapmix needs; take a convolutional "
            "network such as efficientnet_lite0 or a ResNet, or another augmentation"
        )
    return found[1:]


def _maps(output: Tensor, is_rectified: bool) -> Tensor:
    return output.relu() if is_rectified else output


def _close(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).abs().max() <= TOLERANCE * second.abs().max())


@contextmanager
def _outputs(layers: Any) -> Iterator[dict[nn.Module, Any]]:
    """Yield a dict that collects the last output of each of ``layers``, in order of execution."""
    outputs: dict[nn.Module, Any] = {}

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        outputs.pop(layer, None)
        outputs[layer] = output

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
