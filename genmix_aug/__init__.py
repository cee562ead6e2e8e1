"""GenMix (arXiv 2412.02366): label-preserving training images from edits, seams and fractals.

    from genmix_aug import GenMixTransform, fill_store

The names below are imported from their modules when they are first asked for, so that importing
the package takes no time. Functions named like a module have another name here: `draw_fractals` is
`genmix_aug.mixing.fractals.draw_fractals`, `mix_seam` is `genmix_aug.mixing.mix.mix_seam`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genmix_aug.editors import EDITORS, Editor
    from genmix_aug.editors.options import make_editor
    from genmix_aug.edits.samples import fill_store
    from genmix_aug.edits.store import BrokenEditError, EditStore, MissingEditError
    from genmix_aug.export import export as export_tree
    from genmix_aug.images import find_images, load_rgb
    from genmix_aug.mixing.fractal_folder import load_fractals, write_fractals
    from genmix_aug.mixing.fractals import draw_fractals
    from genmix_aug.mixing.genmix import GenMix
    from genmix_aug.mixing.masks import blend_width_for, smooth_mask
    from genmix_aug.mixing.mix import blend, concatenate, mix_box, mix_constant, mix_seam
    from genmix_aug.prompts import PROMPT_SETS
    from genmix_aug.screening.checks import screen
    from genmix_aug.transform import GenMixTransform

__all__ = [
    "EDITORS",
    "PROMPT_SETS",
    "BrokenEditError",
    "EditStore",
    "Editor",
    "GenMix",
    "GenMixTransform",
    "MissingEditError",
    "blend",
    "blend_width_for",
    "concatenate",
    "draw_fractals",
    "export_tree",
    "fill_store",
    "find_images",
    "load_fractals",
    "load_rgb",
    "make_editor",
    "mix_box",
    "mix_constant",
    "mix_seam",
    "screen",
    "smooth_mask",
    "write_fractals",
]

_MODULES = {
    "EDITORS": "editors",
    "PROMPT_SETS": "prompts",
    "BrokenEditError": "edits.store",
    "EditStore": "edits.store",
    "Editor": "editors",
    "GenMix": "mixing.genmix",
    "GenMixTransform": "transform",
    "MissingEditError": "edits.store",
    "blend": "mixing.mix",
    "blend_width_for": "mixing.masks",
    "concatenate": "mixing.mix",
    "draw_fractals": "mixing.fractals",
    "export_tree": "export:export",
    "fill_store": "edits.samples",
    "find_images": "images",
    "load_fractals": "mixing.fractal_folder",
    "load_rgb": "images",
    "make_editor": "editors.options",
    "mix_box": "mixing.mix",
    "mix_constant": "mixing.mix",
    "mix_seam": "mixing.mix",
    "screen": "screening.checks",
    "smooth_mask": "mixing.masks",
    "write_fractals": "mixing.fractal_folder",
}

if not TYPE_CHECKING:  # type checkers go by the imports above

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, own = _MODULES[name].partition(":")
        found = getattr(import_module(f"{__name__}.{module}"), own or name)
        globals()[name] = found  # not asked for again
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
