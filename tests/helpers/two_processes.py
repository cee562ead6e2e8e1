"""What tests/compute/test_distributed.py computes in a single process and, by torchrun, in two.

``torchrun --nproc_per_node 2 tests/helpers/two_processes.py DATASET FOLDER`` writes what each rank
computes to FOLDER/0.pt and FOLDER/1.pt.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from helpers.training import CPU, SIZES, Killed, labelled, tiny_model, unlabelled
from timm.layers import BatchNormAct2d
from torch import nn

from uda.augment.none import NoAugmentation
from uda.compute import distributed as processes
from uda.compute.batch_norm import synchronise
from uda.config import (
    AdaptConfig,
    DataConfig,
    Experiment,
    ModelConfig,
    TrainConfig,
)
from uda.methods import METHODS
from uda.methods.base import Method
from uda.methods.joint import JointMethod
from uda.methods.lead import Lead
from uda.methods.rrda import OBJECTIVES, Rrda
from uda.runs.folder import Run, open_run
from uda.stages.build import fit_classifier
from uda.stages.source import train as train_stage
from uda.stages.target import adapt as adapt_stage
from uda.training import adapt, train
from uda.training.bank import forward_all
from uda.training.source_batches import SourceBatches
from uda.training.state import Loop

ADAPTING = AdaptConfig(epochs=3, batch_size=8)
JOINT = AdaptConfig(epochs=3, epoch_steps=5, batch_size=8)  # more steps than a pass has
TRAINING = TrainConfig(steps=12, batch_size=8)
JOINT_METHODS = sorted(name for name in METHODS if issubclass(METHODS[name], JointMethod))
LAYERS = {
    "plain": (nn.BatchNorm2d(3, momentum=None), (8, 3, 5, 4)),
    "activated": (BatchNormAct2d(3), (8, 3, 5, 4)),
    "flat": (nn.BatchNorm1d(5, eps=1e-3), (8, 5)),
    "unscaled": (nn.BatchNorm1d(5, affine=False), (8, 5)),
}


class Tinted(NoAugmentation):
    """Makes copies brighter by their seeds, and mixes a batch with its reverse."""

    copies = True

    def images(self, images, ids, seeds):
        shift = torch.tensor([seed % 50 for seed in seeds], dtype=torch.uint8)
        return images // 2 + shift[:, None, None, None]

    def batch(self, images, targets, seed):
        share = 0.5 + (seed % 100) / 200
        return (
            share * images + (1 - share) * images.flip(0),
            share * targets + (1 - share) * targets.flip(0),
        )


def adapted(dataset, folder, kill_at=None, settings=ADAPTING, objective=""):
    """Adapt by LEAD, or by RRDA with an ``objective``, in ``folder``, or continue it.

    Returns the weights of the network and of the method's own layers.
    """

    def after_epoch(epoch, bank):
        if epoch == kill_at:
            raise Killed
        run.log(kind="evaluate", epoch=epoch, confidence=float(bank.probabilities.amax(1).mean()))
        return ""

    model, run = tiny_model(3), open_run(folder, f"adapt{objective}", {})
    method: Method = Lead(open_set=True, clusters="features")
    if objective:
        method = Rrda(open_set=True, objective=objective, steps=20)
    adapt.adapt(model, unlabelled(dataset), method, settings, run, Loop(SIZES, 0, CPU), after_epoch)
    return model.state_dict() | weights_of_heads(method)


def weights_of_heads(method):
    return {f"heads.{name}": value for name, value in method.heads.state_dict().items()}


def joint(dataset, folder, name, kill_at=None):
    """Adapt by a method that learns from `Tinted` copies of the source, too, or continue it.

    Returns the weights of the network and of the method's own layers.
    """

    def after_epoch(epoch, bank):
        if epoch == kill_at:
            raise Killed
        return ""

    model, run = tiny_model(5), open_run(folder, name, {})
    method, loop = METHODS[name](open_set=True), Loop(SIZES, 0, CPU)
    fit_classifier(model, method)
    settings = replace(TRAINING, label_smoothing=0.0)
    source = SourceBatches(labelled(dataset), Tinted(), 1, 5, settings, loop, balanced=True)
    target = unlabelled(dataset)
    adapt.adapt(model, target, method, JOINT, run, loop, after_epoch, source)
    return model.state_dict() | weights_of_heads(method)


def trained(dataset, folder):
    """Train on `Tinted` copies; return the weights and the counts of images seen."""
    model, run = tiny_model(5), open_run(folder, "train", {})
    data = labelled(dataset)
    seen = train.train(model, data, Tinted(), 1, TRAINING, run, Loop(SIZES, 0, CPU))
    return model.state_dict(), seen.counts()


def stages_in_turn(dataset, folder):
    """Return whether each stage's run is done when the stage returns, although marking is slow."""
    experiment = Experiment(
        data=DataConfig(str(dataset), source="Plain", target="Dark", scenario="opda"),
        images=SIZES,
        model=ModelConfig("timm:test_efficientnet", "none", bottleneck_dim=16),
        train=TrainConfig(steps=2, batch_size=8),
        adapt=AdaptConfig("source_only"),
        runs=str(folder),
        device="cpu",
    )
    mark_done, done = Run.mark_done, []

    def slowly(run):
        time.sleep(0.5)
        mark_done(run)

    with mock.patch.object(Run, "mark_done", slowly):
        for number, stage in enumerate((train_stage, adapt_stage), 1):
            stage(experiment)
            done.append(len(list(folder.glob("*/done"))) == number)
            processes.wait()
    return done


