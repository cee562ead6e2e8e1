"""The supervised loop: LEAD's source stage and in-domain classifiers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm
from typing_extensions import Never

from uda.augment.base import Augmentation
from uda.compute.devices import forward
from uda.compute.distributed import check_batch, gather, is_main, share, wait
from uda.compute.optim import rate_factor, set_rate
from uda.compute.seeding import seed_network
from uda.config import TrainConfig
from uda.data.pixels import Labelled
from uda.methods.losses import soft_cross_entropy
from uda.models.classifier import Classifier
from uda.runs.folder import Run
from uda.training.look import NetworkLook
from uda.training.source_batches import DROPOUT, SourceBatch, SourceBatches
from uda.training.state import Loop, TrainState, check_finite

# Called with the network (the average, if any) and the finished epoch; returns a score, if any.
ScoreEpoch = Callable[[Classifier, int], float | None]


@dataclass
class Seen:
    """The images trained on so far.

    Attributes:
        originals: bool [N], which of the N originals.
        images: Images, each as often as it was drawn.
        augmented: How many of them were augmented.
    """

    originals: Tensor
    images: int = 0
    augmented: int = 0

    @property
    def distinct_originals(self) -> int:
        """The number of different originals."""
        return int(self.originals.sum())

    def add(self, rows: Tensor, batches: SourceBatches) -> None:
        """Count ``rows`` [B] of the list that ``batches`` go through."""
        self.originals[batches.originals(rows)] = True
        self.images += len(rows)
        self.augmented += int(batches.is_augmented(rows).sum())

    def counts(self) -> dict[str, int]:
        """Return the numbers of images, of different originals and of augmented draws."""
        return {
            "images": self.images,
            "distinct_originals": self.distinct_originals,
            "augmented": self.augmented,
        }


def total_steps(num_originals: int, copies: int, settings: TrainConfig) -> int:
    """Return a run's optimiser steps: as many with ``copies`` augmented copies as without.

    With the budget "epochs" they grow with the copies. Raises ValueError where the images do not
    fill a batch.
    """
    if num_originals < settings.batch_size:
        raise ValueError(
            f"train.batch_size: {settings.batch_size} is more than the {num_originals} images to "
            "train on; lower it, or raise data.images_per_class where that is set"
        )
    if settings.steps:
        return settings.steps
    per_epoch = num_originals // settings.batch_size
    grow = 1 + copies if settings.budget == "epochs" else 1
    return settings.epochs * per_epoch * grow


def factor_at(step: int, total_steps: int, num_originals: int, settings: TrainConfig) -> float:
    """Return `uda.compute.optim.rate_factor` in ``step`` by ``settings``."""
    warmup = round(settings.warmup_epochs * (num_originals // settings.batch_size))
    return rate_factor(
        step,
        total_steps,
        settings.schedule,
        min(warmup, total_steps - 1),
        settings.milestones,
        settings.step_factor,
    )


def train(
    model: Classifier,
    data: Labelled,
    augmentation: Augmentation,
    copies: int,
    settings: TrainConfig,
    run: Run,
    loop: Loop,
    after_epoch: ScoreEpoch | None = None,
) -> Seen:
    """Train ``model`` in place on N images and ``copies`` augmented copies of each.

    Of several ranks each computes its share of every batch, which must divide evenly; the first
    writes, and all call ``after_epoch``. An interrupted run that continues ends like an undisturbed
    run.

    Args:
        model: Ends as the average of the weights, if there is one.
        data: The N originals.
        augmentation: Changes copies, images or batches.
        copies: Augmented copies of each original.
        settings: Steps, batch size and rates.
        run: Continued from its checkpoint, saved after every epoch, a pass over (1 + copies) N
            images.
        loop: Sizes, seed and device.
        after_epoch: Returns a score, if any; the network of the first epoch with the highest score
            is kept as the run's best.
    """
    _check_parts(settings)
    state = TrainState(model, settings, loop, train_classifier=True, ema=settings.ema)
    num_classes = model.classifier.out_features
    batches = SourceBatches(data, augmentation, copies, num_classes, settings, loop)
    steps = total_steps(batches.num_originals, batches.copies, settings)
    seen = Seen(torch.zeros(batches.num_originals, dtype=torch.bool))
    if saved := state.restore(run):
        counts = saved["seen"]
        if len(saved["originals"]) != batches.num_originals:  # of a run without a record of them
            raise ValueError(
                f"{run.folder}: begun with {len(saved['originals'])} pictures, and these are "
                f"{batches.num_originals}; restore those, or delete the folder to begin with these"
            )
        seen = Seen(saved["originals"], counts["images"], counts["augmented"])
    # On a CPU other processes must not count; process time leaves out a GPU's work.
    clock = time.process_time if loop.device.type == "cpu" else time.perf_counter
    bar = loop.bar(steps * settings.batch_size, state.step * settings.batch_size)
    while state.step < steps:
        started = clock()
        mean_loss = _train_epoch(state, batches, steps, seen, bar)
        check_finite("train.rate", "the loss", mean_loss, f"at step {state.step}")
        state.check_weights("train.rate")
        state.seconds += clock() - started
        bar.set_postfix(loss=f"{mean_loss:.3f}")
        if is_main():
            progress = {"epoch": state.epoch, "step": state.step, "loss": mean_loss}
            run.log(kind="train", **progress, seconds=round(state.seconds, 3), **seen.counts())
        score = after_epoch(state.result, state.epoch) if after_epoch else None
        if is_main():
            _save(run, state, score, seen)
    bar.close()
    if state.average:
        model.load_state_dict(state.average.state_dict())
    wait()
    return seen


def _train_epoch(
    state: TrainState, batches: SourceBatches, steps: int, seen: Seen, bar: tqdm[Never]
) -> float:
    """Train until the end of the list, or of the ``steps`` in all; return the mean loss."""
    settings, loop, model = batches.settings, batches.loop, state.model
    count = min(batches.steps_per_epoch, steps - state.step)
    look = NetworkLook(model, loop.compute)
    parts = batches.epoch(state.epoch, state.step + 1, count, look=look)
    total_loss = torch.zeros((), device=loop.device)
    model.train()
    for _ in range(count):
        state.step += 1
        factor = factor_at(state.step, steps, batches.num_originals, settings)
        set_rate(state.optimizer, state.step, steps, factor)
        seed_network(loop.device, loop.seed, DROPOUT, state.step)
        state.optimizer.zero_grad()
        for batch in islice(parts, settings.accumulate):
            loss = _loss(model, batch, batches.augmentation, loop) / settings.accumulate
            state.backward(loss)
            total_loss += loss.detach()
            seen.add(batch.rows, batches)
        state.take_step(settings.clip_norm)
        bar.update(settings.batch_size)
    state.epoch += 1
    return float(total_loss) / count


def _check_parts(settings: TrainConfig) -> None:
    """Raise ValueError where a batch cannot be divided evenly into parts, or among the ranks."""
    if settings.batch_size % settings.accumulate:
        raise ValueError(
            f"train.accumulate: {settings.batch_size} images cannot be divided into "
            f"{settings.accumulate} equal parts"
        )
    check_batch("train.batch_size", settings.batch_size // settings.accumulate)


def _loss(model: Classifier, batch: SourceBatch, augmentation: Augmentation, loop: Loop) -> Tensor:
    with augmentation.within(model, len(batch.rows), batch.seed):
        logits = gather(forward(model, share(batch.images), loop.compute)[1])
    return soft_cross_entropy(logits, batch.targets)


def _save(run: Run, state: TrainState, score: float | None, seen: Seen) -> None:
    """Write the checkpoint, and the best network where its score is the highest so far."""
    if score is not None and score > state.best:
        state.best = score
        best = {"model": state.result.state_dict(), "epoch": state.epoch, "score": score}
        run.save_checkpoint(best, best=True)
    progress = {"step": state.step, "seconds": state.seconds, "best": state.best}
    counts = {"seen": seen.counts(), "originals": seen.originals}
    run.save_checkpoint({**state.state_dict(), **counts, **progress})
