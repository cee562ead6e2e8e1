"""Batches of labelled, augmented images, from which supervised training learns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from uda.augment.base import Augmentation
from uda.augment.head_views import head_view
from uda.augment.look import Look
from uda.compute.devices import pinned
from uda.compute.distributed import gather, share
from uda.compute.prefetch import prefetch
from uda.compute.seeding import seed_of
from uda.config import TrainConfig
from uda.data.pixels import Labelled, PixelStore, resize
from uda.data.views import draw_views, to_float, views
from uda.training.state import Loop

# Streams of random numbers, so that no two uses of the run's seed draw the same.
ORDER, VIEWS, EDITS, BATCH, DROPOUT, PARTS, HEAD_VIEWS = range(7)


class SourceBatch(NamedTuple):
    """A part of a step's batch.

    Attributes:
        images: float32 [B, 3, px, px] in [0, 1], of all ranks.
        targets: Soft targets float32 [B, K].
        rows: int64 [B], rows of the list that `SourceBatches` goes through.
        seed: The seed by which the augmentation mixed the batch.
        whole: The images before they were cropped and mixed, uint8 [B / ranks, 3, S, S].
    """

    images: Tensor
    targets: Tensor
    rows: Tensor
    seed: int
    whole: Tensor


class SourceBatches:
    """A list of the N originals and the augmented copies of each, gone through epoch by epoch.

    What an image becomes depends on the run's seed, the epoch and its row alone, whatever the batch
    or the number of ranks. All ranks get the same whole batches.

    Args:
        data: The originals.
        augmentation: Changes copies, images or batches.
        copies: Augmented copies of each original, where the augmentation makes copies.
        num_classes: K.
        settings: Batch size, parts of a step's batch (``accumulate``) and label smoothing.
        loop: Sizes, seed and device.
        balanced: Whether each row is drawn, with replacement, as often as the classes' numbers of
            images make them equal; otherwise each comes once an epoch.
    """

    def __init__(
        self,
        data: Labelled,
        augmentation: Augmentation,
        copies: int,
        num_classes: int,
        settings: TrainConfig,
        loop: Loop,
        balanced: bool = False,
    ) -> None:
        self.data = data
        self.augmentation = augmentation
        self.copies = copies if augmentation.copies else 0
        self.num_classes = num_classes
        self.settings = settings
        self.loop = loop
        self.num_originals = len(data.images)
        self.num_rows = self.num_originals * (1 + self.copies)
        self.first_augmented = 0 if augmentation.every_image else self.num_originals
        store = PixelStore.of(loop.compute)
        self.resized = store.resize(data.images, loop.images.resize_px)
        self._weights = None
        if balanced:
            of_row = self.row_labels
            self._weights = 1 / of_row.bincount().double()[of_row].numpy()

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches in a pass over the list."""
        return self.num_rows // self.settings.batch_size

    def is_augmented(self, rows: Tensor) -> Tensor:
        """Return which ``rows`` [B] of the list are augmented, bool [B]."""
        return rows >= self.first_augmented

    def originals(self, rows: Tensor) -> Tensor:
        """Return the indices [B] of the original images of ``rows`` [B] of the list."""
        return rows % self.num_originals

    @property
    def row_labels(self) -> Tensor:
        """The labels of the list's rows, int64."""
        return self.data.labels.repeat(1 + self.copies)

    def stream(
        self,
        first_step: int,
        steps: int,
        chosen: Tensor | None = None,
        look: Look | None = None,
    ) -> Iterator[SourceBatch]:
        """Yield the batches of ``steps`` from ``first_step`` (from 1) on, over as many passes.

        ``chosen`` int64 [steps, B] are their rows instead; ``look`` is as of `epoch`.
        """
        if chosen is not None:
            epoch = (first_step - 1) // self.steps_per_epoch
            yield from self._batches(list(chosen), epoch, first_step, look)
            return
        step, end = first_step, first_step + steps
        while step < end:
            epoch, skipped = divmod(step - 1, self.steps_per_epoch)
            count = min(self.steps_per_epoch - skipped, end - step)
            yield from self.epoch(epoch, step, count, skipped, look)
            step += count

    def epoch(
        self,
        epoch: int,
        first_step: int,
        steps: int,
        skipped: int = 0,
        look: Look | None = None,
    ) -> Iterator[SourceBatch]:
        """Yield the batches of an epoch, ``settings.accumulate`` parts for each step.

        Args:
            epoch: From 0.
            first_step: The number, from 1, of the first of these steps in all of training.
            steps: Of the optimiser, at most `steps_per_epoch` less those ``skipped``.
            skipped: Steps of the epoch before these.
            look: At the network in training, for augmentations that look at it. Each batch is made
                when it is asked for, by the weights of that moment.
        """
        size, seed = self.settings.batch_size, self.loop.seed
        batches = epoch_rows(self.num_rows, size, epoch, seed, self._weights)
        yield from self._batches(batches[skipped : skipped + steps], epoch, first_step, look)

    def _batches(
        self, batches: list[Tensor], epoch: int, first_step: int, look: Look | None
    ) -> Iterator[SourceBatch]:
        """Yield the parts of ``batches`` of rows, as images are in that epoch."""
        settings, images, loop = self.settings, self.loop.images, self.loop
        spare_px = images.resize_px + 2 * images.pad_px - images.crop_px
        draws = draw_views(self.num_rows, spare_px, images.flip, (loop.seed, VIEWS, epoch))
        parts = [part for rows in batches for part in rows.chunk(settings.accumulate)]
        # In a thread on a GPU, which leaves the processor free; on a CPU the network would wait.
        loaded = prefetch(
            lambda rows: pinned(self.whole_images(rows, epoch), loop.device),
            [share(part) for part in parts],
            apart=loop.device.type == "cuda",
        )
        first = (first_step - 1) * settings.accumulate + 1
        for number, (rows, whole) in enumerate(zip(parts, loaded, strict=True), first):
            yield self._batch(rows, whole, draws, seed_of(loop.seed, BATCH, number), look)

    def whole_images(self, rows: Tensor, epoch: int) -> Tensor:
        """Return images uint8 [B, 3, S, S] of ``rows`` of the list, before they are cropped."""
        indices = self.originals(rows)
        batch = self.resized[indices]
        if (augmented := self.is_augmented(rows).nonzero()[:, 0]).numel():
            changed = self._augmented(rows[augmented], epoch)
            batch[augmented] = resize(changed, self.loop.images.resize_px)
        if self.loop.images.pad_px:
            batch = F.pad(batch, [self.loop.images.pad_px] * 4)
        return batch

    def _augmented(self, rows: Tensor, epoch: int) -> Tensor:
        """Return augmented images uint8 of ``rows``, as each part of the augmentation leaves them.

        A part that makes copies alone changes these; the first part's seeds are those that it has
        alone.
        """
        if self.data.copies is not None:
            return self.data.copies[rows - self.first_augmented]
        indices = self.originals(rows)
        images = self.data.images[indices]
        for number, part in enumerate(self.augmentation.parts):
            at = torch.arange(len(rows)) if part.every_image else self._copies_in(rows)
            if not len(at):
                continue
            key = (EDITS, epoch) if not number else (PARTS, number, epoch)
            seeds = [seed_of(self.loop.seed, *key, row) for row in rows[at].tolist()]
            ids = indices[at].tolist()
            if len(at) == len(rows):  # as of every single augmentation: nothing to put together
                images = part.images(images, ids, seeds)
            else:
                images[at] = part.images(images[at], ids, seeds)
        return images

    def _copies_in(self, rows: Tensor) -> Tensor:
        """Return the positions in ``rows`` of augmented copies."""
        return (rows >= self.num_originals).nonzero()[:, 0]

    def _batch(
        self, rows: Tensor, whole: Tensor, draws: NDArray[np.int64], seed: int, look: Look | None
    ) -> SourceBatch:
        """Crop this rank's ``whole`` images, gather those of all ranks, and mix them."""
        device, settings = self.loop.device, self.settings
        whole = whole.to(device, non_blocking=True)
        crops = views(whole, self.loop.images.crop_px, draws[share(rows).numpy()])
        # Gathered as bytes, since augmentations mix images of the whole batch.
        images = to_float(gather(crops), device, self.loop.compute.channels_last)
        labels = self.data.labels[self.originals(rows)].to(device)
        targets = smoothed_targets(labels, self.num_classes, settings.label_smoothing)
        if self.augmentation.looks:
            assert look is not None, "whoever trains a network lets the augmentation look at it"
            images, targets = self.augmentation.batch_by_look(images, targets, seed, look)
        else:
            images, targets = self.augmentation.batch(images, targets, seed)
        return SourceBatch(images, targets, rows, seed, whole)

    def view(self, batch: SourceBatch, number: int) -> Tensor:
        """Return this rank's share of a batch under the view of a head, float32 in [0, 1].

        The view is drawn by the batch's seed, the head's ``number`` and the row.
        """
        rows = share(batch.rows).tolist()
        seeds = [seed_of(batch.seed, HEAD_VIEWS, number, row) for row in rows]
        views = head_view(batch.whole.cpu(), number, self.loop.images.crop_px, seeds)
        return to_float(views, self.loop.device, self.loop.compute.channels_last)


def epoch_rows(
    num_rows: int,
    batch_size: int,
    epoch: int,
    seed: int,
    weights: NDArray[np.float64] | None = None,
) -> list[Tensor]:
    """Return the batches of an epoch: shuffled rows, the last partial batch dropped.

    With ``weights`` [num_rows] rows are drawn in proportion to these, with replacement.
    """
    rng = np.random.default_rng([seed, ORDER, epoch])
    count = num_rows // batch_size
    if weights is None:
        order = rng.permutation(num_rows)
    else:
        order = rng.choice(num_rows, num_rows, p=weights / weights.sum())
    return list(torch.from_numpy(order[: count * batch_size]).view(count, batch_size))


def smoothed_targets(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Return one-hot targets [B, K] with ``smoothing`` of the mass spread evenly over all K."""
    return F.one_hot(labels, num_classes).float() * (1 - smoothing) + smoothing / num_classes
