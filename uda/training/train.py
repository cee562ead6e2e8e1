"""The supervised loop: LEAD's source stage and in-domain classifiers."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from uda.augment.base import Augmentation
from uda.compute.batch_norm import synchronise
from uda.compute.devices import forward, gradient_scaler, pinned, place
from uda.compute.distributed import check_batch, gather, is_main, share, sum_gradients, wait
from uda.compute.optim import rate_factor, set_rate, sgd
from uda.compute.prefetch import prefetch
from uda.compute.seeding import seed_network, seed_of
from uda.config import DEFAULT_COMPUTE, ComputeConfig, ImageConfig, TrainConfig
from uda.data.pixels import Labelled, resize, resize_all
from uda.data.views import draw_views, to_float, views
from uda.models.classifier import Classifier
from uda.runs.folder import Run

# Streams of random numbers, so that no two uses of the run's seed draw the same.
ORDER, VIEWS, EDITS, BATCH, DROPOUT = range(5)


@dataclass
class Seen:
    """Images trained on, how many different originals, and how many augmented draws among them."""

    images: int = 0
    distinct_originals: int = 0
    augmented: int = 0


def total_steps(num_originals: int, copies: int, settings: TrainConfig) -> int:
    """Optimiser steps of a run: as many with ``copies`` augmented copies of each image as without,
    unless the budget is "epochs". ValueError where the images do not fill one batch."""
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


def epoch_rows(num_items: int, batch_size: int, epoch: int, seed: int) -> list[Tensor]:
    """The batches of one pass over ``num_items``: shuffled rows, the last partial batch dropped."""
    order = np.random.default_rng([seed, ORDER, epoch]).permutation(num_items)
    count = num_items // batch_size
    return list(torch.from_numpy(order[: count * batch_size]).view(count, batch_size))


def smoothed_targets(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """One-hot targets [B, K] with ``smoothing`` of the mass spread evenly over all K."""
    return F.one_hot(labels, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of ``logits`` [B, K] to soft ``targets`` [B, K]."""
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


