"""Several augmentations in one: those of single images in order, then at most one of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uda.augment.base import Augmentation
from uda.augment.look import Look
from uda.models.classifier import Classifier

PLUS = "+"  # between the names


def names_in(name: str) -> list[str]:
    """Return the names of the augmentations that ``name``, as configurations have it, joins."""
    return name.split(PLUS)


class ComposedAugmentation(Augmentation):
    """Augmentations one after another: ``genmix+randaugment``.

    Each part changes what it would change alone, in the state that those before it have left:
    GenMix the copies, RandAugment every image drawn. Each part draws from other seeds.

    Raises:
        ValueError: Names the part that makes no sense where it stands.
    """

    def __init__(self, parts: Sequence[Augmentation]) -> None:
        names = [part.name for part in parts]
        self.name = PLUS.join(names)
        self.title = " + ".join(part.title for part in parts)
        _check(self.name, parts)
        self._parts = tuple(parts)
        self._last = parts[-1]
        self.copies = any(part.copies for part in parts)
        self.every_image = any(part.every_image for part in parts)
        self.mixes_batches = self._last.mixes_batches
        self.looks = self._last.looks
        self.prepares = any(part.prepares for part in parts)

    @property
    def parts(self) -> tuple[Augmentation, ...]:
        """The parts, in order."""
        return self._parts

    @property
    def wanted_edits(self) -> Mapping[str, Any]:
        """Those of the part that takes edits."""
        return {key: value for part in self._parts for key, value in part.wanted_edits.items()}

    def prepare(
        self,
        images: Tensor,
        names: Sequence[str],
        store: Path,
        seed: int,
        device: torch.device | None = None,
    ) -> Mapping[str, Any]:
        """Have each part prepare; return what all of them say."""
        said: dict[str, Any] = {}
        for part in self._parts:
            said |= part.prepare(images, names, store, seed, device)
        return said

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Not to be called: `uda.training.source_batches` gives each part the images it changes."""
        raise NotImplementedError("a composed augmentation is applied part by part")

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the batch as the last part mixes it."""
        return self._last.batch(images, targets, seed)

    def batch_by_look(
        self, images: Tensor, targets: Tensor, seed: int, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return the batch as the last part mixes it by what the network sees."""
        return self._last.batch_by_look(images, targets, seed, look)

    def within(self, model: Classifier, batch_size: int, seed: int) -> AbstractContextManager[None]:
        """Return the last part's context."""
        return self._last.within(model, batch_size, seed)

    def stages(
        self, images: Tensor, ids: Sequence[int], seed: int
    ) -> tuple[list[str], list[dict[str, Tensor]]]:
        """Return those of the first part that has stages."""
        for part in self._parts:
            captions, rows = part.stages(images, ids, seed)
            if rows:
                return captions, rows
        return [], []


def _check(name: str, parts: Sequence[Augmentation]) -> None:
    where = f"augment.name: {name}"
    for number, part in enumerate(parts):
        if not (part.copies or part.every_image or part.mixes_batches):
            raise ValueError(f"{where}: {part.name} changes nothing; leave it out")
        if part.mixes_batches and number < len(parts) - 1:
            raise ValueError(
                f"{where}: {part.name} mixes batches, so it can only stand last, and alone of its "
                "kind"
            )
