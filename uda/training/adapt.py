"""The adaptation loop: a bank of the whole target each epoch, then batches of random views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from typing_extensions import Never

from uda.compute.batch_norm import is_batch_norm
from uda.compute.devices import forward
from uda.compute.distributed import check_batch, from_main, gather, is_main, share, wait
from uda.compute.optim import set_rate
from uda.compute.seeding import seed_network
from uda.config import AdaptConfig
from uda.data.pixels import PixelStore, Unlabelled
from uda.methods.base import Bank, Batch, Method
from uda.methods.joint import JointMethod
from uda.models.classifier import Classifier
from uda.runs.folder import Run
from uda.training.bank import OVERFLOW, forward_all, save_bank
from uda.training.look import NetworkLook
from uda.training.source_batches import SourceBatch, SourceBatches
from uda.training.state import Loop, TrainState, check_finite
from uda.training.target_batches import DROPOUT, target_batches

# Called with the finished epoch (0: the source model) and its bank; words for the progress bar.
ReportEpoch = Callable[[int, Bank], str]


def adapt(
    model: Classifier,
    target: Unlabelled,
    method: Method,
    settings: AdaptConfig,
    run: Run,
    loop: Loop,
    after_epoch: ReportEpoch | None = None,
    source: SourceBatches | None = None,
) -> None:
    """Adapt ``model`` to ``target`` in place.

    The loop leaves the classifier as it is, except with a method that trains it.

    Of several ranks each computes its share of every batch, which must divide evenly; the first
    writes, evaluates and calls ``after_epoch``.

    Args:
        model: Starts as the source model.
        target: The target's images.
        method: Gives the losses.
        settings: Epochs, batch size, rates, and whether each epoch's bank stays in the run's
            folder.
        run: Continued from its checkpoint, which is saved after every epoch.
        loop: Sizes, seed and device.
        after_epoch: Called with the source model's bank as epoch 0, and after every epoch.
        source: Labelled batches, for a `JointMethod`.
    """
    check_batch("adapt.batch_size", settings.batch_size)
    _check_trains(model, method, settings)
    method.build(model.classifier, len(target.images), loop.seed)
    training = TrainState(model, settings, loop, method.trains_classifier, heads=method.heads)
    _check_has_weights(model, method, settings)
    store = PixelStore.of(loop.compute)
    resized = store.resize(target.images, loop.images.resize_px)
    target = replace(target, images=resized)
    epochs = settings.epochs if method.trains != "nothing" else 0
    if epochs:
        _check_fills_a_batch("", len(resized), settings)
        if source:
            _check_fills_a_batch(" of the source", source.num_rows, settings)
    per_epoch = settings.epoch_steps or len(resized) // settings.batch_size
    saved = training.restore(run)
    if saved:
        method.load_state_dict(saved["method"])
    bank = _bank(training, resized, loop, run)
    words = "" if saved else _finish_epoch(run, training, bank, settings, after_epoch)
    epoch_images = per_epoch * settings.batch_size
    bar = loop.bar(epochs * epoch_images, training.epoch * epoch_images)
    while training.epoch < epochs:
        bar.set_postfix_str(f"epoch {training.epoch + 1}/{epochs} {words}")
        if isinstance(method, JointMethod) and method.needs_source_bank and source:
            of_source = _bank(training, source.resized, loop, run)
            method.see_source(of_source, source.data.labels, source.row_labels)
        state = method.refresh(bank, training.epoch, partial(from_main, device=loop.device))
        if is_main() and (summary := method.summary(state)):
            run.save_summary({name: value.cpu().numpy() for name, value in summary.items()})
        sums = train_epoch(training, target, method, state, settings, loop, bar, source)
        training.epoch += 1
        for name, value in sums.items():
            check_finite("adapt.rate", f"the loss {name}", value, f"in epoch {training.epoch}")
        bank = _bank(training, resized, loop, run)
        if is_main():
            losses = {f"loss_{name}": value / per_epoch for name, value in sums.items()}
            run.log(kind="adapt", epoch=training.epoch, **losses)
            words = _finish_epoch(run, training, bank, settings, after_epoch)
            _save(run, training, method)
    bar.close()
    if is_main() and not epochs:
        _save(run, training, method)
    wait()


def train_epoch(
    training: TrainState,
    target: Unlabelled,
    method: Method,
    state: Any,
    settings: AdaptConfig,
    loop: Loop,
    bar: tqdm[Never],
    source: SourceBatches | None = None,
) -> dict[str, float]:
    """Train for an epoch; return the sum over batches of each loss.

    Args:
        training: The network and its optimiser.
        target: Its images, uint8 [N, 3, S, S].
        method: Gives the losses.
        state: What its `refresh` returned.
        settings: With ``batch_norm`` "source" BatchNorm keeps the source model's statistics.
        loop: Sizes, seed and device.
        bar: Moved on by each batch.
        source: Labelled batches, for a `JointMethod`.
    """
    per_epoch = settings.epoch_steps or len(target.images) // settings.batch_size
    done, steps = training.epoch * per_epoch, settings.epochs * per_epoch
    _set_train_mode(training.model, settings)
    sums: dict[str, Tensor] = {}
    zero = torch.zeros((), device=loop.device)
    size = settings.batch_size
    drawn = method.rows(state, per_epoch, size) if isinstance(method, JointMethod) else None
    of_source, of_target = drawn or (None, None)
    batches = target_batches(target.images, done, per_epoch, size, loop, of_target)
    look = NetworkLook(training.model, loop.compute)
    labelled = source.stream(done + 1, per_epoch, of_source, look) if source else repeat(None)
    for step, ((images, rows), beside) in enumerate(zip(batches, labelled), done + 1):  # noqa: B905
        set_rate(training.optimizer, step, steps)
        seed_network(loop.device, loop.seed, DROPOUT, step)
        learned = None
        if isinstance(method, JointMethod) and source and beside:
            views = _head_views(training.model, source, beside, method, settings)
            learned = _source_batch(training.model, source, beside, views)
        with torch.set_grad_enabled(method.trains == "weights"):
            features, logits = forward(training.model, images, loop.compute)
        near = None if target.neighbours is None else target.neighbours[rows].to(loop.device)
        batch = Batch(gather(features), gather(logits), rows.to(loop.device), near=near)
        losses = _losses(method, learned, batch, state)
        if losses:
            training.optimizer.zero_grad()
            training.backward(torch.stack(list(losses.values())).sum())
            training.take_step()
        if isinstance(method, JointMethod) and learned:
            method.after_step(_detached(learned), _detached(batch))
        for name, value in losses.items():
            sums[name] = sums.get(name, zero) + value.detach()
        bar.update(settings.batch_size)
    return {name: float(value) for name, value in sums.items()}


def _source_batch(
    model: Classifier, source: SourceBatches, batch: SourceBatch, views: tuple[Tensor, ...]
) -> Batch:
    """Return what the network says of a labelled batch, in a pass of its own.

    So BatchNorm normalises each domain by itself, and its running statistics are of both.
    """
    loop = source.loop
    with source.augmentation.within(model, len(batch.rows), batch.seed):
        features, logits = forward(model, share(batch.images), loop.compute)
    rows = batch.rows.to(loop.device)
    return Batch(gather(features), gather(logits), rows, batch.targets, views)


def _head_views(
    model: Classifier,
    source: SourceBatches,
    batch: SourceBatch,
    method: JointMethod,
    settings: AdaptConfig,
) -> tuple[Tensor, ...]:
    """Return the features of the views that the method wants in this step."""
    mode = method.view_mode
    if not mode:
        return ()
    model.train(mode == "train")
    with torch.set_grad_enabled(mode == "train"):
        images = (source.view(batch, number) for number in range(method.num_views))
        views = tuple(gather(forward(model, each, source.loop.compute)[0]) for each in images)
    _set_train_mode(model, settings)
    return views


def _losses(method: Method, source: Batch | None, target: Batch, state: Any) -> dict[str, Tensor]:
    if isinstance(method, JointMethod):
        assert source is not None
        return method.joint_loss(source, target, state)
    return method.loss(target, state)


def _detached(batch: Batch) -> Batch:
    return replace(batch, features=batch.features.detach(), logits=batch.logits.detach())


def _check_fills_a_batch(whose: str, count: int, settings: AdaptConfig) -> None:
    if count < settings.batch_size:
        raise ValueError(
            f"adapt.batch_size: {settings.batch_size} is more than the {count} images{whose}"
        )


def _check_trains(model: Classifier, method: Method, settings: AdaptConfig) -> None:
    """Raise ValueError for a method that moves BatchNorm's statistics where none would move."""
    moving = settings.batch_norm == "target" and any(map(is_batch_norm, model.modules()))
    if method.trains == "statistics" and not moving:
        raise ValueError(
            f"adapt.method: {settings.method} moves BatchNorm's statistics and nothing else; this "
            "model has none, or adapt.batch_norm is source"
        )


