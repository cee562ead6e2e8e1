"""Pairs of views, from which a backbone learns without labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from uda.augment.base import Augmentation
from uda.compute.devices import pinned
from uda.compute.distributed import gather, share
from uda.compute.prefetch import prefetch
from uda.compute.seeding import seed_of
from uda.config import TrainConfig
from uda.data.pixels import Labelled
from uda.data.views import to_float
from uda.pretraining.views import random_views
from uda.training.source_batches import SourceBatches, epoch_rows
from uda.training.state import Loop

VIEWS = 20  # stream of random numbers, beside those of `uda.training.source_batches`


class ViewPair(NamedTuple):
    """Two views of each picture of a batch, float32 [B, 3, px, px] in [0, 1], of all ranks."""

    first: Tensor
    second: Tensor


class ViewPairs:
    """Two random views of every picture, gone through epoch by epoch.

    A view depends on the run's seed, the epoch and the picture's row alone. Views are cut from
    pictures of ``decode_px``.

    Args:
        images: The originals, uint8 [N, 3, H, W].
        augmentation: Changes pictures; must not mix batches.
        copies: Augmented copies of each original in the list, where the augmentation makes copies.
        settings: Batch size.
        loop: Sizes, seed and device.
        pairing: "list": augmented copies are pictures of the list beside the originals, with two
            views each. "pair": the list is the originals; one view is of the original, the other of
            an augmented copy, drawn anew each epoch.
    """

    def __init__(
        self,
        images: Tensor,
        augmentation: Augmentation,
        copies: int,
        settings: TrainConfig,
        loop: Loop,
        pairing: str = "list",
    ) -> None:
        self.settings, self.loop = settings, loop
        self.pairing = pairing
        px = max(loop.images.decode_px, loop.images.crop_px)
        whole = replace(loop, images=replace(loop.images, resize_px=px, pad_px=0))
        labels = torch.zeros(len(images), dtype=torch.int64)  # nothing here knows a class
        data = Labelled(images, labels, ("",) * len(images))
        self.pictures = SourceBatches(data, augmentation, copies, 1, settings, whole)

    @property
    def num_originals(self) -> int:
        """N."""
        return self.pictures.num_originals

    @property
    def num_rows(self) -> int:
        """The pictures of an epoch."""
        return self.num_originals if self.pairing == "pair" else self.pictures.num_rows

    @property
    def copies(self) -> int:
        """The augmented copies of each original in the list."""
        return self.num_rows // self.num_originals - 1

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches in a pass over the list."""
        return self.num_rows // self.settings.batch_size

    def epoch(self, epoch: int, steps: int) -> Iterator[ViewPair]:
        """Yield the first ``steps`` batches of an epoch, which is counted from 0."""
        loop = self.loop
        batches = epoch_rows(self.num_rows, self.settings.batch_size, epoch, loop.seed)[:steps]
        made = prefetch(
            lambda rows: pinned(self.views(rows, epoch), loop.device),
            map(share, batches),
            apart=loop.device.type == "cuda",
        )
        for views in made:
            # Gathered as bytes: MoCo's keys are shuffled over the whole batch.
            whole = (gather(view.to(loop.device, non_blocking=True)) for view in views)
            layout = loop.compute.channels_last
            yield ViewPair(*(to_float(view, loop.device, layout) for view in whole))

    def views(self, rows: Tensor, epoch: int) -> Tensor:
        """Return both views of ``rows`` of the list, uint8 [2, B, 3, px, px]."""
        sizes = self.loop.images
        views = []
        for number, images in enumerate(self._pictures(rows, epoch)):
            seeds = [seed_of(self.loop.seed, VIEWS, epoch, number, row) for row in rows.tolist()]
            views.append(random_views(images, sizes.crop_px, sizes.flip, seeds))
        return torch.stack(views)

    def _pictures(self, rows: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the pictures of which the first and the second views are taken."""
        if self.pairing == "list":
            images = self.pictures.whole_images(rows, epoch)
            return images, images
        shift = self.num_originals if self.pictures.copies else 0
        return self.pictures.resized[rows], self.pictures.whole_images(rows + shift, epoch)
