"""Filling a store by many workers: Ray's actors, each of which has an editor."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import cv2
import torch

from genmix_aug.cluster import cores, ray_cluster, room_for
from genmix_aug.digests import image_digest
from genmix_aug.editors.base import Editor
from genmix_aug.edits.actors import ActorPool
from genmix_aug.edits.fill import Filler, FillSettings, Originals, Screen
from genmix_aug.edits.keys import Request
from genmix_aug.edits.store import EditStore
from genmix_aug.files import host
from genmix_aug.images import ImageFiles
from genmix_aug.progress import show_progress

CHUNK_BATCHES = 8  # most batches that a worker takes at a time: enough for full ones of each size
READ_IMAGES = 64  # that a worker takes at a time, at least, for their digests


@dataclass(frozen=True)
class Workers:
    """How many workers there are, and where.

    Attributes:
        count: Workers at a time; None for as many as the cluster holds.
        gpus: GPUs, or a fraction of one, that each takes; None for an equal share of this machine's
            up to one, or one on a cluster that has GPUs, if the editor uses them.
        address: Of the Ray cluster to join ("auto" finds one); empty for this machine alone.
    """

    count: int | None = None
    gpus: float | None = None
    address: str = ""

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"--workers must be at least 1, not {self.count}")
        if (gpus := self.gpus or 0) < 0 or (gpus > 1 and gpus % 1):
            raise ValueError(
                f"--gpus-per-worker must be a share of a GPU or a whole number, not {gpus:g}"
            )

    @property
    def is_local(self) -> bool:
        """Whether this process alone fills the store, without Ray."""
        return self.count in (None, 1) and not self.address

    @property
    def cpus(self) -> int:
        """The cores, and threads, of each worker."""
        return 1 if self.address else max(cores() // (self.count or 1), 1)


@dataclass(frozen=True)
class Recipe:
    """What a worker makes its editor and its screen of; it is sent to each worker, they are not.

    Attributes:
        store: Where the edits go.
        make_editor: Returns the editor; called in the worker.
        fingerprint: The editor's, which must be the same everywhere.
        make_screen: Returns what judges the edits; called in the worker.
        settings: Batch size and redraws.
        folder: The working folder.
        threads: Of each worker.
    """

    store: EditStore
    make_editor: Callable[[], Editor]
    fingerprint: str
    make_screen: Callable[[], Screen | None] = lambda: None
    settings: FillSettings = field(default_factory=FillSettings)
    folder: Path = field(default_factory=Path.cwd)
    threads: int = 1


@dataclass(frozen=True)
class Filled:
    """What became of requests.

    Attributes:
        keys: The key of each; None where all attempts were rejected.
        rejected: How many new edits were rejected, by the reason.
        remarks: The editors', see `Editor.remarks`.
    """

    keys: list[str | None]
    rejected: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)


class Worker:
    """An actor that reads images and fills the store; its editor is made at its first edit."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.store = recipe.store

    def start(self) -> None:
        """Work where, and with as many threads as, the recipe says."""
        os.chdir(self.recipe.folder)
        torch.set_num_threads(self.recipe.threads)
        cv2.setNumThreads(self.recipe.threads)

    @cached_property
    def editor(self) -> Editor:
        """The worker's editor."""
        editor = self.recipe.make_editor()
        if editor.fingerprint != self.recipe.fingerprint:
            raise ValueError(
                f"the editor is {self.recipe.fingerprint} where the command was given and "
                f"{editor.fingerprint} on {host()}: install the same everywhere"
            )
        return editor

    @cached_property
    def settings(self) -> FillSettings:
        """The settings, with the worker's screen."""
        return replace(self.recipe.settings, screen=self.recipe.make_screen(), progress=False)

    def digests(self, images: ImageFiles) -> list[str]:
        """Return the digest of each image."""
        return digests_of(images)

    def fill(self, originals: Originals, requests: Sequence[Request]) -> Filled:
        """Make what the store lacks of requests."""
        before = self.editor.remarks()
        filler = Filler(self.store, self.editor, originals, requests, self.settings)
        keys = filler.make_missing()
        return Filled(keys, filler.rejected, Counter(self.editor.remarks()) - Counter(before))


def digests_of(images: ImageFiles, progress: bool = False) -> list[str]:
    """Read images, and return the `image_digest` of each."""
    with show_progress(range(len(images)), desc="reading", unit="image", shown=progress) as numbers:
        return [image_digest(images[number]) for number in numbers]


