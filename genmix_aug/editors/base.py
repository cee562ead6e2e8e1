"""What an editor is: anything that redraws images under short style prompts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from genmix_aug.batching import own_size


class Editor(Protocol):
    """Redraws images so that the label stays and the style changes.

    An edit is a function of its (image, prompt, seed) alone: what else is in the batch, and in
    which order, does not matter (floating-point noise aside).

    An editor may have more: `edit_each(images, prompts, seeds)` for lists of images [3, H, W], and
    `group(height, width)`, alike for sizes that it takes in one such list; `device`, where "auto"
    leaves the choice to others (`on_device`); `release()`, which gives back memory.
    """

    @property
    def fingerprint(self) -> str:
        """Names everything that changes the output: kind, version, weights, settings."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The short prompts that it knows; empty where it takes any text."""

    def edit(self, images: Tensor, prompts: list[str], seeds: list[int]) -> Tensor:
        """Edits of images uint8 [B, 3, H, W], of the same shape and dtype.

        Args:
            images: RGB, 0-255.
            prompts: one short prompt for each image, such as "snowy"; an editor that takes
                sentences applies `genmix_aug.prompts.full_prompt` itself.
            seeds: one for each image.

        Raises:
            ValueError: a prompt that the editor does not know, or lengths that differ.
        """


def group_of(editor: Editor) -> Callable[[int, int], Hashable]:
    """What sizes, height and width in px, have in common that `edit_each` takes together."""
    group: Callable[[int, int], Hashable] = getattr(editor, "group", own_size)
    return group


def edit_each(
    editor: Editor, images: Sequence[Tensor], prompts: list[str], seeds: list[int]
) -> list[Tensor]:
    """Edits of images uint8 [3, H, W] of one group (`group_of`), each as `Editor.edit` makes it."""
    if each := getattr(editor, "edit_each", None):
        edits: list[Tensor] = each(images, prompts, seeds)
        return edits
    return list(editor.edit(torch.stack(list(images)), prompts, seeds))


def on_device(editor: Editor, device: str) -> None:
    """Lets an editor that would choose its own device (auto) work on this one."""
    if getattr(editor, "device", "") == "auto":
        editor.device = device  # type: ignore[attr-defined]


def release(editor: Editor) -> None:
    """Gives back the memory of an editor that is not needed for the time being."""
    if free := getattr(editor, "release", None):
        free()


def check_request(images: Tensor, prompts: list[str], seeds: list[int]) -> None:
    """Refuses what no editor can take.

    Raises:
        ValueError: images that are not uint8 [B, 3, H, W] with H, W >= 1, or not one prompt
            and one seed for each.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be uint8 [B, 3, H, W], not {images.dtype} {[*images.shape]}")
    if images.shape[2] < 1 or images.shape[3] < 1:
        raise ValueError(f"images are empty: {[*images.shape]}")
    _check_lengths(len(images), prompts, seeds)


def check_images(images: Sequence[Tensor], prompts: list[str], seeds: list[int]) -> None:
    """As `check_request`, of a list of images uint8 [3, H, W].

    Raises:
        ValueError: as `check_request`.
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