def factor_at(step: int, total_steps: int, num_originals: int, settings: TrainConfig) -> float:
    """`uda.compute.optim.rate_factor` as ``settings`` have it."""
    warmup = round(settings.warmup_epochs * (num_originals // settings.batch_size))
    return rate_factor(
        step,
        total_steps,
        settings.schedule,
        min(warmup, total_steps - 1),
        settings.milestones,
        settings.step_factor,
    )


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move ``average``'s parameters and statistics towards ``model``'s, after its ``step``-th step.

    By 1 - decay, but at first by more, as in TensorFlow's ExponentialMovingAverage: the decay is at
    most (1 + step) / (10 + step), so that the start is soon forgotten.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for own, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if own.is_floating_point():
            own.lerp_(new, 1 - decay)
        else:
            own.copy_(new)


def train(
    model: Classifier,
    data: Labelled,
    augmentation: Augmentation,
    copies: int,
    images: ImageConfig,
    settings: TrainConfig,
    seed: int,
    run: Run,
    device: torch.device,
    title: str,
    after_epoch: Callable[[Classifier, int], float | None] | None = None,
    compute: ComputeConfig = DEFAULT_COMPUTE,
) -> Seen:
    """Train ``model`` on ``data`` with ``copies`` augmented copies of each image, in place.

    Goes on from the run's checkpoint, saved after every pass over the list of (1 + copies) N
    images; the result is that of an undisturbed run. ``title`` stands before the progress bar.
    ``after_epoch`` is given the model (the average, where there is one) and the pass; where it
    returns a score, the model of the first pass with the highest one is kept as best.pt.

    Of several processes (`uda.compute.distributed`) each takes its share of every batch, which must
    divide evenly; the first one writes. All of them call ``after_epoch``.
    """
    if settings.batch_size % settings.accumulate:
        raise ValueError(
            f"train.accumulate: {settings.batch_size} images cannot be divided into "
            f"{settings.accumulate} equal parts"
        )
    check_batch("train.batch_size", settings.batch_size // settings.accumulate)
    copies = copies if augmentation.copies else 0
    count, num_classes = len(data.images), model.classifier.out_features
    first_augmented = 0 if augmentation.every_image else count  # row of the list
    steps = total_steps(count, copies, settings)
    place(model, device, compute)
    average = copy.deepcopy(model) if settings.ema else None
    synchronise(model, device)
    head = [*model.bottleneck.parameters(), *model.classifier.parameters()]
    optimizer = sgd(
        model.backbone.parameters(),
        head,
        settings.rate,
        settings.backbone_factor,
        settings.weight_decay,
    )
    scaler = gradient_scaler(device, compute)
    seen, originals = Seen(), torch.zeros(count, dtype=torch.bool)
    step = epoch = 0
    seconds, best = 0.0, -math.inf
    # On a CPU what else runs there must not count; a GPU's work is not in the process's time.
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    if saved := run.load_checkpoint():
        model.load_state_dict(saved.get("trained", saved["model"]))
        if average:
            average.load_state_dict(saved["model"])
        seconds, best = saved.get("seconds", 0.0), saved.get("best", best)
        optimizer.load_state_dict(saved["optimizer"])
        seen, originals = Seen(**saved["seen"]), saved["originals"]
        scaler.load_state_dict(saved.get("scaler", {}))
        step, epoch = saved["step"], saved["epoch"]
    resized = resize_all(data.images, images.resize_px, compute.image_memory_gb, compute.cache)

    def pictures(rows: Tensor) -> Tensor:
        """uint8, whole: of rows of the list, before they are cropped."""
        own = rows % count
        batch = resized[own]
        if (augmented := (rows >= first_augmented).nonzero()[:, 0]).numel():
            ids = own[augmented].tolist()
            # By run, pass and place in the list alone, whatever the batch or the worker.
            seeds = [seed_of(seed, EDITS, epoch, row) for row in rows[augmented].tolist()]
            changed = augmentation.images(data.images[own[augmented]], ids, seeds)
            batch[augmented] = resize(changed, images.resize_px)
        if images.pad_px:
            batch = F.pad(batch, [images.pad_px] * 4)
        return pinned(batch, device)

    bar = tqdm(
        total=steps * settings.batch_size,
        initial=step * settings.batch_size,
        unit="img",
        desc=title,
        dynamic_ncols=True,
        leave=False,
        disable=None if is_main() else True,
    )
    while step < steps:
        model.train()
        started = clock()
        total_loss = torch.zeros((), device=device)
        num_items = count * (1 + copies)
        spare_px = images.resize_px + 2 * images.pad_px - images.crop_px
        draws = draw_views(num_items, spare_px, images.flip, (seed, VIEWS, epoch))
        batches = epoch_rows(num_items, settings.batch_size, epoch, seed)
        batches = batches[: steps - step]
        parts = [share(part) for rows in batches for part in rows.chunk(settings.accumulate)]
        # Where the network leaves the processor free. On a CPU it is the network that has to wait.
        loaded = prefetch(pictures, parts, apart=device.type == "cuda")
        for rows in batches:
            step += 1
            set_rate(optimizer, step, steps, factor_at(step, steps, count, settings))
            seed_network(device, seed, DROPOUT, step)
            optimizer.zero_grad()
            for number, part in enumerate(rows.chunk(settings.accumulate)):
                whole = next(loaded).to(device, non_blocking=True)
                view = views(whole, images.crop_px, draws[share(part).numpy()])
                # The views of the whole part, as bytes: what mixes images mixes all of them.
                x = to_float(gather(view), device, compute.channels_last)
                y = smoothed_targets(
                    data.labels[part % count].to(device), num_classes, settings.label_smoothing
                )
                mix_seed = seed_of(seed, BATCH, (step - 1) * settings.accumulate + number + 1)
                x, y = augmentation.batch(x, y, mix_seed)
                with augmentation.within(model, len(part), mix_seed):
                    logits = gather(forward(model, share(x), compute)[1])
                loss = soft_cross_entropy(logits, y) / settings.accumulate
                scaler.scale(loss).backward()
                total_loss += loss.detach()
            sum_gradients(model.parameters())
            if settings.clip_norm:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            if average:
                move_average(average, model, settings.ema, step)
            originals[rows % count] = True
            seen.images += len(rows)
            seen.augmented += int((rows >= first_augmented).sum())
            bar.update(len(rows))
        epoch += 1
        seen.distinct_originals = int(originals.sum())
        mean_loss = float(total_loss) / len(batches)
        if not math.isfinite(mean_loss):
            raise ValueError(f"train.rate: the loss is {mean_loss} at step {step}; lower the rate")
        seconds += clock() - started
        bar.set_postfix(loss=f"{mean_loss:.3f}")
        result = average or model
        if is_main():
            # Seconds of the steps alone, without evaluations, of all passes so far.
            run.log(
                kind="train",
                epoch=epoch,
                step=step,
                loss=mean_loss,
                seconds=round(seconds, 3),
                **asdict(seen),
            )
        score = after_epoch(result, epoch) if after_epoch else None
        if not is_main():
            continue
        if score is not None and score > best:
            best = score
            kept = {"model": result.state_dict(), "epoch": epoch, "score": score}
            run.save_checkpoint(kept, best=True)
        state: dict[str, Any] = {
            "model": result.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "seen": asdict(seen),
            "originals": originals,
            "step": step,
            "epoch": epoch,
            "seconds": seconds,
            "best": best,
        }
        if average:
            state["trained"] = model.state_dict()
        run.save_checkpoint(state)
    bar.close()
    if average:
        model.load_state_dict(average.state_dict())
    wait()
    return seen
