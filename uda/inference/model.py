"""A finished run's model with what predictions need: class names, image sizes and threshold."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from genmix_aug.images import from_picture, load_rgb, to_rgb, to_upright_rgb
from uda.compute.devices import device_of_rank, move_to_device, to_answer
from uda.compute.passes import FEWEST_PIXELS, Pass, eval_pass
from uda.config import Experiment
from uda.data.pixels import resize
from uda.data.scenarios import split_of_run
from uda.data.spec import load_dataset_spec
from uda.evaluation.answering import relabel, unknown_scores
from uda.evaluation.choices import chosen_thresholds, decided_threshold, last_probabilities
from uda.evaluation.criteria import THRESHOLDS
from uda.methods.co_learn import Opinion
from uda.methods.unknown import normalised_entropy, predict_above
from uda.models.classifier import Classifier
from uda.runs.folder import Run, read_run
from uda.stages.build import load_adapted, model_of
from uda.stages.identity import experiment_of
from uda.stages.options import method_of
from uda.training.bank import average, view_banks
from uda.training.frozen import features_by, frozen_backbone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from uda.methods.base import Method

UNKNOWN = "unknown"
# A file, a Pillow image, or values that `picture_of` accepts.
Picture = Union[str, Path, Image.Image, Tensor, "NDArray[Any]"]


@dataclass(frozen=True)
class ImagePrediction:
    """A model's prediction for an image.

    Attributes:
        label: A class name, or `UNKNOWN`.
        nearest: The most probable class, also where ``label`` is `UNKNOWN`.
        probability: The probability of ``nearest``, in 0..1.
        entropy: Entropy over log K: 0 for certain, 1 for uniform.
        unknown_score: The value that is compared with the threshold: the entropy, unless the run
            answers by another score.
    """

    label: str
    nearest: str
    probability: float
    entropy: float
    unknown_score: float


@dataclass(frozen=True)
class TrainedModel:
    """The model of a finished run: ``model(picture)`` predicts an image, `predict` many.

    Attributes:
        classes: The K source classes in label order.
        threshold: The unknown score above which an image is unknown; None if nothing is (PDA,
            in-domain).
        opinion: Of the frozen network ``frozen``, of a run that answers by Co-learn.
    """

    run: Run
    experiment: Experiment
    model: Classifier
    method: Method
    classes: tuple[str, ...]
    threshold: float | None
    device: torch.device
    frozen: Classifier | None = None
    opinion: Opinion | None = None

    @cached_property
    def is_upright(self) -> bool:
        """Whether pictures are turned as their EXIF tags say: as the run's."""
        return self.run.is_upright

    def __call__(self, picture: Picture) -> ImagePrediction:
        """Predict an image. ValueError names an unreadable file, or what is wrong with values."""
        return self.predict([self.prepare(picture)])[0]

    def prepare(self, picture: Picture) -> Tensor:
        """Decode an image as in training: uint8 [3, S, S], where S is ``images.decode_px``."""
        px = self.experiment.images.decode_px
        if isinstance(picture, (str, Path)):
            return load_rgb(picture, px, self.is_upright)
        if isinstance(picture, (Tensor, np.ndarray)):
            picture = picture_of(picture)
        if not isinstance(picture, Image.Image):
            raise ValueError(
                f"not a picture: a {type(picture).__name__}; expected a path, a Pillow image, a "
                "tensor or an array (of many pictures, one at a time)"
            )
        rgb = to_upright_rgb(picture) if self.is_upright else to_rgb(picture)
        return from_picture(rgb.resize((px, px), Image.Resampling.BILINEAR))

    @cached_property
    def _pass_of_many(self) -> Pass:
        px, compute = self.experiment.images.crop_px, self.experiment.compute
        return eval_pass(self.model, FEWEST_PIXELS, px, self.device, compute)

    @cached_property
    def _frozen_pass(self) -> Pass:
        assert self.frozen is not None
        px, compute = self.experiment.images.decode_px, self.experiment.compute
        return eval_pass(self.frozen, FEWEST_PIXELS, px, self.device, compute)

    def predict(self, images: Sequence[Tensor], total: int = 0) -> list[ImagePrediction]:
        """Predict every image that `prepare` has returned.

        Args:
            images: uint8 [3, S, S].
            total: How many there are in all, where these are some of them.
        """
        if not images:
            return []
        sizes = self.experiment.images
        decoded = torch.stack(list(images))
        batch = resize(decoded, sizes.resize_px)
        compute = self.experiment.compute
        answer = self.experiment.answer
        pixels = max(total, len(images)) * answer.views * sizes.crop_px**2
        network = self._pass_of_many if pixels >= FEWEST_PIXELS else None
        bank, cosines = average(
            view_banks(
                self.model, batch, sizes.crop_px, answer.views, self.device, compute, network
            )
        )
        score = unknown_scores(answer.score, self.method, bank, cosines)
        prediction = predict_above(score, bank.probabilities, self.threshold)
        entropy = normalised_entropy(bank.probabilities)
        if self.opinion:
            frozen = features_by(self._frozen_pass, decoded, self.device, compute).to(self.device)
            bank, prediction = relabel(bank, prediction, self.opinion, frozen)
        highest = bank.probabilities.max(dim=1)
        names = (*self.classes, UNKNOWN)
        rows = zip(
            prediction.label.tolist(),
            highest.indices.tolist(),
            highest.values.tolist(),
            entropy.tolist(),
            prediction.unknown_score.tolist(),
            strict=True,
        )
        return [
            ImagePrediction(names[label], names[nearest], *numbers)
            for label, nearest, *numbers in rows
        ]


