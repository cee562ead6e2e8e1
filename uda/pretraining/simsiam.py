"""SimSiam (arXiv 2011.10566): a view's prediction must be the other view's projection."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from uda.augment.base import seeded
from uda.compute.seeding import seed_of
from uda.config import require
from uda.models.classifier import Classifier
from uda.pretraining.base import Encode, SelfSupervised
from uda.training.state import Loop

LAYERS = 1  # stream of random numbers, beside those of the network's weights


class SimSiam(SelfSupervised):
    """Siamese networks without negatives; the gradient stops at the projection.

    Args:
        dim: Length of a projection.
        hidden: Width of the predictor's inner layer.
    """

    name = "simsiam"
    title = "SimSiam"

    def __init__(self, *, dim: int = 2048, hidden: int = 512) -> None:
        super().__init__()
        for option, value in (("dim", dim), ("hidden", hidden)):
            where = f"pretrain.options.simsiam.{option}"
            require(value >= 1, f"{where}: {value} must be at least 1")
        self.dim = dim
        self.hidden = hidden

    def build(self, model: Classifier, num_images: int, batch_size: int, loop: Loop) -> None:
        dim, width = self.dim, model.classifier.in_features
        with seeded(seed_of(loop.seed, LAYERS)):
            self.projector = nn.Sequential(
                *_layer(width, dim),
                *_layer(dim, dim),
                nn.Linear(dim, dim, bias=False),
                nn.BatchNorm1d(dim, affine=False),
            )
            self.predictor = nn.Sequential(*_layer(dim, self.hidden), nn.Linear(self.hidden, dim))
        self.to(loop.device)

    def loss(self, encode: Encode, first: Tensor, second: Tensor, seed: int) -> Tensor:
        assert self.predictor is not None
        z1, z2 = (self.projector(encode(view)) for view in (first, second))
        p1, p2 = self.predictor(z1), self.predictor(z2)
        return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2


def negative_cosine(predictions: Tensor, projections: Tensor) -> Tensor:
    """Return the mean of −cos(p, z) over rows [B, D]; no gradient goes to ``projections``."""
    return -F.cosine_similarity(predictions, projections.detach(), dim=1).mean()


def _layer(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Return Linear, BatchNorm and ReLU; BatchNorm makes the bias."""
    return nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()
