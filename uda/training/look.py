"""What augmentations see of the network in training: input gradients and class maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from uda.compute.devices import forward
from uda.compute.distributed import gather, share
from uda.models.classifier import Classifier
from uda.models.spatial import last_spatial_layer
from uda.training.state import Loop


class NetworkLook:
    """Looks at the network that is trained, as `uda.augment.base.Look` says.

    The network is in eval mode meanwhile, so that each image is seen by itself and BatchNorm's
    statistics stay; parameters and their gradients stay, too. Each rank computes its share.
    """

    def __init__(self, model: Classifier, loop: Loop) -> None:
        self._model = model
        # Gradients of a sum over images of small losses vanish in float16.
        half = loop.compute.precision == "float16"
        self._compute = replace(loop.compute, precision="float32") if half else loop.compute

    def gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return ∂ Σ cross-entropy / ∂ images, float32 [B, 3, H, W]."""
        with _at_rest(self._model):
            seen = share(images).detach().requires_grad_()
            _, logits = forward(self._model, seen, self._compute)
            loss = -(share(targets) * logits.log_softmax(dim=1)).sum()
            (gradient,) = torch.autograd.grad(loss, seen)
        return gather(gradient)

    def class_maps(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return by position how much of its class's logit an image has, float32 [B, h, w].

        Where the last maps are averaged over the picture these are the class activation maps. Else
        they are Grad-CAM's (arXiv 1610.02391), of the last maps that have several positions.
        """
        with _at_rest(self._model):
            seen, classes = share(images).detach(), share(targets).argmax(dim=1, keepdim=True)
            maps, logits = self._with_maps(seen)
            (slope,) = torch.autograd.grad(logits.gather(1, classes).sum(), maps)
            weights = slope.mean(dim=(2, 3), keepdim=True)
            return gather((weights * maps).sum(dim=1).detach())

    def _with_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the backbone's last maps [B, C, h, w], and the logits that come of them."""
        layer = last_spatial_layer(self._model, images[:1])
        if layer is None:
            raise ValueError(
                f"augment.name: snapmix needs maps of a picture, and this model.backbone has none "
                f"left of {images.shape[-1]} px; take another, or larger images.crop_px"
            )
        maps: list[Tensor] = []

        def note(_: Any, __: Any, output: Tensor) -> None:
            maps.append(output)

        hook = layer.register_forward_hook(note)
        try:
            _, logits = forward(self._model, images, replace(self._compute, precision="float32"))
        finally:
            hook.remove()
        return maps[-1], logits


@contextmanager
def _at_rest(model: Classifier) -> Iterator[None]:
    """Put ``model`` into eval mode, with gradients, and each layer back into its mode after."""
    modes = {layer: layer.training for layer in model.modules()}
    model.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        for layer, training in modes.items():
            layer.training = training
