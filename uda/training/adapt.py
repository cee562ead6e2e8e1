"""The adaptation loop: a bank of the whole target once an epoch, then batches of random views."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from uda.compute.batch_norm import is_batch_norm, synchronise
from uda.compute.devices import forward, gradient_scaler, pinned, place
from uda.compute.distributed import (
    check_batch,
    from_main,
    gather,
    is_main,
    share,
    sum_gradients,
    wait,
)
from uda.compute.optim import set_rate, sgd
from uda.compute.prefetch import prefetch
from uda.compute.seeding import seed_network
from uda.config import DEFAULT_COMPUTE, AdaptConfig, ComputeConfig, ImageConfig
from uda.data.pixels import Unlabelled, resize_all
from uda.data.views import draw_views, to_float, views
from uda.methods.base import Bank, Batch, Method
from uda.models.classifier import Classifier
from uda.runs.folder import Run
from uda.training.bank import forward_all, save_bank

ORDER, VIEWS, DROPOUT = range(100, 103)


def adapt(
    model: Classifier,
    target: Unlabelled,
    method: Method,
    images: ImageConfig,
    settings: AdaptConfig,
    seed: int,
    run: Run,
    device: torch.device,
    title: str,
    after_epoch: Callable[[int, Bank], str] | None = None,
    compute: ComputeConfig = DEFAULT_COMPUTE,
) -> None:
    """Adapt ``model`` to ``target`` in place; the classifier stays as it is.

    ``after_epoch(epoch, bank)`` is called with the untouched model's bank as epoch 0 and after
    every epoch; it may return a few words for the progress bar. Goes on from the run's checkpoint,
    saved after every epoch. Every epoch's bank stays in the run's folder (`save_bank`) unless
    ``settings.keep_banks`` is False.

    Of several processes (`uda.compute.distributed`) each takes its share of every batch, which must
    divide evenly; the first one writes, evaluates and calls ``after_epoch``.
    """
    check_batch("adapt.batch_size", settings.batch_size)
    moving = settings.batch_norm == "target" and any(map(is_batch_norm, model.modules()))
    if method.trains == "statistics" and not moving:
        raise ValueError(
            f"adapt.method: {settings.method} moves BatchNorm's statistics and nothing else; this "
            "model has none, or adapt.batch_norm is source"
        )
    place(model, device, compute)
    synchronise(model, device)
    resized = resize_all(target.images, images.resize_px, compute.image_memory_gb, compute.cache)
    epochs = settings.epochs if method.trains != "nothing" else 0
    per_epoch = len(resized) // settings.batch_size
    if epochs and not per_epoch:
        raise ValueError(
            f"adapt.batch_size: {settings.batch_size} is more than the {len(resized)} images"
        )
    model.classifier.requires_grad_(False)
    optimizer = sgd(
        model.backbone.parameters(),
        model.bottleneck.parameters(),
        settings.rate,
        settings.backbone_factor,
        settings.weight_decay,
    )
    scaler = gradient_scaler(device, compute)
    done = 0
    if saved := run.load_checkpoint():
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        method.load_state_dict(saved["method"])
        scaler.load_state_dict(saved.get("scaler", {}))
        done = saved["epoch"]
    bank = forward_all(model, resized, images.crop_px, device, compute)
    main = is_main()
    if main and settings.keep_banks and not saved:
        save_bank(run, bank, 0)
    words = after_epoch(0, bank) if main and after_epoch and not saved else ""
    bar = tqdm(
        total=epochs * per_epoch * settings.batch_size,
        unit="img",
        desc=title,
        initial=done * per_epoch * settings.batch_size,
        dynamic_ncols=True,
        leave=False,
        disable=None if main else True,
    )
    for epoch in range(done, epochs):
        bar.set_postfix_str(f"epoch {epoch + 1}/{epochs} {words}")
        state = method.refresh(bank, epoch, partial(from_main, device=device))
        if main:
            _save_summary(run, method.summary(state))
        sums = train_epoch(
            model,
            resized,
            method,
            state,
            optimizer,
            images,
            seed,
            epoch,
            epochs,
            settings.batch_size,
            device,
            bar,
            compute,
            scaler,
            settings.batch_norm,
        )
        for name, value in sums.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"adapt.rate: the loss {name} is {value} in epoch {epoch + 1}; lower the rate"
                )
        bank = forward_all(model, resized, images.crop_px, device, compute)
        if not bank.features.isfinite().all():
            raise ValueError(
                f"adapt.rate: features are not finite after epoch {epoch + 1}; lower the rate"
            )
        if not main:
            continue
        run.log(
            kind="adapt",
            epoch=epoch + 1,
            **{f"loss_{name}": value / per_epoch for name, value in sums.items()},
        )
        if settings.keep_banks:
            save_bank(run, bank, epoch + 1)
        words = after_epoch(epoch + 1, bank) if after_epoch else ""
        _save(run, model, optimizer, method, scaler, epoch + 1)
    bar.close()
    if main and not epochs:
        _save(run, model, optimizer, method, scaler, 0)
    wait()


def train_epoch(
    model: Classifier,
    resized: Tensor,
    method: Method,
    state: Any,
    optimizer: torch.optim.Optimizer,
    images: ImageConfig,
    seed: int,
    epoch: int,
    epochs: int,
    batch_size: int,
    device: torch.device,
    bar: Any,
    compute: ComputeConfig = DEFAULT_COMPUTE,
    scaler: torch.amp.GradScaler | None = None,
    batch_norm: str = "target",
) -> dict[str, float]:
    """One pass over the target; the sum over batches of each loss.

    With ``batch_norm`` "source" BatchNorm keeps the statistics that ``model`` came with.
    """
    scaler = scaler or gradient_scaler(device, compute)
    per_epoch = len(resized) // batch_size
    order = np.random.default_rng([seed, ORDER, epoch]).permutation(len(resized))
    spare_px = images.resize_px - images.crop_px
    draws = draw_views(len(resized), spare_px, images.flip, (seed, VIEWS, epoch))
    sums: dict[str, Tensor] = {}
    model.train()
    if batch_norm == "source":
        for module in model.modules():
            if is_batch_norm(module):
                module.eval()
    batches = torch.from_numpy(order[: per_epoch * batch_size]).view(per_epoch, batch_size)
    shares = [share(index) for index in batches]
    loaded = prefetch(lambda own: pinned(resized[own], device), shares, apart=device.type == "cuda")
    for number, (index, own, whole) in enumerate(zip(batches, shares, loaded, strict=True)):
        step = epoch * per_epoch + number + 1
        view = views(whole.to(device, non_blocking=True), images.crop_px, draws[own.numpy()])
        set_rate(optimizer, step, epochs * per_epoch)
        seed_network(device, seed, DROPOUT, step)
        x = to_float(view, device, compute.channels_last)
        with torch.set_grad_enabled(method.trains == "weights"):
            features, logits = forward(model, x, compute)
        parts = method.loss(Batch(gather(features), gather(logits), index.to(device)), state)
        if parts:
            optimizer.zero_grad()
            scaler.scale(torch.stack(list(parts.values())).sum()).backward()
            sum_gradients(model.parameters())
            scaler.step(optimizer)
            scaler.update()
        for name, value in parts.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
        bar.update(batch_size)
    return {name: float(value) for name, value in sums.items()}


def _save(
    run: Run,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    method: Method,
    scaler: torch.amp.GradScaler,
    epoch: int,
) -> None:
    run.save_checkpoint(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "method": method.state_dict(),
            "scaler": scaler.state_dict(),
            "epoch": epoch,
        }
    )


def _save_summary(run: Run, summary: dict[str, Tensor]) -> None:
    if summary:
        run.save_summary({name: value.cpu().numpy() for name, value in summary.items()})
