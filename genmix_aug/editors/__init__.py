"""Editors by name; a new editor is a file in this folder and a line below."""

from collections.abc import Callable

from genmix_aug.editors.base import Editor
from genmix_aug.editors.diffusion.instruct_pix2pix import InstructPix2PixEditor
from genmix_aug.editors.filters.editor import FilterEditor

__all__ = ["EDITORS", "Editor", "FilterEditor", "InstructPix2PixEditor"]

EDITORS: dict[str, Callable[..., Editor]] = {
    "filters": FilterEditor,
    "instruct-pix2pix": InstructPix2PixEditor,
}
