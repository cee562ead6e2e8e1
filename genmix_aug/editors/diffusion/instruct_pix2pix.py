"""The editor `instruct-pix2pix`: the paper's diffusion editor, and its kin of SDXL."""

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
    steps=100,
    text_guidance=4.0,
    image_guidance=1.5,
    resolution=512,
    scheduler="euler-ancestral",
    precision="float16",
)


def _guidance(settings: Settings, height: int, width: int) -> dict[str, Any]:
    return {"image_guidance_scale": settings.image_guidance}


def _guidance_and_size(settings: Settings, height: int, width: int) -> dict[str, Any]:
    return {"image_guidance_scale": settings.image_guidance, "height": height, "width": width}


class InstructPix2PixEditor(DiffusionEditor):
    """Edits images by InstructPix2Pix (arXiv 2211.09800), as GenMix (arXiv 2412.02366) does.

    `released` is as GenMix's authors released it: 100 steps (the pipeline's default),
    Euler-ancestral, text guidance 4, image guidance 1.5, 512 px, float16. `fast` is DPM-Solver++ in
    20 steps. Models of Stable Diffusion XL, CosXL's among them, are for scheduler=own and
    resolution=768 or 1024.
    """

    name = "instruct-pix2pix"
    hub = ("timbrooks/instruct-pix2pix", "31519b5cb02a7fd89b906d88731cd4d6a7bbf88d")
    presets = presets_of(RELEASED, steps=20, scheduler="dpm-solver++")
    kinds: ClassVar = {
        "StableDiffusionInstructPix2PixPipeline": Kind(
            "StableDiffusionInstructPix2PixPipeline", encode_clip, _guidance, NO_CHECKER, channels=8
        ),
        "StableDiffusionXLInstructPix2PixPipeline": Kind(
            "StableDiffusionXLInstructPix2PixPipeline",
            encode_two_clips,
            _guidance_and_size,
            NO_WATERMARK,
            TWO_CLIPS,
            channels=8,
        ),
    }
