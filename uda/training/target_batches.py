"""Batches of a target's images under random views: what adaptation learns from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uda.compute.devices import pinned
from uda.compute.distributed import share
from uda.compute.prefetch import prefetch
from uda.data.views import draw_views, to_float, views
from uda.training.state import Loop

# Streams of random numbers, other than those of `uda.training.source_batches`.
ORDER, VIEWS, DROPOUT = range(100, 103)


class TargetBatch(NamedTuple):
    """A batch of one step.

    Attributes:
        images: float32 [B / ranks, 3, px, px] in [0, 1], this rank's share.
        rows: int64 [B], rows of the target, of all ranks.
    """

    images: Tensor
    rows: Tensor


def target_batches(
    resized: Tensor,
    first: int,
    steps: int,
    batch_size: int,
    loop: Loop,
    chosen: Tensor | None = None,
) -> Iterator[TargetBatch]:
    """Yield the batches of ``steps`` from step ``first`` (from 0) on, over as many passes.

    The last partial batch of a pass is dropped. Order and views depend on the run's seed, the pass
    and the row alone.

    Args:
        resized: The target's images uint8 [N, 3, S, S].
        first: Of all steps of the adaptation.
        steps: How many.
        batch_size: B, of all ranks together.
        loop: Sizes, seed and device.
        chosen: int64 [steps, B], the rows of each batch instead.
    """
    per_pass, end = len(resized) // batch_size, first + steps
    if chosen is not None:
        yield from _batches(resized, first // per_pass, chosen, loop)
        return
    while first < end:
        number, skipped = divmod(first, per_pass)
        count = min(per_pass - skipped, end - first)
        order = np.random.default_rng([loop.seed, ORDER, number]).permutation(len(resized))
        rows = torch.from_numpy(order[: per_pass * batch_size]).view(per_pass, batch_size)
        yield from _batches(resized, number, rows[skipped : skipped + count], loop)
        first += count


def _batches(resized: Tensor, number: int, batches: Tensor, loop: Loop) -> Iterator[TargetBatch]:
    """Yield ``batches`` of rows under the views of a pass over the target."""
    spare_px = loop.images.resize_px - loop.images.crop_px
    draws = draw_views(len(resized), spare_px, loop.images.flip, (loop.seed, VIEWS, number))
    shares = [share(rows) for rows in batches]
    # In a thread where the network leaves the processor free.
    loaded = prefetch(
        lambda rows: pinned(resized[rows], loop.device), shares, apart=loop.device.type == "cuda"
    )
    for rows, rank_rows, whole in zip(batches, shares, loaded, strict=True):
        whole = whole.to(loop.device, non_blocking=True)
        crops = views(whole, loop.images.crop_px, draws[rank_rows.numpy()])
        yield TargetBatch(to_float(crops, loop.device, loop.compute.channels_last), rows)
