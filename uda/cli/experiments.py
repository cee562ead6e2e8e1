"""The commands that take an experiment: train, adapt, pretrain, sweep and run."""

from __future__ import annotations

from uda.cli.command import Command
from uda.config import CONFIGS, Experiment


def train(experiment: Experiment) -> None:
    """Train a source model, or an in-domain classifier without a scenario."""
    from uda.stages.source import train

    train(experiment)


def adapt(experiment: Experiment) -> None:
    """Adapt a source model to the target, and score it after every epoch."""
    from uda.stages.target import adapt

    adapt(experiment)


def pretrain(experiment: Experiment) -> None:
    """Train a backbone on a domain's pictures without labels: MoCo v2 or SimSiam.

    Writes its weights, from which `uda train --model.weights FILE` starts; `uda probe` scores it.
    """
    from uda.stages.pretrain import pretrain

    pretrain(experiment)


def sweep(
    experiment: Experiment,
    workers: int = 1,
    cpus_per_run: float | None = None,
    gpus_per_run: float | None = None,
    address: str = "",
    dry_run: bool = False,
) -> None:
    """Run every pair, method, augmentation and seed of an experiment (its `sweep` section).

    First says how many runs are missing, and makes only those.

    Args:
        workers: Runs at a time on this machine, by Ray; 1 makes them in this process.
        cpus_per_run: Cores that each run takes, and its threads; a share of this machine's, or one
            on a cluster, unless given.
        gpus_per_run: GPUs that each run takes, or a fraction; a share of this machine's, or one on
            a cluster with GPUs, unless given.
        address: Ray cluster that makes the runs: auto, or HOST:PORT.
        dry_run: Only say what would be run.
    """
    from uda.sweeps.engine import Engine
    from uda.sweeps.sweep import sweep

    sweep(experiment, Engine(workers, cpus_per_run, gpus_per_run, address), dry_run)


def run(experiment: Experiment, *, source: str, target: str, target_labels: str = "auto") -> None:
    """Train on your folder of pictures, adapt to another, and answer for its pictures.

    The first holds a folder for each class, the second pictures with labels or without. Starts
    from configs/experiments/own_folders.yaml; every option can be changed.

    Args:
        source: Folder of class folders.
        target: Folder of pictures to adapt to.
        target_labels: folders: the target's folders are classes; none: they mean nothing; auto:
            folders if any is named like a class of the source. Labels are for the scenario and the
            scores.
    """
    from uda.inference.own_folders import run

    run(experiment, source, target, target_labels)


COMMANDS = (
    Command(
        train,
        "train a source model, or an in-domain classifier",
        several_processes=True,
    ),
    Command(adapt, "adapt a source model to the target", several_processes=True),
    Command(pretrain, "train a backbone without labels", several_processes=True),
    Command(sweep, "run a whole experiment, or what is missing of it"),
    Command(
        run,
        "train, adapt and answer for pictures: your two folders",
        several_processes=True,
        base=CONFIGS / "experiments" / "own_folders.yaml",
    ),
)
