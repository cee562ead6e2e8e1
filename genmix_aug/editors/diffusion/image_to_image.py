"""The editor `image-to-image`: a text-to-image model that starts from the picture under noise."""

from __future__ import annotations

from typing import Any, ClassVar

from genmix_aug.editors.diffusion.editor import DiffusionEditor
from genmix_aug.editors.diffusion.kinds import (
    NO_CHECKER,
    NO_WATERMARK,
    TWO_CLIPS,
    Kind,
    encode_clip,
    encode_two_clips,
)
from genmix_aug.editors.diffusion.settings import Settings, presets_of

RELEASED = Settings(
    steps=50,
    text_guidance=7.5,
    strength=0.5,
    resolution=512,
    scheduler="own",
    precision="float16",
)


def _strength(settings: Settings, height: int, width: int) -> dict[str, Any]:
    return {"strength": settings.strength}


_STABLE_DIFFUSION = Kind(
    "StableDiffusionImg2ImgPipeline", encode_clip, _strength, NO_CHECKER, channels=4
)
_STABLE_DIFFUSION_XL = Kind(
    "StableDiffusionXLImg2ImgPipeline",
    encode_two_clips,
    _strength,
    NO_WATERMARK,
    TWO_CLIPS,
    channels=4,
)


class ImageToImageEditor(DiffusionEditor):
    """Redraws images by Stable Diffusion or its XL, from the picture under noise (SDEdit, arXiv
    2108.01073).

    `strength` says how much noise; steps times strength are taken. `released` is as diffusers has
    it, at the strength of DA-Fusion (arXiv 2302.07944): 50 steps of the model's own scheduler, text
    guidance 7.5, strength 0.5. `fast` is DPM-Solver++ in 20 steps; a Turbo model takes steps=4 and
    text_guidance=1 with scheduler=own, an LCM scheduler=lcm. There is no model of its own.
    """

    name = "image-to-image"
    template = "an image in the style of {prompt}"
    presets = presets_of(RELEASED, steps=20, scheduler="dpm-solver++")
    kinds: ClassVar = {
        "StableDiffusionImg2ImgPipeline": _STABLE_DIFFUSION,
        "StableDiffusionPipeline": _STABLE_DIFFUSION,
        "StableDiffusionXLImg2ImgPipeline": _STABLE_DIFFUSION_XL,
        "StableDiffusionXLPipeline": _STABLE_DIFFUSION_XL,
    }
