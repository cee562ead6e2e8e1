"""What an augmentation sees of the network in training, without a trace in the training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from uda.augment.look import Look
from uda.compute.devices import DTYPES
from uda.compute.distributed import gather, share
from uda.config import ComputeConfig
from uda.models.class_maps import ClassMaps
from uda.models.classifier import Classifier


class NetworkLook(Look):
    """A look at ``model``, of which each rank computes its share of the batch.

    bfloat16 is kept, as its range is float32's. In float16 gradients by the images would vanish, so
    there it is float32.
    """

    def __init__(self, model: Classifier, compute: ComputeConfig) -> None:
        self.model = model
        self.compute = compute
        self._maps: ClassMaps | None = None

    @property
    def mean_colour(self) -> Tensor:
        """The mean by which the network normalises."""
        return self.model.mean.flatten()

    def gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return ∂(Σ cross-entropies)/∂images, of all ranks' images."""
        rows, wanted = share(images).detach().requires_grad_(), share(targets)
        with at_rest(self.model), torch.enable_grad():
            with self._precision(rows):
                logits = self.model(rows)[1]
            # A sum: with a mean an image's gradient would depend on the size of the batch.
            loss = -(wanted * logits.float().log_softmax(dim=1)).sum()
            (gradient,) = torch.autograd.grad(loss, rows)
        return gather(gradient)

    @torch.no_grad()
    def class_maps(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the class maps of all ranks' images."""
        rows, labels = share(images), share(targets).argmax(dim=1)
        with at_rest(self.model):
            if self._maps is None:
                self._maps = ClassMaps(self.model, rows)
            with self._precision(rows):
                maps = self._maps(rows, labels).float()
        return gather(maps)

    def _precision(self, images: Tensor) -> AbstractContextManager[object]:
        if self.compute.precision != "bfloat16":
            return nullcontext()
        return torch.autocast(images.device.type, DTYPES["bfloat16"])


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Return a context in which ``model`` is in eval mode and no gradient is for a weight.

    Each layer's mode and each weight's flag are then as they were. Without the flags, compiled
    networks and the layers of `uda.compute.depthwise` would compute gradients that nobody asks for.
    """
    modes = [(layer, layer.training) for layer in model.modules()]
    flags = [(weight, weight.requires_grad) for weight in model.parameters()]
    model.eval()
    model.requires_grad_(False)
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode
        for weight, flag in flags:
            weight.requires_grad_(flag)
