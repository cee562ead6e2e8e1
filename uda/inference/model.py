"""A finished run's model with all that it takes to answer: class names, sizes and the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from genmix_aug.images import from_picture, load_rgb, to_rgb
from uda.compute.devices import device_of_rank, place, to_answer
from uda.config import Experiment
from uda.data.pixels import resize
from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.evaluation.choices import chosen_thresholds, decided_threshold, last_probabilities
from uda.evaluation.criteria import THRESHOLDS
from uda.methods.unknown import normalised_entropy, predict_by_entropy
from uda.models.classifier import Classifier, build_model, load_weights
from uda.runs.folder import Run, read_run
from uda.runs.hashing import config_hash
from uda.stages.identity import experiment_of
from uda.stages.options import method_of
from uda.training.bank import forward_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = "unknown"
# A file, a Pillow image, or values as `picture_of` takes them.
Picture = Union[str, Path, Image.Image, Tensor, "NDArray[Any]"]


@dataclass(frozen=True)
class Answer:
    """What a model says of one picture.

    ``label`` is a class name or `UNKNOWN`; ``nearest`` the most probable class even then, and
    ``probability`` that class's, in 0..1. ``entropy`` is over log K: 0 for certain, 1 for uniform.
    ``unknown_score`` is what the threshold is held against, which for all of today's methods is the
    entropy.
    """

    label: str
    nearest: str
    probability: float
    entropy: float
    unknown_score: float


@dataclass(frozen=True)
class AnsweringModel:
    """Answers for pictures: ``model(picture)`` for one, `answers` for many.

    ``classes`` are the K source classes in label order. Unknown is what has an unknown score above
    ``threshold``; None calls nothing unknown (PDA, in-domain).
    """

    run: Run
    experiment: Experiment
    model: Classifier
    classes: tuple[str, ...]
    threshold: float | None
    device: torch.device

    def __call__(self, picture: Picture) -> Answer:
        """The answer for one picture. ValueError naming a file that cannot be read, or saying what
        is wrong with values."""
        return self.answers([self.prepared(picture)])[0]

    def prepared(self, picture: Picture) -> Tensor:
        """uint8 [3, S, S], as the run's own pictures were decoded (S is images.decode_px)."""
        px = self.experiment.images.decode_px
        if isinstance(picture, (str, Path)):
            return load_rgb(picture, px)
        if isinstance(picture, (Tensor, np.ndarray)):
            picture = picture_of(picture)
        if not isinstance(picture, Image.Image):
            raise ValueError(
                f"not a picture: a {type(picture).__name__}; expected a path, a Pillow image, a "
                "tensor or an array (of many pictures, one at a time)"
            )
        return from_picture(to_rgb(picture).resize((px, px), Image.Resampling.BILINEAR))

    def answers(self, prepared: Sequence[Tensor]) -> list[Answer]:
        """An answer for each picture that `prepared` has made."""
        if not prepared:
            return []
        sizes = self.experiment.images
        images = resize(torch.stack(list(prepared)), sizes.resize_px)
        compute = self.experiment.compute
        bank = forward_all(self.model, images, sizes.crop_px, self.device, compute)
        prediction = predict_by_entropy(bank.probabilities, self.threshold)
        highest = bank.probabilities.max(dim=1)
        entropy = normalised_entropy(bank.probabilities)
        names = (*self.classes, UNKNOWN)
        rows = zip(
            prediction.label.tolist(),
            highest.indices.tolist(),
            highest.values.tolist(),
            entropy.tolist(),
            prediction.unknown_score.tolist(),
            strict=True,
        )
        return [Answer(names[label], names[near], *numbers) for label, near, *numbers in rows]


