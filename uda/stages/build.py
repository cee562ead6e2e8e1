"""The task of a stage: what it works on, built once from an experiment.

Torch is imported where it is needed, so that the command line's ``--help`` answers at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from uda.config import CONFIGS, Experiment, ImageConfig
from uda.data.partition import passed_over
from uda.data.scenarios import ClassSplit
from uda.data.spec import DatasetSpec
from uda.runs.folder import DATASETS, Run
from uda.stages.console import say
from uda.stages.options import augmentation_of, method_of

if TYPE_CHECKING:
    import torch

    from uda.augment.base import Augmentation
    from uda.data.items import Item
    from uda.data.pixels import Labelled, PixelStore
    from uda.evaluation.answering import Answer
    from uda.methods.base import Bank, Method
    from uda.models.classifier import Classifier
    from uda.training.state import Loop


FEATURE_SIZES = ImageConfig(1, 1, 1, flip=False)  # of a frozen backbone's features, as images
ORIENTATION_SAMPLE = 100  # pictures of a set that are looked at for EXIF's tag
AS_STORED = (
    "made before pictures were turned as their EXIF tags say, which some have; it goes on reading "
    "them as they are stored. Delete its folder to make it anew"
)


@dataclass(frozen=True)
class Task:
    """The work of a stage; everything else follows from it, and is resolved once.

    Attributes:
        experiment: The options.
        spec: The dataset.
        split: Its classes by role, numbered as the run's model has them.
        run: The run that the stage makes or asks.
    """

    experiment: Experiment
    spec: DatasetSpec
    split: ClassSplit
    run: Run

    @cached_property
    def method(self) -> Method:
        """The configured adaptation method."""
        return method_of(self.experiment)

    @cached_property
    def augmentation(self) -> Augmentation:
        """The configured augmentation."""
        return augmentation_of(self.experiment.augment)

    @cached_property
    def device(self) -> torch.device:
        """This rank's device, threads and memory set up. Raises ValueError if it cannot be used."""
        import torch

        from uda.compute.cpu import keep_freed_memory
        from uda.compute.devices import check_precision, device_of_rank

        if self.experiment.threads:
            torch.set_num_threads(self.experiment.threads)
        device = device_of_rank(self.experiment.device)
        check_precision(device, self.experiment.compute)
        if device.type == "cpu":
            keep_freed_memory()
        return device

    @property
    def pixels(self) -> PixelStore:
        """The store of decoded images."""
        from uda.data.pixels import PixelStore

        return PixelStore.of(self.experiment.compute, self.run.is_upright)

    def say_what_is_read(self, domain: str, items: Sequence[Item]) -> None:
        """Print which pictures of a domain are passed over, and whether some are not upright."""
        from genmix_aug.images import has_orientation
        from uda.compute.distributed import is_main

        if not is_main():
            return
        if not self.run.is_done:
            for line in passed_over(self.spec, domain):
                say(line)
        sample = items[:: max(1, len(items) // ORIENTATION_SAMPLE)]
        if not self.run.is_upright and any(has_orientation(item.path) for item in sample):
            say(f"{self.run.folder}: {AS_STORED}")

    def loop(self, title: str = "") -> Loop:
        """Return the surroundings of a training loop called ``title``."""
        from uda.training.state import Loop

        experiment = self.experiment
        sizes = FEATURE_SIZES if experiment.model.frozen else experiment.images
        return Loop(sizes, experiment.seed, self.device, experiment.compute, title)

    def model(self, checkpoint: Path | None = None) -> Classifier:
        """Return the network with the weights of ``checkpoint``, else with pretrained ones.

        Raises ValueError where the method cannot work in the dimensions of its features.
        """
        from uda.models.classifier import load_weights

        model = self._network(pretrained=not checkpoint)
        if checkpoint:
            load_weights(model, checkpoint, self.split.source_classes)
        return model

    def _network(self, pretrained: bool) -> Classifier:
        model = model_of(self.experiment, len(self.split.source_classes), pretrained)
        check_dimensions(self.experiment, self.split, model.classifier.in_features)
        return model

    def adapted_model(self, checkpoint: Path) -> Classifier:
        """Return the network of a run's checkpoint, on the device, and load the method's layers."""
        from uda.compute.devices import move_to_device

        model = self._network(pretrained=False)
        load_adapted(model, self.method, checkpoint, self.split.source_classes)
        move_to_device(model, self.device, self.experiment.compute)
        self.method.heads.to(self.device)
        return model

    def labelled(self, items: Sequence[Item]) -> Labelled:
        """Decode the images of ``items``, labelled by the scenario."""
        return self.pixels.labelled(items, self.split.number, self.experiment.images.decode_px)

    def crops(self, items: Sequence[Item]) -> torch.Tensor:
        """Return the centre crops of ``items``, uint8 [N, 3, crop_px, crop_px]."""
        from uda.data.views import centre_crop

        sizes = self.experiment.images
        resized = self.pixels.resize(self.pixels.decode(items, sizes.decode_px), sizes.resize_px)
        return centre_crop(resized, sizes.crop_px)

    def bank(
        self,
        model: Classifier,
        crops: torch.Tensor,
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> Bank:
        """Return features and probabilities of ``crops``: `uda.training.bank.forward_all`."""
        from uda.training.bank import forward_all

        px, compute = crops.shape[-1], self.experiment.compute
        return forward_all(model, crops, px, self.device, compute, transform)

    def frozen_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features [N, d] that the pretrained backbone has of ``images``, as they are.

        ``images`` are uint8 [N, 3, decode_px, decode_px]; see `uda.training.frozen`.
        """
        from uda.training.frozen import frozen_backbone, frozen_features

        model = self.experiment.model
        network = frozen_backbone(model.backbone, model.weights, images.shape[-1])
        compute = self.experiment.compute
        return frozen_features(network, model.backbone, images, self.device, compute)

    def view_banks(self, model: Classifier, images: torch.Tensor) -> Iterator[Bank]:
        """Yield the bank of each of the answer's views of ``images`` [N, 3, decode_px, decode_px].

        ``model`` is on the task's device. A frozen backbone's features are kept.
        """
        from uda.data.views import fixed_views
        from uda.training.bank import forward_all, view_banks

        sizes, count = self.experiment.images, self.experiment.answer.views
        resized = self.pixels.resize(images, sizes.resize_px)
        compute = self.experiment.compute
        if not model.frozen:
            yield from view_banks(model, resized, sizes.crop_px, count, self.device, compute)
            return
        trained = model.trained.to(self.device)
        height, width = resized.shape[-2:]
        for top, left, mirror in fixed_views(height, width, sizes.crop_px, count):
            crops = resized[..., top : top + sizes.crop_px, left : left + sizes.crop_px]
            features = self.features(model, crops.flip(-1) if mirror else crops)
            yield forward_all(trained, features, 1, self.device, compute)

    def features(self, model: Classifier, crops: torch.Tensor) -> torch.Tensor:
        """Return what a frozen ``model``'s backbone says of ``crops``, as images [N, D, 1, 1].

        ``crops`` are uint8 [N, 3, crop_px, crop_px].
        """
        from uda.training.frozen import backbone_alone, frozen_features

        name, compute = self.experiment.model.backbone, self.experiment.compute
        network = backbone_alone(model, name, crops.shape[-1])
        return frozen_features(network, name, crops, self.device, compute)[..., None, None]

    def answer(
        self, model: Classifier, images: torch.Tensor, source_cut: float | None = None
    ) -> Answer:
        """Return what the model says of the whole target, as `uda.config.AnswerConfig` has it.

        Args:
            model: The adapted network, on the task's device.
            images: uint8 [N, 3, decode_px, decode_px].
            source_cut: The threshold, where it is that of the source stage.
        """
        from uda.evaluation.answering import Answer, answer, relabel
        from uda.methods.co_learn import Opinion
        from uda.training.bank import average

        settings = self.experiment.answer
        bank, cosines = average(self.view_banks(model, images))
        prediction = answer(settings, self.method, bank, cosines, source_cut)
        if settings.labels == "method":
            return Answer(bank, prediction)
        frozen = self.frozen_features(images).to(self.device)
        opinion = Opinion.of(bank.probabilities, frozen)
        return Answer(*relabel(bank, prediction, opinion, frozen), opinion)

    def lock(self, waits: bool = False) -> AbstractContextManager[None]:
        """Return a context in which no other process works on the run; the first rank locks it.

        Args:
            waits: Whether another process is waited for, rather than `uda.runs.lock.RunBusyError`
                raised. Several ranks never wait: the others would go on without the first.
        """
        from uda.compute.distributed import count, is_main

        if not is_main():
            return nullcontext()
        return self.run.lock(say if waits and count() == 1 else None)

    def start(self) -> None:
        """Write the classes, which label all that follows and go into every checkpoint."""
        from uda.compute.distributed import is_main

        if is_main():
            self.run.save_classes(self.split.source_classes)

    def finish(self) -> None:
        """Write the options, and that the run is done; all ranks wait for it."""
        from uda.compute.distributed import is_main, wait

        if is_main():
            self.run.save_experiment(self.experiment)
            self.run.mark_done()
        wait()  # what comes next may ask whether the run is done


def model_of(experiment: Experiment, num_classes: int, pretrained: bool = True) -> Classifier:
    """Build the configured network; without ``pretrained``, for weights that are loaded later."""
    from uda.models.classifier import build_model

    settings = experiment.model
    return build_model(
        settings.backbone,
        settings.weights if pretrained or settings.frozen else "none",
        settings.head,
        settings.bottleneck_dim,
        num_classes,
        experiment.seed,
        experiment.images.crop_px,
        settings.frozen,
    )


def fit_classifier(model: Classifier, method: Method) -> None:
    """Give ``model`` the classifier that ``method`` trains, from the rows of its own."""
    from uda.methods.joint import JointMethod
    from uda.models.classifier import CosineClassifier

    if isinstance(method, JointMethod) and method.temperature:
        rows = model.classifier.weight.detach()
        model.classifier = CosineClassifier(rows, method.temperature)


def load_adapted(
    model: Classifier, method: Method, checkpoint: Path, classes: Sequence[str]
) -> None:
    """Load a run's ``checkpoint`` into a new network, and the layers of ``method``, if it has any.

    Raises ValueError naming a checkpoint that does not fit, or lacks the method's layers.
    """
    from uda.models.classifier import load_weights
    from uda.runs.checkpoints import read_checkpoint

    fit_classifier(model, method)
    load_weights(model, checkpoint, classes)
    method.build(model.classifier, 0, 0)
    if not method.own_score:
        return
    try:
        method.load_state_dict(read_checkpoint(checkpoint)["method"])
    except (KeyError, TypeError, AttributeError, RuntimeError):
        raise ValueError(
            f"{checkpoint}: has not {method.title}'s own layers; name the run's folder, or adapt "
            "again"
        ) from None


def experiment_on_folder(experiment: Experiment) -> Experiment:
    """Return ``experiment`` on the dataset made of the folder ``data.dataset``, if it is a folder.

    The dataset's file is written beside the runs. Raises ValueError where a scenario is asked for,
    or naming a folder without classes.
    """
    data = experiment.data
    folder = Path(os.path.expanduser(data.dataset))
    if (CONFIGS / "datasets" / f"{data.dataset}.yaml").is_file() or not folder.is_dir():
        return experiment
    if data.scenario:
        raise ValueError(
            f"data.scenario: {folder} is a single domain; leave the scenario out to train in it, "
            "or adapt between two folders with uda run"
        )
    from uda.data.folders import single_folder_dataset

    dataset = single_folder_dataset(folder, Path(experiment.runs) / DATASETS)
    for line in dataset.notes:
        say(line)
    sweep = experiment.sweep  # a recipe's sweep is named after the recipe's dataset
    name = f"{sweep.name}_{dataset.domain}" if sweep.name else ""
    return replace(
        experiment,
        data=replace(data, dataset=str(dataset.file), source=dataset.domain, root=""),
        sweep=replace(sweep, pairs=["all"], name=name, published=0),
    )


def check_dimensions(experiment: Experiment, split: ClassSplit, dim: int) -> None:
    """Raise ValueError where features of ``dim`` dimensions are too few for the method (LEAD).

    It is called before the training of the source model, not after it.
    """
    count, model = len(split.source_classes), experiment.model
    if not experiment.data.scenario or count < dim:
        return
    if method_of(experiment).needs_unknown_space:
        head = "" if model.head == "bottleneck_wn" else " --model.head bottleneck_wn"
        raise ValueError(
            f"adapt.method: {experiment.adapt.method} needs features of more dimensions than the "
            f"source has classes: {dim} for {count}; say{head} --model.bottleneck_dim "
            f"{1 << count.bit_length()}, or another --adapt.method"
        )
