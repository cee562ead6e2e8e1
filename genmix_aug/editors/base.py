"""What an editor is: anything that redraws images under short style prompts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from genmix_aug.batching import size_group
from genmix_aug.prompts import check_prompts


class Editor:
    """Redraws images so that the label stays and the style changes.

    An edit is a function of its (image, prompt, seed) alone: what else is in the batch, and in
    which order, does not matter (floating-point noise aside). A new editor overrides
    `fingerprint` and `edit`, and the rest where the defaults do not suit it.
    """

    @property
    def uses_gpu(self) -> bool:
        """Whether it works on a GPU if the machine has any: each worker then takes a GPU."""
        return False

    @property
    def fingerprint(self) -> str:
        """Everything that changes the output, as a text: kind, version, weights, settings."""
        raise NotImplementedError

    @property
    def prompts(self) -> tuple[str, ...]:
        """The short prompts that the editor knows; empty where it takes any text."""
        return ()

    def edit(self, images: Tensor, prompts: list[str], seeds: list[int]) -> Tensor:
        """Return edits of images uint8 [B, 3, H, W], of the same shape and dtype.

        Args:
            images: RGB, 0-255.
            prompts: A short prompt for each image, such as "snowy"; an editor that takes
                sentences applies `genmix_aug.prompts.full_prompt` itself.
            seeds: A seed for each image.

        Raises:
            ValueError: A prompt that the editor does not know, or lengths that differ.
        """
        raise NotImplementedError

    def group(self, height: int, width: int) -> Hashable:
        """Return what images of this size, in px, share with others of an `edit_each` batch."""
        return size_group(height, width)

    def edit_each(
        self, images: Sequence[Tensor], prompts: list[str], seeds: list[int]
    ) -> list[Tensor]:
        """Return edits of images uint8 [3, H, W] of the same `group`, as `edit` makes them."""
        return list(self.edit(torch.stack(list(images)), prompts, seeds))

    def prefer_device(self, device: str) -> None:
        """Work on this device, unless the editor has no choice or its options name another."""

    def release(self) -> None:
        """Free the memory of an editor that is not needed for the time being."""

    def remarks(self) -> dict[str, int]:
        """Return what the user should read, and of how many edits so far it is true.

        An entry is printed as "3 came out black"; there is none if all went well.
        """
        return {}


class ListEditor(Editor):
    """An editor whose batches are lists: it overrides `edit_each`, of which `edit` is made."""

    def edit(self, images: Tensor, prompts: list[str], seeds: list[int]) -> Tensor:
        """Return edits uint8 [B, 3, H, W] of images uint8 [B, 3, H, W]; see `Editor.edit`."""
        check_request(images, prompts, seeds)
        if len(images) == 0:
            return images.clone()
        return torch.stack(self.edit_each(list(images), prompts, seeds))


class SingleImageEditor(ListEditor):
    """An editor that works on each image alone, so that images of all sizes go together.

    It overrides `fingerprint` and `edit_image`.
    """

    def edit_image(self, image: Tensor, prompt: str, seed: int) -> Tensor:
        """Return the edit of an image uint8 [3, H, W], of the same shape and dtype."""
        raise NotImplementedError

    def group(self, height: int, width: int) -> int:
        """Return 0 for every size."""
        return 0

    def edit_each(
        self, images: Sequence[Tensor], prompts: list[str], seeds: list[int]
    ) -> list[Tensor]:
        """Return edits of images uint8 [3, H, W] of any sizes; see `edit`."""
        check_images(images, prompts, seeds)
        check_prompts(prompts, self.prompts)
        return [self.edit_image(*each) for each in zip(images, prompts, seeds, strict=True)]


def check_request(images: Tensor, prompts: list[str], seeds: list[int]) -> None:
    """Refuse what no editor can take.

    Raises:
        ValueError: Images that are not uint8 [B, 3, H, W] with H, W >= 1, or another number of
            prompts or seeds than images.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be uint8 [B, 3, H, W], not {images.dtype} {[*images.shape]}")
    if images.shape[2] < 1 or images.shape[3] < 1:
        raise ValueError(f"images are empty: {[*images.shape]}")
    _check_lengths(len(images), prompts, seeds)


def check_images(images: Sequence[Tensor], prompts: list[str], seeds: list[int]) -> None:
    """Refuse what no editor can take, for a list of images uint8 [3, H, W].

    Raises:
        ValueError: As `check_request`.
    """
    for image in images:
        check_request(image[None], [""], [0])
    _check_lengths(len(images), prompts, seeds)


def _check_lengths(images: int, prompts: list[str], seeds: list[int]) -> None:
    if not images == len(prompts) == len(seeds):
        raise ValueError(
            f"{images} images, {len(prompts)} prompts and {len(seeds)} seeds: "
            "give one prompt and one seed for each image"
        )
