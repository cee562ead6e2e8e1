"""What an editor is: anything that redraws images under short style prompts."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Editor(Protocol):
    """Redraws images so that the label stays and the style changes.

    An edit is a function of its (image, prompt, seed) alone: what else is in the batch, and in
    which order, does not matter (floating-point noise aside).
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
    if not len(images) == len(prompts) == len(seeds):
        raise ValueError(
            f"{len(images)} images, {len(prompts)} prompts and {len(seeds)} seeds: "
            "give one prompt and one seed for each image"
        )
