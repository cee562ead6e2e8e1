"""Where a model looks: Grad-CAM (arXiv 1610.02391) of several runs' models, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from genmix_aug.contact_sheet import contact_sheet, save_png
from genmix_aug.images import from_picture
from uda.data.pixels import resize
from uda.data.views import centre_crop, to_float
from uda.inference.model import AnsweringModel, load
from uda.models.classifier import Classifier

SHEET_PX = 160
MOST = 12  # pictures on a sheet


def explain(runs: Sequence[Path], paths: Sequence[Path], out: Path, device: str) -> list[str]:
    """Write a sheet to ``out`` (.png): a row a picture, a column a run, heat where its model's most
    probable class comes from, and that class's name. Lines that say what each run answers.

    Of many pictures `MOST` are shown, evenly chosen. ValueError naming a run, a picture or a
    missing library.
    """
    _grad_cam()
    models = [load(run, device) for run in runs]
    if len(paths) > MOST:
        paths = [paths[len(paths) * place // MOST] for place in range(MOST)]
    columns = [explained(model, paths) for model in models]
    first = [centre_crop(_resized(models[0], [path]), _crop_px(models[0]))[0] for path in paths]
    rows = [
        [picture, *(column[place][0] for column in columns)] for place, picture in enumerate(first)
    ]
    titles = _titles(models)
    names = [f"{path.parent.name} {path.stem}" for path in paths]
    save_png(contact_sheet(rows, names, ["picture", *titles], SHEET_PX), out)
    return [
        f"{title}: {', '.join(label for _, label in column)}"
        for title, column in zip(titles, columns, strict=True)
    ]


def explained(model: AnsweringModel, paths: Sequence[Path]) -> list[tuple[Tensor, str]]:
    """Of each picture its view with the heat laid over it and the most probable class written into
    it, uint8 [3, S, S], and that class's name."""
    from pytorch_grad_cam.utils.image import show_cam_on_image

    px = _crop_px(model)
    views = to_float(centre_crop(_resized(model, paths), px), model.device)
    heats, labels = heat_maps(model.model, views)
    shown = []
    for view, heat, label in zip(views.cpu(), heats, labels, strict=True):
        pixels = view.permute(1, 2, 0).numpy()
        overlay = show_cam_on_image(pixels, heat, use_rgb=True)
        name = model.classes[label]
        shown.append((_captioned(Image.fromarray(overlay), name), name))
    return shown


def heat_maps(model: Classifier, views: Tensor) -> tuple[np.ndarray, list[int]]:
    """Grad-CAM of the most probable class, float [B, H, W] in [0, 1], and that class, of ``views``
    float32 [B, 3, H, W] in [0, 1], at the last layer that still has places."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model.eval()
    layer = last_spatial_layer(model, views[:1])
    with torch.no_grad():
        labels = model(views)[1].argmax(dim=1).tolist()
    with _grad_cam()(model=_Logits(model), target_layers=[layer]) as cam:
        heats = cam(views, [ClassifierOutputTarget(label) for label in labels])
    return heats, labels


def last_spatial_layer(model: Classifier, view: Tensor) -> nn.Module:
    """The layer of the backbone that last gives [B, C, h, w] with more than one place. ValueError
    where there is none: transformers, or pictures too small."""
    found: list[nn.Module] = []

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and math.prod(output.shape[2:]) > 1:
            found.append(layer)

    hooks = [layer.register_forward_hook(note) for layer in model.backbone.modules()]
    try:
        with torch.no_grad():
            model.backbone((view - model.mean) / model.std)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError(
            f"{type(model.backbone).__name__}: no layer has places left of pictures of "
            f"{view.shape[-1]} px, which Grad-CAM needs"
        )
    return found[-1]


class _Logits(nn.Module):
    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[1]


def _grad_cam() -> Any:
    try:
        from pytorch_grad_cam import GradCAM
    except ImportError:
        raise ValueError(
            "uda explain: the package grad-cam is not installed; in the project's folder: "
            "pip install -e '.[explain]'"
        ) from None
    return GradCAM


def _crop_px(model: AnsweringModel) -> int:
    return model.experiment.images.crop_px


def _resized(model: AnsweringModel, paths: Sequence[Path]) -> Tensor:
    prepared = torch.stack([model.prepared(path) for path in paths])
    return resize(prepared, model.experiment.images.resize_px)


def _titles(models: Sequence[AnsweringModel]) -> list[str]:
    """The runs' folders in words, with the hash only where they would be alike without it."""
    names = [model.run.folder.name.removeprefix("train-") for model in models]
    short = [name.rsplit("-", 1)[0] for name in names]
    shown = [name if short.count(own) > 1 else own for name, own in zip(names, short, strict=True)]
    return [" ".join(name.split("-")) for name in shown]


def _captioned(picture: Image.Image, text: str) -> Tensor:
    """``picture`` at the sheet's size with ``text`` on a dark bar below."""
    large = picture.resize((SHEET_PX, SHEET_PX), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(large)
    pen.rectangle((0, SHEET_PX - 16, SHEET_PX, SHEET_PX), fill=(20, 20, 24))
    font = ImageFont.load_default(12)
    pen.text((4, SHEET_PX - 15), text.encode("ascii", "replace").decode(), "white", font)
    return from_picture(large)
