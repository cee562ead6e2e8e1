"""Editors by name; a new editor is a file or a folder here and a line below."""

from collections.abc import Callable

from genmix_aug.editors.base import Editor
from genmix_aug.editors.diffusion.image_to_image import ImageToImageEditor
from genmix_aug.editors.diffusion.instruct_pix2pix import InstructPix2PixEditor
from genmix_aug.editors.diffusion.kontext import KontextEditor
from genmix_aug.editors.filters.editor import FilterEditor
from genmix_aug.editors.folder import FolderEditor
from genmix_aug.editors.neural_style.editor import NeuralStyleEditor

__all__ = [
    "EDITORS",
    "Editor",
    "FilterEditor",
    "FolderEditor",
    "ImageToImageEditor",
    "InstructPix2PixEditor",
    "KontextEditor",
    "NeuralStyleEditor",
]

EDITORS: dict[str, Callable[..., Editor]] = {
    "filters": FilterEditor,
    "neural_style": NeuralStyleEditor,
    "instruct-pix2pix": InstructPix2PixEditor,
    "image-to-image": ImageToImageEditor,
    "kontext": KontextEditor,
    "folder": FolderEditor,
}
