"""Settings of a diffusion editor: the presets, and what overrides them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from genmix_aug.editors.resizing import MIN_SIDE

SCHEDULERS = ("euler-ancestral", "dpm-solver++", "unipc", "lcm", "own")
PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """How edits are made; all but the last three change what they look like."""

    steps: int
    text_guidance: float
    resolution: int  # px of the longer side while editing
    scheduler: str
    precision: str
    image_guidance: float = 0.0  # 0 in families that have none, as the next
    strength: float = 0.0
    channels_last: bool = False
    compile: bool = False
    vae_slicing: bool = False

    @property
    def fingerprint(self) -> str:
        """What changes an edit, as a text."""
        image = f"image={self.image_guidance} " * bool(self.image_guidance)
        strength = f"strength={self.strength} " * bool(self.strength)
        return (
            f"steps={self.steps} text={self.text_guidance} {image}{strength}"
            f"px={self.resolution} {self.scheduler} {self.precision}"
        )


def presets_of(released: Settings, **fast: Any) -> dict[str, Settings]:
    """Return a family's presets; `fast` overrides what `released` says."""
    return {
        "released": released,
        "fast": replace(released, channels_last=True, **fast),
        "low-memory": replace(released, vae_slicing=True),
    }


def chosen_settings(
    presets: Mapping[str, Settings],
    preset: str,
    side_multiple: int,
    **options: int | float | str | None,
) -> Settings:
    """Return a preset's settings, with those options over them that are not 0, "" or None.

    False is a value: it turns off what a preset turns on.

    Args:
        presets: A family's settings by name.
        preset: One of them.
        side_multiple: px, of which the resolution is a multiple.
        options: Fields of `Settings`.

    Raises:
        ValueError: No such preset, an option that the family does not have, or one with a value
            that it cannot have.
    """
    if preset not in presets:
        raise ValueError(f"preset: {preset!r} is not one of {', '.join(presets)}")
    values: dict[str, Any] = {
        option: value for option, value in options.items() if value or value is False
    }
    for option in ("image_guidance", "strength"):
        if option in values and not getattr(presets[preset], option):
            raise ValueError(f"{option}: {values[option]!r}, but this editor has no such option")
    settings = replace(presets[preset], **values)
    _check(settings, side_multiple)
    # 4 and 4.0 are the same setting, and have the same fingerprint.
    return replace(
        settings,
        text_guidance=float(settings.text_guidance),
        image_guidance=float(settings.image_guidance),
        strength=float(settings.strength),
    )


def _check(settings: Settings, side_multiple: int) -> None:
    """Refuse settings that cannot be; the error names the option and what it may be."""
    s = settings
    rules: dict[str, tuple[bool, str]] = {
        "steps": (_is_whole(s.steps) and s.steps >= 1, "a whole number, at least 1"),
        "text_guidance": (_is_number(s.text_guidance) and s.text_guidance >= 1, "at least 1"),
        "resolution": (
            _is_whole(s.resolution)
            and s.resolution >= MIN_SIDE
            and s.resolution % side_multiple == 0,
            f"a multiple of {side_multiple}, at least {MIN_SIDE}",
        ),
        "scheduler": (s.scheduler in SCHEDULERS, f"one of {', '.join(SCHEDULERS)}"),
        "precision": (s.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
        "channels_last": (isinstance(s.channels_last, bool), "true or false"),
        "compile": (isinstance(s.compile, bool), "true or false"),
        "vae_slicing": (isinstance(s.vae_slicing, bool), "true or false"),
    }
    if s.image_guidance:
        # Outside these two ranges the pipeline leaves guidance out without a word.
        rules["text_guidance"] = (_is_number(s.text_guidance) and s.text_guidance > 1, "over 1")
        rules["image_guidance"] = (
            _is_number(s.image_guidance) and s.image_guidance >= 1,
            "at least 1",
        )
    if s.strength:
        rules["strength"] = (_is_number(s.strength) and 0 < s.strength <= 1, "over 0, at most 1")
    for option, (allowed, rule) in rules.items():
        if not allowed:
            raise ValueError(f"{option}: {getattr(s, option)!r} must be {rule}")
    if s.strength and int(s.steps * s.strength) < 1:
        raise ValueError(
            f"steps: {s.steps} at strength {s.strength} leave no step: take at least "
            f"{math.ceil(1 / s.strength)}"
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))
