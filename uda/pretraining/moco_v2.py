"""MoCo v2 (arXiv 2003.04297): a query must find its key among those of earlier batches."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda.augment.base import seeded
from uda.compute.devices import forward, move_to_device
from uda.compute.distributed import count, gather, span_of
from uda.compute.seeding import seed_of
from uda.config import require
from uda.models.classifier import Classifier
from uda.pretraining.base import Encode, SelfSupervised
from uda.training.state import Loop

LAYERS = 1  # stream of random numbers, beside those of the network's weights


class MoCoV2(SelfSupervised):
    """Momentum contrast: keys are made by a slow copy of the network, and kept in a queue.

    BatchNorm tells a query which keys are of its batch, since these were normalised with the same
    pictures. So the key network gets the batch shuffled and in groups, each normalised by itself,
    as on several GPUs (arXiv 1911.05722, section 3.3).

    Args:
        queue: Keys that a query is compared with: a multiple of the batch, and at most half as many
            as there are pictures, as else these meet their own old keys; 0 takes the most.
        momentum: Share of itself that the key network keeps in a step.
        temperature: By which similarities are divided.
        bn_splits: Groups of a batch of keys; 1 leaves the batch whole, with the leak.
        dim: Length of a query and a key.
    """

    name = "moco_v2"
    title = "MoCo v2"
    queue: Tensor
    oldest: Tensor

    def __init__(
        self,
        *,
        queue: int = 0,
        momentum: float = 0.99,
        temperature: float = 0.2,
        bn_splits: int = 4,
        dim: int = 128,
    ) -> None:
        super().__init__()
        _require("queue", queue >= 0, f"{queue} must not be negative")
        _require("momentum", 0 <= momentum < 1, f"{momentum} must be at least 0 and below 1")
        _require("temperature", temperature > 0, f"{temperature} must be positive")
        _require("bn_splits", bn_splits >= 1, f"{bn_splits} must be at least 1")
        _require("dim", dim >= 1, f"{dim} must be at least 1")
        self.wanted_queue = queue
        self.momentum = momentum
        self.temperature = temperature
        self.bn_splits = bn_splits
        self.dim = dim

    def check(self, num_images: int, batch_size: int) -> None:
        splits, most = self.bn_splits, _longest_queue(num_images, batch_size)
        queue = self.wanted_queue or most
        _require(
            "bn_splits",
            batch_size % splits == 0 and batch_size >= 2 * splits,
            f"{batch_size} pictures (train.batch_size) cannot be divided into {splits} equal "
            "groups of at least 2",
        )
        _require(
            "bn_splits",
            splits % count() == 0,
            f"{splits} groups cannot be shared evenly by {count()} processes; take a multiple of "
            f"{count()}",
        )
        _require(
            "queue",
            most > 0,
            f"half of the {num_images} pictures are fewer than a batch of {batch_size}; lower "
            "train.batch_size",
        )
        _require(
            "queue",
            queue % batch_size == 0,
            f"{queue} keys are not a multiple of train.batch_size {batch_size}",
        )
        _require(
            "queue",
            queue <= most,
            f"{queue} keys for {num_images} pictures, which would meet their own old keys; take at "
            f"most {most}",
        )

    def build(self, model: Classifier, num_images: int, batch_size: int, loop: Loop) -> None:
        self.check(num_images, batch_size)
        size = self.wanted_queue or _longest_queue(num_images, batch_size)
        width = model.classifier.in_features
        with seeded(seed_of(loop.seed, LAYERS)):
            self.projector = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.dim)
            )
            self.register_buffer("queue", F.normalize(torch.randn(size, self.dim), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))
        self.key_network = copy.deepcopy(model).requires_grad_(False)
        self.key_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.compute = loop.compute
        move_to_device(self.key_network, loop.device, loop.compute)
        self.to(loop.device)

    def loss(self, encode: Encode, first: Tensor, second: Tensor, seed: int) -> Tensor:
        queries = F.normalize(self.projector(encode(first)), dim=1)
        self.keys = self.keys_of(second, seed)
        return info_nce(queries, self.keys, self.queue, self.temperature)

    @torch.no_grad()
    def keys_of(self, images: Tensor, seed: int) -> Tensor:
        """Return the keys [B, dim] of ``images``, normalised in groups that ``seed`` draws."""
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
        order = order.to(images.device)
        groups = images[order].chunk(self.bn_splits)
        first, last = span_of(self.bn_splits)
        features = [
            forward(self.key_network, group, self.compute)[0] for group in groups[first:last]
        ]
        keys = F.normalize(self.key_projector(gather(torch.cat(features))), dim=1)
        return torch.empty_like(keys).index_copy_(0, order, keys)

    @torch.no_grad()
    def after_step(self, model: Classifier) -> None:
        """Move the key network towards the trained one, and put the batch's keys in the queue."""
        pairs = ((self.key_network.backbone, model.backbone), (self.key_projector, self.projector))
        for slow, trained in pairs:
            for key, query in zip(slow.parameters(), trained.parameters(), strict=True):
                key.mul_(self.momentum).add_(query, alpha=1 - self.momentum)
        start = int(self.oldest)
        self.queue[start : start + len(self.keys)] = self.keys
        self.oldest.fill_((start + len(self.keys)) % len(self.queue))


def info_nce(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Return the mean of −log exp(q·k/T) / (exp(q·k/T) + Σ_n exp(q·n/T)).

    Args:
        queries, keys: Unit rows [B, D], a pair each.
        negatives: Unit rows [K, D].
        temperature: T.
    """
    positive = (queries * keys).sum(dim=1, keepdim=True)
    logits = torch.cat([positive, queries @ negatives.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.int64))


def _longest_queue(num_images: int, batch_size: int) -> int:
    """Return the keys of as many batches as half of the pictures fill."""
    return num_images // 2 // batch_size * batch_size


def _require(option: str, condition: bool, message: str) -> None:
    require(condition, f"pretrain.options.moco_v2.{option}: {message}")