def _check_has_weights(model: Classifier, method: Method, settings: AdaptConfig) -> None:
    """Raise ValueError where a method trains weights and all of the network's are at rest."""
    if method.trains == "weights" and not any(w.requires_grad for w in model.parameters()):
        raise ValueError(
            f"adapt.method: {settings.method} trains the layers between a frozen backbone and the "
            "classifier, and this model has none; take --model.head bottleneck_wn"
        )


def _set_train_mode(model: Classifier, settings: AdaptConfig) -> None:
    model.train()
    if settings.batch_norm == "source":
        for module in model.modules():
            if is_batch_norm(module):
                module.eval()


def _bank(training: TrainState, resized: Tensor, loop: Loop, run: Run) -> Bank:
    blame = f"adapt.rate: features are not finite after epoch {training.epoch}; lower the rate"
    if not training.epoch:
        blame = f"{run.folder}: of the source model, {OVERFLOW}"
    px = loop.images.crop_px
    return forward_all(training.model, resized, px, loop.device, loop.compute, blame=blame)


def _finish_epoch(
    run: Run,
    training: TrainState,
    bank: Bank,
    settings: AdaptConfig,
    after_epoch: ReportEpoch | None,
) -> str:
    """Keep the epoch's bank and have it evaluated, in the first rank; return words for the bar."""
    if not is_main():
        return ""
    if settings.keep_banks:
        save_bank(run, bank, training.epoch)
    return after_epoch(training.epoch, bank) if after_epoch else ""


def _save(run: Run, training: TrainState, method: Method) -> None:
    run.save_checkpoint({**training.state_dict(), "method": method.state_dict()})