def picture_of(values: Tensor | NDArray[Any]) -> Image.Image:
    """Return the image with the pixel ``values``.

    Args:
        values: uint8, or floats in [0, 1]: a tensor [3, H, W], an array [H, W, 3], the other order
            where the sizes leave no doubt, 4 channels with transparency, [H, W] for grey, or a
            batch of a single image.

    Raises:
        ValueError: The type, shape or range is different.
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


def load(checkpoint: Path, device: str = "auto", threshold: str = "") -> TrainedModel:
    """Load the model of a finished run.

    Args:
        checkpoint: The run's folder, which may have been copied and renamed, for the run's result
            (the best epoch's if a best epoch was chosen); or a .pt file in it, for that checkpoint.
        device: auto, cpu, cuda or cuda:N. Without a GPU, a run in float16 predicts in float32
            (`uda.compute.devices.to_answer`).
        threshold: A number in [0, 1] (of a cosine score in [0, 2]), or mixture or two-means, which
            choose it over the run's target; empty for the run's.

    Raises:
        ValueError: The run is missing, unfinished or without class names; the device cannot be
            used; or the run has no target to choose a threshold by.
    """
    run = read_run(checkpoint.parent if checkpoint.is_file() else checkpoint, renamed=True)
    if not run.is_done:
        raise ValueError(f"{run.folder}: not finished; the command that began it goes on with it")
    experiment = experiment_of(run, "", "")
    classes = class_names(run, experiment)
    model = model_of(experiment, len(classes), pretrained=False)
    weights = checkpoint if checkpoint.is_file() else run.result_checkpoint
    method = method_of(experiment)
    load_adapted(model, method, weights, classes)
    torch_device = device_of_rank(device)
    experiment = replace(experiment, compute=to_answer(torch_device, experiment.compute))
    move_to_device(model, torch_device, experiment.compute)
    method.heads.to(torch_device)
    model.eval()
    cut = _parse_threshold(run, threshold) if threshold else threshold_of(run, experiment)
    frozen = opinion = None
    if experiment.answer.labels == "co-learn":
        network = experiment.model
        frozen = frozen_backbone(network.backbone, network.weights, experiment.images.decode_px)
        move_to_device(frozen, torch_device, experiment.compute)
        arrays = run.opinion()
        kept = {name: torch.from_numpy(arrays[name]).to(torch_device) for name in Opinion._fields}
        opinion = Opinion(**kept)
    return TrainedModel(run, experiment, model, method, classes, cut, torch_device, frozen, opinion)


def _parse_threshold(run: Run, threshold: str) -> float:
    if threshold in THRESHOLDS:
        if not run.is_adaptation:
            raise ValueError(f"threshold: {threshold} needs a target; {run.folder} has none")
        return chosen_thresholds(run, last_probabilities(run))[threshold]
    highest = 2 if run.answer.get("score") == "cosine" else 1
    with suppress(ValueError):
        if 0 <= float(threshold) <= highest:
            return float(threshold)
    raise ValueError(
        f"threshold: {threshold!r} is neither a number between 0 and {highest} nor one of "
        f"{', '.join(THRESHOLDS)}"
    )


def class_names(run: Run, experiment: Experiment) -> tuple[str, ...]:
    """Return the K source classes of a run in label order.

    They are read from the run's classes.json. For older runs, which lack it, they come from the
    dataset's file, if that still has the classes of the run; otherwise ValueError names the run.
    """
    if names := run.classes():
        return names
    data = experiment.data
    advice = "run the command that made it again where the dataset's file is"
    try:
        spec = load_dataset_spec(data.dataset)
    except ValueError as error:
        raise ValueError(f"{run.folder}: no classes.json in it, and {error}; {advice}") from None
    return split_of_run(run, spec).source_classes


def threshold_of(run: Run, experiment: Experiment) -> float | None:
    """Return the unknown score above which an image is unknown; None where nothing is.

    `uda.evaluation.choices.decided_threshold`, with its errors, returns one chosen over the
    whole target.
    """
    if (cut := run.source_cut()) is not None:
        return cut
    if experiment.data.scenario in ("", "pda"):
        return None
    if experiment.answer.number is not None:
        return experiment.answer.number
    method = method_of(experiment)
    if experiment.answer.threshold == "method" and method.has_threshold:
        return method.threshold
    return decided_threshold(run, len(class_names(run, experiment)))
