"""GenMix (arXiv 2412.02366): label-preserving training images from edits, seams and fractals.

    from genmix_aug import GenMixTransform, fill_store

The names below are imported from their modules when they are first asked for, so that importing
the package takes no time. Functions named like a module have another name here: `draw_fractals` is
`genmix_aug.fractals.fractals`, `mix_seam` is `genmix_aug.mix.mix`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genmix_aug.edit_store import BrokenEditError, EditStore, MissingEditError
    from genmix_aug.editors import EDITORS, Editor
    from genmix_aug.editors.options import make_editor
    from genmix_aug.export import export as export_tree
    from genmix_aug.fractals import fractals as draw_fractals
    from genmix_aug.fractals import load_fractals, write_fractals
    from genmix_aug.genmix import GenMix
    from genmix_aug.images import find_images, load_rgb
    from genmix_aug.masks import blend_width_for, smooth_mask
    from genmix_aug.mix import blend, concatenate, mix_box, mix_constant
    from genmix_aug.mix import mix as mix_seam
    from genmix_aug.prompts import PROMPT_SETS
    from genmix_aug.samples import fill_store
    from genmix_aug.screening import screen
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
    "BrokenEditError": "edit_store",
    "EditStore": "edit_store",
    "Editor": "editors",
    "GenMix": "genmix",
    "GenMixTransform": "transform",
    "MissingEditError": "edit_store",
    "blend": "mix",
    "blend_width_for": "masks",
    "concatenate": "mix",
    "draw_fractals": "fractals:fractals",
    "export_tree": "export:export",
    "fill_store": "samples",
    "find_images": "images",
    "load_fractals": "fractals",
    "load_rgb": "images",
    "make_editor": "editors.options",
    "mix_box": "mix",
    "mix_constant": "mix",
    "mix_seam": "mix:mix",
    "screen": "screening",
    "smooth_mask": "masks",
    "write_fractals": "fractals",
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
