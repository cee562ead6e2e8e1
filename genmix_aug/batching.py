"""Images in batches of one size each, with a bound on what waits in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

from torch import Tensor

HELD_BYTES = 512 * 2**20  # of images that wait for others of their size

Item = TypeVar("Item")


def own_size(height: int, width: int) -> Hashable:
    """Images go together that are of one size, height and width in px."""
    return height, width


def batches(
    items: Iterable[tuple[Item, Tensor]],
    batch_size: int,
    group: Callable[[int, int], Hashable] = own_size,
    held_bytes: int = HELD_BYTES,
) -> Iterator[list[tuple[Item, Tensor]]]:
    """Batches of (anything, image [3, H, W]) with images of one group each.

    Args:
        batch_size: of a full batch. Where groups are many and none fills up, smaller ones come.
        group: what images of this height and width have in common with others of their batch.
        held_bytes: the images that wait take up to so many, and the last one; over that, those of
            the fullest group go as they are.
    """
    waiting: dict[Hashable, list[tuple[Item, Tensor]]] = {}
    held = 0
    for item, image in items:
        key = group(image.shape[-2], image.shape[-1])
        waiting.setdefault(key, []).append((item, image))
        held += image.nbytes
        while held > held_bytes or len(waiting.get(key, ())) >= batch_size:
            full = len(waiting.get(key, ())) >= batch_size
            key = key if full else max(waiting, key=lambda known: len(waiting[known]))
            batch = waiting.pop(key)
            held -= sum(image.nbytes for _, image in batch)
            yield batch
    yield from waiting.values()