def picture_of(values: Tensor | NDArray[Any]) -> Image.Image:
    """One picture given as ``values``: uint8, or floats in [0, 1].

    A tensor [3, H, W] or an array [H, W, 3] (or 4, with transparency); the other way around too
    where the sizes leave no doubt, and as a batch of one; [H, W] is grey. ValueError for others.
    """
    is_tensor = isinstance(values, Tensor)
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    array = values[0] if values.ndim == 4 and len(values) == 1 else values
    if array.ndim == 3 and len(array) == 3 and (is_tensor or array.shape[2] not in (3, 4)):
        array = array.transpose(1, 2, 0)
    wrong = (
        f"not a picture: {values.dtype} {list(values.shape)}; expected uint8, or floats in [0, 1], "
        "as a tensor [3, H, W] or an array [H, W, 3]"
    )
    if not array.size or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(wrong)
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"{wrong}; these go from {array.min():.3g} to {array.max():.3g}")
        array = np.rint(array * 255).astype(np.uint8)
    try:
        return Image.fromarray(np.ascontiguousarray(array))
    except TypeError:  # of another type
        raise ValueError(wrong) from None


def load(checkpoint: Path, device: str = "auto", threshold: str = "") -> AnsweringModel:
    """The model of the run at ``checkpoint``: its folder, which stands for the run's result (the
    best epoch's where one was chosen), or a .pt in it, which is then the one loaded.

    The folder may have been copied elsewhere and renamed. ``device`` is auto, cpu, cuda or cuda:N;
    a run in float16 answers in float32 without a GPU (`uda.compute.devices.to_answer`).
    ``threshold`` is a number in [0, 1], or mixture or two-means, by which it is chosen over the
    run's target; empty for the method's own. ValueError naming what is missing: the run, its end,
    its class names, the device, what a threshold is chosen by.
    """
    run = read_run(checkpoint.parent if checkpoint.is_file() else checkpoint, renamed=True)
    if not run.is_done:
        raise ValueError(f"{run.folder}: not finished; the command that began it goes on with it")
    experiment = experiment_of(run, "", "")
    classes = class_names(run, experiment)
    settings = experiment.model
    model = build_model(
        settings.backbone,
        "none",
        settings.head,
        settings.bottleneck_dim,
        len(classes),
        crop_px=experiment.images.crop_px,
    )
    load_weights(model, checkpoint if checkpoint.is_file() else run.result_checkpoint)
    where = device_of_rank(device)
    experiment = replace(experiment, compute=to_answer(where, experiment.compute))
    place(model, where, experiment.compute)
    model.eval()
    above = _given_threshold(run, threshold) if threshold else threshold_of(run, experiment)
    return AnsweringModel(run, experiment, model, classes, above, where)


def _given_threshold(run: Run, threshold: str) -> float:
    if threshold in THRESHOLDS:
        if not run.is_adaptation:
            raise ValueError(f"threshold: {threshold} needs a target; {run.folder} has none")
        return chosen_thresholds(run, last_probabilities(run))[threshold]
    with suppress(ValueError):
        if 0 <= float(threshold) <= 1:
            return float(threshold)
    raise ValueError(
        f"threshold: {threshold!r} is neither a number between 0 and 1 nor one of "
        f"{', '.join(THRESHOLDS)}"
    )


def class_names(run: Run, experiment: Experiment) -> tuple[str, ...]:
    """The K source classes of a run in label order.

    From the run's classes.json; runs from before it was written take the dataset's file, if it
    still gives the classes that the run was made with. ValueError naming the run otherwise.
    """
    if names := run.classes():
        return names
    data = experiment.data
    advice = "run the command that made it again where the dataset's file is"
    try:
        split = class_split(load_dataset_spec(data.dataset), data.scenario)
    except ValueError as error:
        raise ValueError(f"{run.folder}: no classes.json in it, and {error}; {advice}") from None
    if config_hash(asdict(split)) != run.class_hash:
        raise ValueError(
            f"{run.folder}: no classes.json in it, and {data.dataset} has other classes by now"
        )
    return split.source_classes


def threshold_of(run: Run, experiment: Experiment) -> float | None:
    """The unknown score above which a picture is unknown; None where nothing is.

    A method without a fixed threshold is given `uda.evaluation.choices.decided_threshold`, with its
    errors.
    """
    if experiment.data.scenario in ("", "pda"):
        return None
    method = method_of(experiment)
    if method.has_threshold:
        return method.threshold
    return decided_threshold(run, len(class_names(run, experiment)))
