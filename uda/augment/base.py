"""What an augmentation is to the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from uda.models.classifier import Classifier

if TYPE_CHECKING:
    from uda.augment.look import Look


class Augmentation:
    """A way to make other training images of the originals; the base class changes nothing.

    Attributes:
        name: What configurations call it, as in `uda.augment.AUGMENTATIONS`.
        title: What tables call it.
        copies: Whether the list to train on gets augmented copies of each image.
        every_image: Whether each image drawn from the list is augmented, rather than the copies
            alone. The number of steps is the same in any case.
        mixes_batches: Whether the images of a batch, or their features, are mixed with each other.
        looks: Whether batches are mixed by what the network sees in them: then `batch_by_look` is
            called in the place of `batch`.
        prepares: Whether `prepare` has work to do, whose time is then logged.
        added_options: Options that are newer than some runs: at their defaults they are left out of
            a run's identity, so that runs from before them keep their names.
        former_options: As `uda.methods.base.Method` has them.
    """

    name: str
    title: str
    copies: bool = False
    every_image: bool = False
    mixes_batches: bool = False
    looks: bool = False
    prepares: bool = False
    added_options: ClassVar[tuple[str, ...]] = ()
    former_options: ClassVar[Mapping[str, Any]] = {}

    @property
    def parts(self) -> tuple[Augmentation, ...]:
        """What changes single images in turn; more than itself for a composed augmentation."""
        return (self,)

    @property
    def identity(self) -> Mapping[str, str]:
        """The values that replace options in a run's identity, by the options' names."""
        return {}

    @property
    def wanted_edits(self) -> Mapping[str, Any]:
        """The settings that decide which edits `prepare` stores of an image; empty without any.

        Runs whose values are all equal need the same edits.
        """
        return {}

    def prepare(
        self,
        images: Tensor,
        names: Sequence[str],
        store: Path,
        seed: int,
        device: torch.device | None = None,
    ) -> Mapping[str, Any]:
        """Make what is needed before training.

        Args:
            images: uint8 [N, 3, H, W].
            names: The images' names.
            store: Folder for what is expensive to make, which later runs read.
            seed: The run's.
            device: Where a network that makes it computes; None lets it choose.

        Returns:
            What the run's log is to say, such as a hash of the stored edits under ``edits``.
        """
        return {}

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Return augmented images uint8 [B, 3, H, W], before resize and crop.

        Each result depends on its image, id and seed alone. On a GPU this runs in a thread while
        `batch` works on the images before these, so the two must not share a generator.

        Args:
            images: uint8 [B, 3, H, W].
            ids: [B], rows of the prepared images.
            seeds: [B].
        """
        return images

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return images and soft targets, mixed across the batch.

        Args:
            images: Cropped, [B, 3, H, W] in [0, 1].
            targets: [B, K].
            seed: The batch's.
        """
        return images, targets

    def batch_by_look(
        self, images: Tensor, targets: Tensor, seed: int, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return what `batch` does, by what the network in training sees: see `looks`.

        All ranks call it with the same whole batch, and get the same.
        """
        return self.batch(images, targets, seed)

    def within(self, model: Classifier, batch_size: int, seed: int) -> AbstractContextManager[None]:
        """Return a context in which ``model`` computes the logits of a batch with mixed features.

        The batch has ``batch_size`` rows, of which each rank computes its share; ``seed`` is the
        seed that its `batch` got.
        """
        return nullcontext()

    def stages(
        self, images: Tensor, ids: Sequence[int], seed: int
    ) -> tuple[list[str], list[dict[str, Tensor]]]:
        """Return captions and, by name, the stages of a few prepared images, to be drawn.

        ``images`` are all prepared images, of which ``ids`` are rows. Both results are empty where
        the augmentation has no stages, or no image of ``ids`` has an edit.
        """
        return [], []


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator within the block and restore it after.

    For transforms of torchvision, which draw from it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs too
        yield
