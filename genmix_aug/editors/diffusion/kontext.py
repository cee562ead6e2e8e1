"""The editor `kontext`: FLUX.1 Kontext, which reads instructions."""

from __future__ import annotations

from typing import Any, ClassVar

from genmix_aug.editors.diffusion.editor import DiffusionEditor
from genmix_aug.editors.diffusion.kinds import CLIP_AND_T5, Kind, encode_clip_and_t5
from genmix_aug.editors.diffusion.settings import Settings, presets_of

RELEASED = Settings(
    steps=28,
    text_guidance=2.5,
    resolution=1024,
    scheduler="own",
    precision="bfloat16",
)


def _size(settings: Settings, height: int, width: int) -> dict[str, Any]:
    # The size is ours: of its own accord the pipeline takes a million px.
    return {"height": height, "width": width, "max_area": height * width, "_auto_resize": False}


class KontextEditor(DiffusionEditor):
    """Edits images by FLUX.1 Kontext (arXiv 2506.15742).

    `released` is as its authors show it in diffusers: 28 steps, guidance 2.5, 1,024 px, bfloat16.
    `fast` takes 12 steps at 512 px. There is no model of its own: its licence has to be accepted on
    the hub.
    """

    name = "kontext"
    template = "Change the image into {prompt}, keep what it shows"
    presets = presets_of(RELEASED, steps=12, resolution=512)
    side_multiple = 16
    kinds: ClassVar = {
        "FluxKontextPipeline": Kind(
            "FluxKontextPipeline",
            encode_clip_and_t5,
            _size,
            text_precisions=CLIP_AND_T5,
            denoiser="transformer",
        )
    }
