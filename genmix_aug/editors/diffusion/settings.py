"""Settings of a diffusion editor: the presets, and what overrides them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from genmix_aug.editors.resizing import MIN_SIDE, SIDE_MULTIPLE

SCHEDULERS = ("euler-ancestral", "dpm-solver++", "unipc")
PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """How edits are made; all but the last three change what they look like."""

    steps: int
    text_guidance: float
    image_guidance: float
    resolution: int  # px of the longer side while editing
    scheduler: str
    precision: str
    channels_last: bool
    compile: bool
    vae_slicing: bool


RELEASED = Settings(
    steps=100,
    text_guidance=4.0,
    image_guidance=1.5,
    resolution=512,
    scheduler="euler-ancestral",
    precision="float16",
    channels_last=False,
    compile=False,
    vae_slicing=False,
)
PRESETS: dict[str, Settings] = {
    "released": RELEASED,
    "fast": replace(RELEASED, steps=20, scheduler="dpm-solver++", channels_last=True),
    "low-memory": replace(RELEASED, vae_slicing=True),
}


def chosen_settings(preset: str, **options: int | float | str | None) -> Settings:
    """Return a preset's settings, with those options over them that are not 0, "" or None.

    False is a value: it turns off what a preset turns on.

    Raises:
        ValueError: No such preset, or an option has a value that it cannot have.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: {preset!r} is not one of {', '.join(PRESETS)}")
    values: dict[str, Any] = {
        option: value for option, value in options.items() if value or value is False
    }
    settings = replace(PRESETS[preset], **values)
    _check(settings)
    # 4 and 4.0 are the same setting, and have the same fingerprint.
    return replace(
        settings,
        text_guidance=float(settings.text_guidance),
        image_guidance=float(settings.image_guidance),
    )


def _check(settings: Settings) -> None:
    """Refuse settings that cannot be; the error names the option and what it may be."""
    s = settings
    rules: dict[str, tuple[bool, str]] = {
        "steps": (_is_whole(s.steps) and s.steps >= 1, "a whole number, at least 1"),
        # Outside these two ranges the pipeline leaves guidance out without a word.
        "text_guidance": (_is_number(s.text_guidance) and s.text_guidance > 1, "over 1"),
        "image_guidance": (_is_number(s.image_guidance) and s.image_guidance >= 1, "at least 1"),
        "resolution": (
            _is_whole(s.resolution)
            and s.resolution >= MIN_SIDE
            and s.resolution % SIDE_MULTIPLE == 0,
            f"a multiple of {SIDE_MULTIPLE}, at least {MIN_SIDE}",
        ),
        "scheduler": (s.scheduler in SCHEDULERS, f"one of {', '.join(SCHEDULERS)}"),
        "precision": (s.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
        "channels_last": (isinstance(s.channels_last, bool), "true or false"),
        "compile": (isinstance(s.compile, bool), "true or false"),
        "vae_slicing": (isinstance(s.vae_slicing, bool), "true or false"),
    }
    for option, (allowed, rule) in rules.items():
        if not allowed:
            raise ValueError(f"{option}: {getattr(s, option)!r} must be {rule}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))
