"""Manifold Mixup as a training augmentation: features of a batch are averaged in pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from uda.augment.base import Augmentation
from uda.models.classifier import Classifier

Mix = Callable[[Any], Tensor]
KINDS = ("input", "stages", "features")


class ManifoldMixupAugmentation(Augmentation):
    """Manifold Mixup (arXiv 1806.05236).

    A layer's output becomes λ h + (1 − λ) h' of an image and its partner, targets likewise, with λ
    from Beta(alpha, alpha); the later layers work on that. Layer and λ are drawn once a batch, the
    layer evenly from the kinds in ``layers``: the network's ``input``, the output of each of the
    backbone's ``stages`` (`stages_of`), and the bottleneck's ``features``. Partners are neighbours
    in the batch, which is shuffled, so that each process has those of its share. Raises ValueError
    naming the option at fault.
    """

    name = "manifold_mixup"
    title = "Manifold Mixup"
    mixes_batches = True

    def __init__(self, *, alpha: float = 2.0, layers: str = ",".join(KINDS)) -> None:
        where = "augment.options.manifold_mixup"
        if not alpha > 0:
            raise ValueError(f"{where}.alpha: {alpha} must be positive")
        self.alpha = alpha
        self.layers = [part.strip() for part in layers.split(",")]
        if unknown := [kind for kind in self.layers if kind not in KINDS]:
            raise ValueError(f"{where}.layers: {unknown[0]!r} is not one of {', '.join(KINDS)}")

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the images as they are, and weighted means of each target and its partner's."""
        return images, _mixed(targets, self._share(np.random.default_rng(seed)))

    def within(self, model: Classifier, batch_size: int, seed: int) -> AbstractContextManager[None]:
        """Return a context in which a random layer of ``model`` gives weighted means of partners.

        Raises ValueError where the network is compiled, the backbone's stages are not known, or
        processes have an odd number of images each.
        """
        rng = np.random.default_rng(seed)
        share = self._share(rng)
        layers = self._layers(model)
        return _attached(layers[rng.integers(len(layers))], partial(_mix, share, batch_size))

    def _share(self, rng: np.random.Generator) -> float:
        return rng.beta(self.alpha, self.alpha)

    def _layers(self, model: Classifier) -> list[Callable[[Mix], RemovableHandle]]:
        """Return, for each layer to draw from, what hooks a function behind (or before) it."""
        if model._compiled_call_impl is not None:
            raise ValueError(
                "compute.compile: manifold_mixup changes features inside of the network, which a "
                "compiled network does not allow; leave it out"
            )
        layers: list[Callable[[Mix], RemovableHandle]] = []
        if "input" in self.layers:
            layers.append(partial(_before, model.backbone))
        if "stages" in self.layers:
            layers += [partial(_after, stage) for stage in stages_of(model.backbone)]
        if "features" in self.layers:
            layers.append(partial(_after, model.bottleneck))
        return layers


def stages_of(backbone: nn.Module) -> list[nn.Module]:
    """Return the layers where the resolution changes.

    Those are the layers that timm names for its models; of other networks, the `nn.Sequential`
    among their children (`layer1` to `layer4` of a ResNet). Raises ValueError for a network without
    any.
    """
    layers = dict(backbone.named_modules())
    named: Any = getattr(backbone, "feature_info", [])
    names = [info.get("module", "") for info in named]
    stages = [layers[name] for name in names if name in layers]
    stages = stages or [child for child in backbone.children() if isinstance(child, nn.Sequential)]
    if not stages:
        raise ValueError(
            f"augment.options.manifold_mixup.layers: the stages of {type(backbone).__name__} are "
            "not known; say input,features"
        )
    return stages


def _before(layer: nn.Module, mix: Mix) -> RemovableHandle:
    return layer.register_forward_pre_hook(lambda _, inputs: (mix(inputs[0]), *inputs[1:]))


def _after(layer: nn.Module, mix: Mix) -> RemovableHandle:
    return layer.register_forward_hook(lambda _, inputs, output: mix(output))


@contextmanager
def _attached(attach: Callable[[Mix], RemovableHandle], mix: Mix) -> Iterator[None]:
    handle = attach(mix)
    try:
        yield
    finally:
        handle.remove()


def _mix(share: float, batch_size: int, features: Any) -> Tensor:
    if not isinstance(features, Tensor):
        raise ValueError(
            "augment.options.manifold_mixup.layers: a stage of the backbone gives a "
            f"{type(features).__name__}, not a tensor; say input,features"
        )
    if len(features) < batch_size and len(features) % 2:
        raise ValueError(
            f"train.batch_size: {batch_size} gives each process an odd number of images "
            f"({len(features)}), which manifold_mixup cannot pair; take another"
        )
    return _mixed(features, share)


def _mixed(rows: Tensor, share: float) -> Tensor:
    """Return λ h + (1 − λ) h' of each row [B, …] and its neighbour: 0 and 1, 2 and 3, …

    A last row without a neighbour is mixed with itself.
    """
    neighbour = (torch.arange(len(rows), device=rows.device) ^ 1).clamp_max(len(rows) - 1)
    return torch.lerp(rows[neighbour], rows, share)
