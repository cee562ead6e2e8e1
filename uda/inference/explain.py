"""Grad-CAM (arXiv 1610.02391) of several runs' models, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from genmix_aug.contact_sheet import contact_sheet, label_font, save_png
from genmix_aug.images import from_picture
from genmix_aug.lettering import legible, printable
from uda.data.pixels import resize
from uda.data.views import centre_crop, to_float
from uda.inference.model import TrainedModel, load
from uda.models.classifier import Classifier

SHEET_PX = 160
MOST = 12  # images on a sheet


def explain(runs: Sequence[Path], paths: Sequence[Path], out: Path, device: str) -> list[str]:
    """Draw a sheet of heat maps: a row per image, a column per run.

    Each cell has the heat map of the run's most probable class, and the class's name. Of more than
    `MOST` images, that many are drawn, evenly chosen.

    Args:
        out: The file to write (.png).

    Returns:
        A line for each run: its classes of the images.

    Raises:
        ValueError: A run or image is wrong, or a library is missing.
    """
    _grad_cam()
    models = [load(run, device) for run in runs]
    if len(paths) > MOST:
        paths = [paths[len(paths) * index // MOST] for index in range(MOST)]
    columns = [explain_images(model, paths) for model in models]
    px = _crop_px(models[0])
    plain = [centre_crop(_resized(models[0], [path]), px)[0] for path in paths]
    labels = [label for column in columns for _, label in column]
    texts, key = legible([*(f"{path.parent.name} {path.stem}" for path in paths), *labels])
    names, captions = texts[: len(paths)], dict(zip(labels, texts[len(paths) :], strict=True))
    rows = [
        [image, *(_captioned(column[i][0], captions[column[i][1]]) for column in columns)]
        for i, image in enumerate(plain)
    ]
    titles = _titles(models)
    save_png(contact_sheet(rows, names, ["picture", *titles], SHEET_PX), out)
    return [
        *(
            printable(f"{title}: {', '.join(label for _, label in column)}")
            for title, column in zip(titles, columns, strict=True)
        ),
        *key,
    ]


def explain_images(model: TrainedModel, paths: Sequence[Path]) -> list[tuple[Image.Image, str]]:
    """Draw each image's heat map of its most probable class.

    Returns:
        Each drawn image, and the name of the class.
    """
    from pytorch_grad_cam.utils.image import show_cam_on_image

    px = _crop_px(model)
    views = to_float(centre_crop(_resized(model, paths), px), model.device)
    heats, labels = heat_maps(model.model, views)
    drawn = []
    for view, heat, label in zip(views.cpu(), heats, labels, strict=True):
        pixels = view.permute(1, 2, 0).numpy()
        overlay = show_cam_on_image(pixels, heat, use_rgb=True)
        drawn.append((Image.fromarray(overlay), model.classes[label]))
    return drawn


def heat_maps(model: Classifier, views: Tensor) -> tuple[np.ndarray, list[int]]:
    """Return Grad-CAM heat maps of the most probable classes, and those classes.

    Args:
        views: float32 [B, 3, H, W] in [0, 1].

    Returns:
        float [B, H, W] in [0, 1], computed at `last_spatial_layer`; labels [B].
    """
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model.eval()
    layer = last_spatial_layer(model, views[:1])
    with torch.no_grad():
        labels = model(views)[1].argmax(dim=1).tolist()
    with _grad_cam()(model=_Logits(model), target_layers=[layer]) as cam:
        heats = cam(views, [ClassifierOutputTarget(label) for label in labels])
    return heats, labels


def last_spatial_layer(model: Classifier, view: Tensor) -> nn.Module:
    """Return the backbone's last layer whose output [B, C, h, w] has several positions.

    ValueError for transformers, and for images that are too small.
    """
    spatial: list[nn.Module] = []

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and math.prod(output.shape[2:]) > 1:
            spatial.append(layer)

    hooks = [layer.register_forward_hook(note) for layer in model.backbone.modules()]
    try:
        with torch.no_grad():
            model.backbone((view - model.mean) / model.std)
    finally:
        for hook in hooks:
            hook.remove()
    if not spatial:
        raise ValueError(
            f"{type(model.backbone).__name__}: no layer has places left of pictures of "
            f"{view.shape[-1]} px, which Grad-CAM needs"
        )
    return spatial[-1]


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


def _crop_px(model: TrainedModel) -> int:
    return model.experiment.images.crop_px


def _resized(model: TrainedModel, paths: Sequence[Path]) -> Tensor:
    images = torch.stack([model.prepare(path) for path in paths])
    return resize(images, model.experiment.images.resize_px)


def _titles(models: Sequence[TrainedModel]) -> list[str]:
    """Return the names of the runs' folders, with the hash only where they need it to differ."""
    names = [model.run.folder.name.removeprefix("train-") for model in models]
    short = [name.rsplit("-", 1)[0] for name in names]
    titles = [name if short.count(cut) > 1 else cut for name, cut in zip(names, short, strict=True)]
    return [" ".join(title.split("-")) for title in titles]


def _captioned(picture: Image.Image, text: str) -> Tensor:
    """Resize ``picture`` to the sheet's size and write ``text`` on a dark bar at the bottom."""
    large = picture.resize((SHEET_PX, SHEET_PX), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(large)
    pen.rectangle((0, SHEET_PX - 16, SHEET_PX, SHEET_PX), fill=(20, 20, 24))
    pen.text((4, SHEET_PX - 8), text, "white", label_font(text, 11), anchor="lm")
    return from_picture(large)
