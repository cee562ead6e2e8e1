"""What an augmentation is to the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from uda.model import Classifier


class Augmentation(Protocol):
    """Makes other training images of the originals.

    ``copies`` says whether the list to train on gets augmented copies of each image, and
    ``every_image`` whether each image drawn from it is augmented, rather than the copies alone. The
    number of steps is the same in any case. `NoAugmentation` has what most leave as it is.
    """

    copies: bool
    every_image: bool

    @property
    def identity(self) -> Mapping[str, str]:
        """What stands in a run's identity in place of the options of these names."""

    @property
    def wanted_edits(self) -> Mapping[str, Any]:
        """What decides the edits that `prepare` stores, pictures aside; empty where it stores none.

        Runs of which all of it is alike need the same ones.
        """

    def prepare(
        self,
        images: Tensor,
        names: Sequence[str],
        store: Path,
        seed: int,
        device: torch.device | None = None,
    ) -> Mapping[str, Any]:
        """Before training: whatever it needs of ``images`` uint8 [N, 3, H, W] and their ``names``.

        What is dear to make goes into the folder ``store`` and is found there the next time; a
        network that makes it works on ``device``, or where it chooses. Returns what the run's log
        is to say of what was found; under ``edits`` a hash of the stored edits.
        """

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """uint8 [B, 3, H, W] -> the same, before resize and crop.

        ``ids``: which of the prepared images these are. Each result depends on its own image, id
        and seed alone. On a GPU it runs in a thread, while `batch` has the images before these: the
        two must not draw from one generator.
        """

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Cropped images in [0, 1] and soft targets [B, K] -> the same, mixed across the batch."""

    def within(self, model: Classifier, batch_size: int, seed: int) -> AbstractContextManager[None]:
        """While the network computes the logits of a batch of ``batch_size``, or of this process's
        share of it: what mixes its features, by the seed that its `batch` got."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch's own generator of the CPU draws by ``seed``; then as before.

    For transforms of torchvision, which draw from it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs too
        yield
