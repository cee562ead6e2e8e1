"""The loop that pretrains a backbone on pairs of views."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from typing_extensions import Never

from uda.compute.devices import forward
from uda.compute.distributed import check_batch, gather, is_main, share, wait
from uda.compute.optim import set_rate
from uda.compute.seeding import seed_network, seed_of
from uda.config import TrainConfig
from uda.models.classifier import Classifier
from uda.pretraining.base import SelfSupervised
from uda.pretraining.pairs import ViewPairs
from uda.runs.folder import Run
from uda.training.source_batches import BATCH, DROPOUT
from uda.training.state import TrainState, check_finite
from uda.training.train import factor_at, total_steps

WHOLE = "uda pretrain takes each batch in one piece; leave it at 1"
PLAIN = "uda pretrain keeps the weights of the last step; leave it at 0"


def pretrain(model: Classifier, pairs: ViewPairs, method: SelfSupervised, run: Run) -> None:
    """Train the backbone of ``model`` in place by a self-supervised ``method``.

    Of several ranks each computes its share of every batch; the first writes. An interrupted run
    that continues ends like an undisturbed run.

    Args:
        model: Its features are the backbone's.
        pairs: The pictures' views; their settings say how it is trained. All of the network is
            trained at one rate.
        method: Gives the loss.
        run: Continued from its checkpoint, saved after every epoch, a pass over the list.
    """
    settings, loop = replace(pairs.settings, backbone_factor=1.0), pairs.loop
    check_settings(settings)
    steps = total_steps(pairs.num_originals, pairs.copies, settings)
    method.build(model, pairs.num_originals, settings.batch_size, loop)
    state = _state(model, method, settings, pairs)
    _restore(state, method, run)
    clock = time.process_time if loop.device.type == "cpu" else time.perf_counter
    bar = loop.bar(steps * settings.batch_size, state.step * settings.batch_size)
    while state.step < steps:
        started = clock()
        mean_loss = _train_epoch(state, method, pairs, steps, bar)
        check_finite("train.rate", "the loss", mean_loss, f"at step {state.step}")
        state.check_weights("train.rate")
        state.seconds += clock() - started
        bar.set_postfix(loss=f"{mean_loss:.3f}")
        if is_main():
            images = state.step * settings.batch_size
            progress = {"epoch": state.epoch, "step": state.step, "images": images}
            run.log(kind="pretrain", **progress, loss=mean_loss, seconds=round(state.seconds, 3))
            _save(run, state, method)
    bar.close()
    wait()


def check_settings(settings: TrainConfig) -> None:
    """Raise ValueError naming a setting of supervised training that does not apply."""
    if settings.accumulate != 1:
        raise ValueError(f"train.accumulate: {WHOLE}")
    if settings.ema:
        raise ValueError(f"train.ema: {PLAIN}")
    check_batch("train.batch_size", settings.batch_size)


def _state(
    model: Classifier, method: SelfSupervised, settings: TrainConfig, pairs: ViewPairs
) -> TrainState:
    state = TrainState(model, settings, pairs.loop, train_classifier=False, heads=method.projector)
    if method.predictor is not None:
        rate = settings.rate
        state.optimizer.add_param_group(
            {
                "params": list(method.predictor.parameters()),
                "lr": rate,
                "initial_rate": rate,
                "constant": True,
            }
        )
    return state


def _restore(state: TrainState, method: SelfSupervised, run: Run) -> None:
    """Continue from the run's checkpoint, if there is one."""
    saved = state.restore(run)
    if saved is None:
        return
    try:
        method.load_state_dict(saved["method"])
    except (KeyError, TypeError, AttributeError, RuntimeError):
        raise ValueError(
            f"{run.checkpoint}: has not the layers of {method.title}; delete {run.folder} to begin "
            "it anew"
        ) from None


def _train_epoch(
    state: TrainState, method: SelfSupervised, pairs: ViewPairs, steps: int, bar: tqdm[Never]
) -> float:
    """Train until the end of the list, or of the ``steps`` in all; return the mean loss."""
    settings, loop, model = pairs.settings, pairs.loop, state.model
    count = min(pairs.steps_per_epoch, steps - state.step)
    total_loss = torch.zeros((), device=loop.device)
    model.train()
    method.train()

    def encode(images: Tensor) -> Tensor:
        return gather(forward(model, share(images), loop.compute)[0])

    for pair in pairs.epoch(state.epoch, count):
        state.step += 1
        factor = factor_at(state.step, steps, pairs.num_originals, settings)
        set_rate(state.optimizer, state.step, steps, factor)
        seed_network(loop.device, loop.seed, DROPOUT, state.step)
        state.optimizer.zero_grad()
        loss = method.loss(encode, *pair, seed_of(loop.seed, BATCH, state.step))
        state.backward(loss)
        state.take_step(settings.clip_norm)
        method.after_step(model)
        total_loss += loss.detach()
        bar.update(settings.batch_size)
    state.epoch += 1
    return float(total_loss) / count


def _save(run: Run, state: TrainState, method: SelfSupervised) -> None:
    progress: dict[str, Any] = {"step": state.step, "seconds": state.seconds}
    run.save_checkpoint({**state.state_dict(), "method": method.state_dict(), **progress})
