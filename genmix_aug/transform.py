"""GenMix as a transform of `torchvision.transforms.v2`, for anyone's Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from genmix_aug.digests import image_digest
from genmix_aug.editors import EDITORS, Editor
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore, MissingEditError
from genmix_aug.images import from_picture, to_picture
from genmix_aug.mixing.fractals import draw_fractals
from genmix_aug.mixing.genmix import GenMix
from genmix_aug.prompts import parse_prompts
from genmix_aug.seeding import hash_seed, unit_draw

DEFAULT_FRACTALS = (32, 256)  # number and px: made in four or five seconds, once a process


class GenMixTransform(v2.Transform):
    """Turns a share of the images into GenMix images, with edits from a store.

        augment = GenMixTransform("data/edits", per_image=2, seed=0)
        data = ImageFolder(root, transform=v2.Compose([augment, v2.RandomResizedCrop(224), ...]))
        for epoch in range(epochs):
            augment.set_epoch(epoch)
            for images, labels in loader: ...

    It comes first, where the pixels are those that `genmix edit` read: an image's edits are looked
    up by content. Whether an image is augmented, the edit, seam and fractal are functions of (seed,
    epoch, pixels), so the result is the same with any number of workers and in any order.

    Images are Pillow images, `tv_tensors.Image` or uint8 tensors [3, H, W] (in a sample without
    the former two, the first tensor), and stay so; Pillow images become RGB, augmented or not.
    Labels, boxes, masks and the rest of a sample pass through. An image whose edits were all
    rejected by screening is left as it is.

    Args:
        store: The folder of edits.
        prompts: As for `genmix edit`: the name of a set, text with commas, or a sequence.
        per_image: As for `genmix edit`. One of the image's stored edits is drawn each time.
        editor: What made the edits: an editor, an editor's name for its default options, or the
            fingerprint that the store's manifest records. None of its weights are loaded.
        genmix: Joins original and edit; by default the paper's settings, the seam scaled to the
            size of each image and 32 fractals of 256 px, drawn in a few seconds.
        probability: Share of the images that are augmented, in [0, 1].
        seed: Of everything that the transform draws.
        edit_seed: The --seed of `genmix edit`.

    Raises:
        ValueError: No prompts or a prompt named twice, an editor that neither goes by that name
            nor made any edit of the store, or a number out of range. When applied: a sample
            without an image, or an image of another dtype or shape.
        MissingEditError: When applied, the store has no edits of the image.
    """

    def __init__(
        self,
        store: Path | str,
        prompts: Sequence[str] | str = "cross-domain",
        per_image: int = 2,
        editor: Editor | str = "filters",
        genmix: GenMix | None = None,
        probability: float = 0.5,
        seed: int = 0,
        edit_seed: int = 0,
    ) -> None:
        super().__init__()
        if per_image < 1:
            raise ValueError(f"per_image must be at least 1, not {per_image}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], not {probability}")
        chosen = parse_prompts(prompts)
        self.store = EditStore(store)
        self.plan = EditPlan(chosen, per_image, _fingerprint(editor, self.store), edit_seed)
        self.genmix = genmix or GenMix(draw_fractals(*DEFAULT_FRACTALS))
        self.probability = probability
        self.seed = seed
        # In shared memory: workers that were started before see what is set later.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # Still shared where a worker was started; a copy through plain pickle or deepcopy is not.
        self._epoch.share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that draws are made for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw anew for another epoch; this reaches running (persistent) workers as well.

        Call it before the loader's pass over the epoch begins.
        """
        self._epoch.fill_(epoch)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Refuse a sample without an image, which would pass unchanged without a word.

        To torchvision a NumPy array is no image.

        Raises:
            ValueError: No image in the sample.
        """
        if any(isinstance(part, Image.Image | tv_tensors.Image) for part in flat_inputs):
            return
        # Otherwise torchvision takes the first plain tensor for the image.
        plain = [
            part
            for part in flat_inputs
            if isinstance(part, Tensor) and not isinstance(part, tv_tensors.TVTensor)
        ]
        pictures = [part for part in flat_inputs if isinstance(part, np.ndarray) and part.ndim == 3]
        if not plain or (pictures and plain[0].ndim < 3):
            kinds = ", ".join(dict.fromkeys(type(part).__name__ for part in flat_inputs))
            raise ValueError(
                f"GenMixTransform found no image in a sample of {kinds or 'nothing'}: give uint8 "
                "tensors [3, H, W] or Pillow images; let the Dataset read files by "
                "genmix_aug.images.load_rgb, or put torchvision.transforms.v2.ToImage() first"
            )

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return the image of a sample, augmented or not; boxes, masks and videos as they are."""
        if isinstance(inpt, Image.Image):
            return to_picture(self._augment(from_picture(inpt)))
        if isinstance(inpt, tv_tensors.TVTensor) and not isinstance(inpt, tv_tensors.Image):
            return inpt
        return self._augment(inpt)

    def _augment(self, image: Tensor) -> Tensor:
        """Return an image uint8 [3, H, W], augmented if it is its turn in this epoch."""
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(
                f"GenMixTransform takes images uint8 [3, H, W], not {image.dtype} "
                f"{[*image.shape]}: put it before transforms that change type or batch"
            )
        digest = image_digest(image)
        draw = hash_seed("transform", self.seed, self.epoch, digest)
        if unit_draw("augmented", draw) >= self.probability:
            return image
        keys = self._keys(digest)
        if not keys:
            return image
        edit = self.store.read(keys[hash_seed("which edit", draw) % len(keys)])
        return self.genmix(image, edit.to(image.device), draw)

    def _keys(self, digest: str) -> list[str]:
        """Return the keys of an image's accepted edits."""
        try:
            return self.plan.served_keys(self.store, digest)
        except MissingEditError as error:
            command = self.plan.command("FOLDER", self.store)
            raise MissingEditError(
                f"{error}: make it with `{command}` and that editor, and let the Dataset "
                "read pictures as the command does, by genmix_aug.images.load_rgb "
                "(ImageFolder(..., loader=load_rgb))"
            ) from None


def _fingerprint(editor: Editor | str, store: EditStore) -> str:
    """Return the fingerprint of an editor, or of a text: an editor's name or its fingerprint.

    Raises:
        ValueError: A text that is neither a name nor in the store's manifest.
    """
    if not isinstance(editor, str):
        return editor.fingerprint
    if editor in EDITORS:
        return EDITORS[editor]().fingerprint
    known = {str(record.get("editor")) for record in store.lines()}
    if editor in known:
        return editor
    raise ValueError(
        f"unknown editor {editor!r}: choose from {', '.join(EDITORS)}; the store {store.root} has "
        f"edits by {', '.join(sorted(known)) or 'none'}"
    )
