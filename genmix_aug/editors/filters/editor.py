"""The editor `filters`: each of the fifteen prompts painted on the CPU with OpenCV and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genmix_aug.editors.base import SingleImageEditor
from genmix_aug.editors.filters import cross_domain_styles as cross
from genmix_aug.editors.filters import in_domain_styles as plain
from genmix_aug.editors.filters.painting import Array, Rng, Scene, read_scene
from genmix_aug.seeding import hash_seed

VERSION = 2  # raise it whenever a style changes: it is part of every edit's key

STYLES: dict[str, Callable[[Scene, Rng], Array]] = {
    "autumn": plain.autumn,
    "snowy": plain.snowy,
    "sunset": plain.sunset,
    "watercolor art": plain.watercolor_art,
    "rainbow": plain.rainbow,
    "aurora": plain.aurora,
    "mosaic": plain.mosaic,
    "ukiyo-e": plain.ukiyo_e,
    "a sketch with crayon": plain.crayon_sketch,
    "graffiti": cross.graffiti,
    "retro comic": cross.retro_comic,
    "chalk drawing": cross.chalk_drawing,
    "watercolor painting": cross.watercolor_painting,
    "digital art": cross.digital_art,
    "cartoon style": cross.cartoon_style,
}


@dataclass(frozen=True)
class FilterEditor(SingleImageEditor):
    """Paints the fifteen styles of GenMix without a network; the label stays recognisable.

    The seed varies tints, angles, amounts and positions. Any image size works; effects scale
    with the shorter side.
    """

    @property
    def fingerprint(self) -> str:
        """The kind and version of the filters."""
        return f"filters-v{VERSION}"

    @property
    def prompts(self) -> tuple[str, ...]:
        """The fifteen prompts of GenMix."""
        return tuple(STYLES)

    def edit_image(self, image: Tensor, prompt: str, seed: int) -> Tensor:
        """Return the edit of an image uint8 [3, H, W]; see `SingleImageEditor.edit_image`."""
        pixels = image.cpu().permute(1, 2, 0).contiguous().numpy()
        rng = np.random.default_rng(hash_seed("filters", prompt, seed))
        painted = STYLES[prompt](read_scene(pixels), rng)
        edit = np.clip(painted * 255 + 0.5, 0, 255).astype(np.uint8)
        return torch.from_numpy(edit).permute(2, 0, 1).contiguous().to(image.device)
