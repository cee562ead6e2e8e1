"""Images in batches of equal sizes, with a bound on what waits in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from torch import Tensor

MAX_BATCH_BYTES = 64 * 2**20  # sixteen images of 1.4 megapixels
MAX_WAITING_BYTES = 512 * 2**20  # of images that wait for others of their size

Item = TypeVar("Item")


def size_group(height: int, width: int) -> Hashable:
    """Return the size itself, in px: images of equal size go together."""
    return height, width


def batches(
    items: Iterable[tuple[Item, Tensor]],
    batch_size: int,
    group: Callable[[int, int], Hashable] = size_group,
    max_waiting_bytes: int = MAX_WAITING_BYTES,
) -> Iterator[list[tuple[Item, Tensor]]]:
    """Yield batches of (anything, image [3, H, W]), each with images of a single group.

    Args:
        items: The images, each with what belongs to it.
        batch_size: Of a full batch. Where groups are many and none fills up, batches are smaller;
            so are those of large photos, each of which may take many seconds.
        group: What images of this height and width have in common with others of their batch.
        max_waiting_bytes: Images wait for their batch to fill up to so many bytes, the last image
            aside; beyond that, those of the fullest group go as they are.
    """
    waiting: dict[Hashable, list[tuple[Item, Tensor]]] = {}
    waiting_bytes = 0
    for item, image in items:
        key = group(image.shape[-2], image.shape[-1])
        waiting.setdefault(key, []).append((item, image))
        waiting_bytes += image.nbytes
        while waiting_bytes > max_waiting_bytes or _is_full(waiting.get(key, ()), batch_size):
            full = _is_full(waiting.get(key, ()), batch_size)
            key = key if full else max(waiting, key=lambda known: len(waiting[known]))
            batch = waiting.pop(key)
            waiting_bytes -= sum(image.nbytes for _, image in batch)
            yield batch
    yield from waiting.values()


def _is_full(batch: Sequence[tuple[Item, Tensor]], batch_size: int) -> bool:
    num_bytes = sum(image.nbytes for _, image in batch)
    return len(batch) >= batch_size or num_bytes > MAX_BATCH_BYTES
