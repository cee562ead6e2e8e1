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

from genmix_aug.editors import EDITORS, Editor
from genmix_aug.edits.plan import image_digest, plan_edits
from genmix_aug.edits.serving import edit_command, served_keys
from genmix_aug.edits.store import EditStore, MissingEditError
from genmix_aug.images import from_picture, to_picture
from genmix_aug.mixing.fractals import draw_fractals as fractals
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

    It comes first, where the pixels are those that `genmix edit` read: an image finds its edits
    by content. Whether an image is augmented, the edit, seam and fractal are functions of (seed,
    epoch, pixels), so the result is the same with any number of workers and in any order.

    Images are Pillow images, `tv_tensors.Image` or uint8 tensors [3, H, W] (in a sample without
    the former two, the first tensor), and stay so; Pillow images become RGB, augmented or not.
    Labels, boxes, masks and the rest of a sample pass through. An image whose edits were all
    rejected by screening is left as it is.

    Args:
        store: the folder of edits.
        prompts, per_image, edit_seed: as given to `genmix edit` (its --seed is `edit_seed`):
            prompts are the name of a set, text with commas, or a sequence. One of an image's
            edits is drawn each time.
        editor: what made the edits: an editor, the name of one with its default options, or the
            fingerprint that the store's manifest records. None of its weights are loaded.
        genmix: joins original and edit; without one, the paper's settings, the seam scaled to
            the size of each image and 32 fractals of 256 px, made here in a few seconds.
        probability: share of the images that are augmented, in [0, 1].
        seed: of everything that is drawn here.

    Raises:
        ValueError: no prompts or one named twice, an editor that neither goes by that name nor
            made any edit of the store, or a number out of range. When applied: a sample without
            an image, or one of another dtype or shape.
        MissingEditError: when applied, the store has no edits of the image.
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
        self.prompts = parse_prompts(prompts)
        plan_edits([""], self.prompts, per_image)  # refuses prompts that do not fit
        self.store = EditStore(store)
        self.per_image = per_image
        self.fingerprint = _fingerprint(editor, self.store)
        self.genmix = genmix or GenMix(fractals(*DEFAULT_FRACTALS))
        self.probability = probability
        self.seed = seed
        self.edit_seed = edit_seed
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
        """Other draws for another epoch; reaches running (persistent) workers as well.

        To be called before the loader's pass over the epoch begins.
        """
        self._epoch.fill_(epoch)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """ValueError where the sample has no image, and would pass as it is without a word.

        To torchvision a NumPy array is none.
        """
        if any(isinstance(part, Image.Image | tv_tensors.Image) for part in flat_inputs):
            return
        # Without one of those torchvision takes the first plain tensor for the image.
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
        """The image of a sample, augmented or not; boxes, masks and videos as they are."""
        if isinstance(inpt, Image.Image):
            return to_picture(self._augment(from_picture(inpt)))
        if isinstance(inpt, tv_tensors.TVTensor) and not isinstance(inpt, tv_tensors.Image):
            return inpt
        return self._augment(inpt)

    def _augment(self, image: Tensor) -> Tensor:
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
        """The store's accepted edits of an image."""
        wanted = (self.prompts, self.per_image, self.edit_seed)
        try:
            return served_keys(self.store, digest, *wanted, self.fingerprint)
        except MissingEditError as error:
            command = edit_command("FOLDER", self.store, *wanted)
            raise MissingEditError(
                f"{error}: make it with `{command}` and that editor, and let the Dataset "
                "read pictures as the command does, by genmix_aug.images.load_rgb "
                "(ImageFolder(..., loader=load_rgb))"
            ) from None


def _fingerprint(editor: Editor | str, store: EditStore) -> str:
    """The fingerprint that an editor, its name or itself stands for.

    Raises:
        ValueError: a text that is neither a name nor in the store's manifest.
    """
    if not isinstance(editor, str):
        return editor.fingerprint
    if editor in EDITORS:
        return EDITORS[editor]().fingerprint
    found: set[str] = set()
    for record in store.lines():
        if record.get("editor") == editor:
            return editor
        found.add(str(record.get("editor")))
    held = f"the store {store.root} has edits by {', '.join(sorted(found)) or 'none'}"
    raise ValueError(f"unknown editor {editor!r}: choose from {', '.join(EDITORS)}; {held}")
