"""What both training loops share: the surroundings of a loop, and its state at a step."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm
from typing_extensions import Never

from genmix_aug.progress import show_progress
from uda.compute.batch_norm import synchronise
from uda.compute.devices import gradient_scaler, move_to_device
from uda.compute.distributed import is_main, sum_gradients
from uda.compute.optim import sgd
from uda.config import DEFAULT_COMPUTE, AdaptConfig, ComputeConfig, ImageConfig, TrainConfig
from uda.models.classifier import Classifier
from uda.models.weights import check_finite_tensors
from uda.runs.folder import Run


@dataclass(frozen=True)
class Loop:
    """The surroundings of a training loop.

    Attributes:
        images: Sizes in pixels.
        seed: The run's seed.
        device: Where the network computes.
        compute: Precision, layout and memory.
        title: What stands before the progress bar.
    """

    images: ImageConfig
    seed: int
    device: torch.device
    compute: ComputeConfig = DEFAULT_COMPUTE
    title: str = ""

    def bar(self, total: int, initial: int) -> tqdm[Never]:
        """Return the progress over ``total`` images, which the first rank shows."""
        return show_progress(
            total=total,
            initial=initial,
            unit="img",
            desc=self.title,
            dynamic_ncols=True,
            leave=False,
            shown=is_main(),
        )


class TrainState:
    """A network in training, with its optimiser and how far it has come.

    The network is placed on the loop's device, and its BatchNorm synchronised over the ranks.

    Args:
        model: Trained, not copied.
        settings: Rates and weight decay.
        loop: Where it runs.
        train_classifier: Whether the classifier is trained too; otherwise it is frozen.
        heads: Further layers, trained at the head's rate. All ranks compute whole batches with
            them, so their gradients are the same everywhere.
        ema: Decay of a moving average of the weights; 0 averages nothing.

    Attributes:
        average: The moving average, or None.
        epoch: Finished epochs.
        step: Finished steps of the optimiser.
        best: The highest score of an epoch.
        seconds: Of the steps alone, without evaluations.
    """

    def __init__(
        self,
        model: Classifier,
        settings: TrainConfig | AdaptConfig,
        loop: Loop,
        train_classifier: bool,
        ema: float = 0.0,
        heads: nn.Module | None = None,
    ) -> None:
        move_to_device(model, loop.device, loop.compute)
        self.average = copy.deepcopy(model) if ema else None
        synchronise(model, loop.device)
        model.classifier.requires_grad_(train_classifier)
        head = [*model.bottleneck.parameters()]
        head += model.classifier.parameters() if train_classifier else []
        head += heads.to(loop.device).parameters() if heads else []
        self.model = model
        self.optimizer = sgd(
            model.backbone.parameters(),
            head,
            settings.rate,
            settings.backbone_factor,
            settings.weight_decay,
        )
        self.scaler = gradient_scaler(loop.device, loop.compute)
        self.ema = ema
        self.epoch = self.step = 0
        self.seconds, self.best = 0.0, -math.inf

    @property
    def result(self) -> Classifier:
        """The network that is the result so far: the average, if there is one."""
        return self.average or self.model

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled against underflow."""
        self.scaler.scale(loss).backward()

    def take_step(self, clip_norm: float = 0.0) -> None:
        """Sum the gradients over the ranks, clip them to ``clip_norm`` if it is not 0, and step."""
        sum_gradients(self.model.parameters())
        if clip_norm:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model.parameters(), clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            move_average(self.average, self.model, self.ema, self.step)

    def check_weights(self, key: str) -> None:
        """Raise ValueError that advises to lower the rate ``key`` where a weight is not finite.

        The loss does not show what the last step did.
        """
        for name, values in self.result.state_dict().items():
            if not values.isfinite().all():
                raise ValueError(
                    f"{key}: {name} is not finite after epoch {self.epoch}; lower the rate"
                )

    def state_dict(self) -> dict[str, Any]:
        """Return network, average, optimiser, scaler and epoch."""
        state = {
            "model": self.result.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
        }
        return state | {"trained": self.model.state_dict()} if self.average else state

    def restore(self, run: Run) -> dict[str, Any] | None:
        """Continue from the run's checkpoint; return it, or None before the first."""
        saved = run.load_checkpoint()
        if saved is None:
            return None
        check_finite_tensors(saved, str(run.checkpoint))
        try:
            self._load(saved)
        except Exception as error:  # of a dozen types, from torch
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(
                f"{run.checkpoint}: does not fit this run ({reason}); delete {run.folder} to begin "
                "it anew"
            ) from None
        return saved

    def _load(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, and the loop's counts."""
        self.model.load_state_dict(saved.get("trained", saved["model"]))
        if self.average:
            self.average.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved.get("scaler", {}))
        self.epoch, self.step = int(saved["epoch"]), int(saved.get("step", 0))
        self.seconds, self.best = (
            float(saved.get("seconds", 0.0)),
            float(saved.get("best", self.best)),
        )


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move ``average``'s parameters and statistics towards ``model``'s, after its ``step``-th step.

    They move by 1 - decay, but at first by more, as in TensorFlow's ExponentialMovingAverage: the
    decay is at most (1 + step) / (10 + step), so that the start is soon forgotten.
    """
    decay = min(decay, (1 + step) / (10 + step))
    pairs = zip(average.state_dict().values(), model.state_dict().values(), strict=True)
    for averaged, new in pairs:
        if averaged.is_floating_point():
            averaged.lerp_(new, 1 - decay)
        else:
            averaged.copy_(new)


def check_finite(key: str, what: str, value: float, when: str) -> None:
    """Raise ValueError that advises to lower the rate ``key`` where ``value`` is not finite."""
    if not math.isfinite(value):
        raise ValueError(f"{key}: {what} is {value} {when}; lower the rate")