@contextmanager
def worker_pool(recipe: Recipe, workers: Workers, uses_gpu: bool = False) -> Iterator[ActorPool]:
    """Start workers, and end them with the block.

    Args:
        recipe: What they are made of.
        workers: How many, and where.
        uses_gpu: Whether the editor does.

    Raises:
        ValueError: No cluster at the address, or it has no room for so many workers.
    """
    import ray

    recipe = replace(recipe, threads=workers.cpus)
    try:
        with ray_cluster(workers.address, (workers.count or 1) * workers.cpus):
            gpus = _gpus_each(workers, uses_gpu)
            count = _count(workers, gpus)
            remote = ray.remote(num_cpus=workers.cpus, num_gpus=gpus, max_restarts=0)(Worker)
            with ActorPool(
                lambda: remote.remote(recipe), count, lambda: room_for(workers.cpus, gpus) > 0
            ) as pool:
                yield pool
    except BaseException:
        recipe.store.remove_abandoned()  # what workers were at when they were ended
        raise


def _gpus_each(workers: Workers, uses_gpu: bool) -> float:
    import ray

    if workers.gpus is not None:
        return workers.gpus
    available = ray.cluster_resources().get("GPU", 0) if uses_gpu else 0
    return float(min(1, available if workers.address else available / (workers.count or 1)))


def _count(workers: Workers, gpus: float) -> int:
    """Return the number of workers, for all of which the cluster must have room."""
    room = room_for(workers.cpus, gpus)
    if room < (wanted := workers.count or 1):
        where = f"the cluster {workers.address}" if workers.address else "this machine"
        raise ValueError(
            f"--workers {wanted} --gpus-per-worker {gpus:g}: {where} has room for {room}"
        )
    return workers.count or room


def read_digests(pool: ActorPool, images: ImageFiles) -> list[str]:
    """Have the workers read images, and return the `image_digest` of each."""
    digests = [""] * len(images)
    tasks = (
        (numbers, (images.part(numbers),))
        for numbers in shrinking_ranges(len(images), pool.count, READ_IMAGES)
    )
    with show_progress(total=len(images), desc="reading", unit="image") as bar:
        for numbers, result in pool.map("digests", tasks):
            digests[numbers.start : numbers.stop] = result
            bar.update(len(numbers))
    return digests


def fill_together(
    pool: ActorPool, recipe: Recipe, originals: Originals, requests: Sequence[Request]
) -> Filled:
    """Have the workers make what the store lacks of requests.

    Args:
        pool: Of `worker_pool`.
        recipe: The pool's.
        originals: The images, `ImageFiles` that workers read for themselves.
        requests: The edits that are wanted. Those that share a key are made once.

    Raises:
        ValueError, OSError: As `Filler.fill`.
        ChildProcessError: Workers were lost again and again.
    """
    recipe.store.remove_abandoned()
    first: dict[tuple[str, str, int], int] = {}  # of the requests that share a key
    for number, (image, prompt, seed) in enumerate(requests):
        first.setdefault((originals.digests[image], prompt, seed), number)
    distinct = list(first.values())
    keys: dict[int, str | None] = {}
    filled = Filled([])
    batch_size = recipe.settings.batch_size
    tasks = (
        (numbers, _part(originals, requests, numbers))
        for chunk in shrinking_ranges(len(distinct), pool.count, batch_size)
        if (numbers := distinct[chunk.start : chunk.stop])
    )
    shown = recipe.settings.progress
    with show_progress(total=len(distinct), desc="editing", unit="image", shown=shown) as bar:
        for numbers, part in pool.map("fill", tasks):
            keys.update(zip(numbers, part.keys, strict=True))
            filled.rejected.update(part.rejected)
            filled.remarks.update(part.remarks)
            bar.set_postfix(filled.rejected, refresh=False)
            bar.update(len(numbers))
    for image, prompt, seed in requests:
        filled.keys.append(keys[first[originals.digests[image], prompt, seed]])
    return filled


def _part(
    originals: Originals, requests: Sequence[Request], numbers: Sequence[int]
) -> tuple[Originals, list[Request]]:
    """Return some requests, and the originals that they are of."""
    images = list(dict.fromkeys(requests[number].image for number in numbers))
    position = {image: index for index, image in enumerate(images)}
    part = [requests[number]._replace(image=position[requests[number].image]) for number in numbers]
    files = cast(ImageFiles, originals.images)
    return (
        Originals(
            files.part(images),
            [originals.names[image] for image in images],
            [originals.digests[image] for image in images],
            originals.origin,
        ),
        part,
    )


def shrinking_ranges(total: int, workers: int, batch_size: int) -> Iterator[range]:
    """Yield ranges that share `total` items out: long ones, and at the end single batches.

    The last workers then end at about the same time.
    """
    start = 0
    while start < total:
        fair = (total - start) // (4 * workers)
        stop = min(start + min(max(fair, batch_size), CHUNK_BATCHES * batch_size), total)
        yield range(start, stop)
        start = stop