def bank_of(images):
    bank = forward_all(tiny_model(3), images, 28, CPU)
    return bank.features, bank.probabilities


def many_images(count):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def normalised(name):
    """Return output, gradients and running statistics of a BatchNorm layer, in float64.

    The gradients are of a loss of the whole batch, of which each process brings its share.
    """
    layer, shape = LAYERS[name]
    torch.manual_seed(0)
    for parameter in layer.double().parameters():
        nn.init.normal_(parameter)
    x = torch.randn(shape, dtype=torch.float64) * 3 + 2
    if isinstance(layer, BatchNormAct2d):
        synchronise(holder := nn.Sequential(layer), CPU)
    else:
        synchronise(holder := nn.ModuleList([layer]), CPU)
    rows = processes.share(x).clone().requires_grad_()
    y = processes.gather(holder[0](rows))
    (y.sin() * torch.arange(y.numel(), dtype=torch.float64).view_as(y)).sum().backward()
    processes.sum_gradients(layer.parameters())
    return {
        "output": y.detach(),
        "input": processes.gather(rows.grad),
        **{key: p.grad for key, p in layer.named_parameters()},
        **{f"state {key}": value for key, value in layer.state_dict().items()},
    }


def error_of(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ValueError as error:
        return str(error)
    return ""


def main(dataset, folder):
    torch.set_num_threads(1)
    processes.join("cpu")
    rank = processes.rank()
    results = {
        "count": processes.count(),
        "drawn": processes.from_main(lambda: {"rank": rank, "x": torch.full((2,), rank)}, CPU),
        "layers": {name: normalised(name) for name in LAYERS},
        "banks": {count: bank_of(many_images(count)) for count in (5, 300)},
        "adapted": adapted(dataset, folder / "two"),
        "resumed": adapted(dataset, folder / "killed"),
        "rrda": {name: adapted(dataset, folder / "two", objective=name) for name in OBJECTIVES},
        "trained": trained(dataset, folder / "two"),
        "joint": {name: joint(dataset, folder / "two", name) for name in JOINT_METHODS},
        "resumed joint": {name: joint(dataset, folder / "killed", name) for name in JOINT_METHODS},
        "stages": stages_in_turn(dataset, folder / "stages"),
        "odd adapt": error_of(adapted, dataset, folder / "odd", settings=AdaptConfig(batch_size=9)),
        "odd train": error_of(processes.check_batch, "train.batch_size", 7),
    }
    torch.save(results, folder / f"{rank}.pt")
    processes.finish()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
