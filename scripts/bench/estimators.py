"""Compare ways of choosing C_t: the number, its seconds, the pseudo-labels and the H-score.

python scripts/bench/estimators.py configs/experiments/emoji_home_opda.yaml \
    runs/train-Tw-opda-none-s0-* runs/train-No-opda-none-s1-* --targets Fluent3D OpenMoji

For each finished source run and target, and for each way: C_t and the seconds it took on the
source model's bank, the pseudo-labels made with it (share of shared pictures with the right class,
share of private pictures called unknown), and the score of `uda adapt` in its last epoch: the
H-score, or under PDA the accuracy. Finished runs are not repeated; `--look` adapts nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from uda.data.partition import target_items
from uda.data.pixels import labels_of
from uda.data.scenarios import ClassSplit, class_split
from uda.data.spec import load_dataset_spec
from uda.methods.base import Bank
from uda.methods.clusters import CLUSTERS, estimate_num_clusters
from uda.methods.lead import pseudo_labels
from uda.runs.folder import Run, read_run
from uda.stages.build import Task
from uda.stages.identity import experiment_of


def source_bank(run: Run, target: str, root: str) -> tuple[Bank, np.ndarray, ClassSplit]:
    """Return the source model's bank of ``target``, the labels [N] and the classes."""
    experiment = experiment_of(run, target, root)
    spec = load_dataset_spec(experiment.data.dataset, experiment.data.root)
    split = class_split(spec, experiment.data.scenario)
    task = Task(experiment, spec, split, run)
    items = target_items(experiment, spec, split)
    target, items = task.pixels.unlabelled(items, experiment.images.decode_px)
    images = task.pixels.resize(target.images, experiment.images.resize_px)
    bank = task.bank(task.model(run.checkpoint), images)
    return bank, labels_of(items, split.number), split


def look(bank: Bank, labels: np.ndarray, split: ClassSplit, clusters: str) -> list[float]:
    """Return C_t, its seconds, and the pseudo-labels' shares in % (NaN without such pictures)."""
    num_classes = len(bank.class_weights)
    start = time.perf_counter()
    chosen = estimate_num_clusters(bank.features, num_classes, clusters=clusters)
    seconds = time.perf_counter() - start
    pseudo = pseudo_labels(bank.features, bank.probabilities, bank.class_weights, chosen)
    predicted = pseudo.label.numpy()
    shared, private = labels < len(split.shared), labels >= num_classes
    known = 100 * (predicted == labels)[shared].mean() if shared.any() else np.nan
    unknown = 100 * (predicted == num_classes)[private].mean() if private.any() else np.nan
    return [chosen, seconds, float(known), float(unknown)]


def adapted_score(
    config: str, run: Run, target: str, root: str, clusters: str, runs: str, threads: int
) -> float:
    """Adapt ``run``'s model with C_t chosen that way; return H-score, under PDA accuracy."""
    data = run.config["data"]
    flags = {
        "data.source": data["source"],
        "data.target": target,
        "data.scenario": data["scenario"],
        "data.root": root,
        "seed": run.config["seed"],
        "adapt.method": "lead",
        "adapt.checkpoint": run.checkpoint,
        "adapt.options.lead.clusters": clusters,
        "runs": runs,
        "threads": threads,
    }
    command = [sys.executable, "-m", "uda.cli", "adapt", config]
    command += [f"--{name}={value}" for name, value in flags.items() if value != ""]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    last = read_run(Path(done.stdout.splitlines()[-1])).metrics("evaluate")[-1]
    return last["accuracy"] if data["scenario"] == "pda" else last["h_score"]


def rows(options: argparse.Namespace) -> Iterator[tuple[str, str, list[float]]]:
    """Yield the name of source run and target, the way, and its figures."""
    for folder in options.source_runs:
        run = read_run(Path(folder))
        if not run.is_done or run.config["stage"] != "train":
            raise SystemExit(f"{folder}: not a finished run of `uda train`")
        for target in options.targets:
            if target == run.config["data"]["source"]:
                continue
            bank, labels, split = source_bank(run, target, options.root)
            for clusters in options.clusters:
                figures = look(bank, labels, split, clusters)
                if not options.look:
                    figures.append(
                        adapted_score(
                            options.config,
                            run,
                            target,
                            options.root,
                            clusters,
                            options.runs,
                            options.threads,
                        )
                    )
                yield f"{run.folder.name.rsplit('-', 1)[0]} → {target}", clusters, figures


def main() -> None:
    """Print a row for each pair and way, and the means of each way."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", help="the experiment's YAML file")
    parser.add_argument("source_runs", nargs="+", help="folders of finished source runs")
    parser.add_argument("--targets", nargs="+", required=True)
    parser.add_argument("--clusters", nargs="+", choices=CLUSTERS, default=CLUSTERS)
    parser.add_argument("--root", default="", help="the dataset's folder, if not the usual")
    parser.add_argument("--runs", default="runs/estimators", help="where adapted runs go")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--look", action="store_true", help="pseudo-labels only, nothing adapted")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    heads = ("C_t", "seconds", "known %", "unknown %") + (() if options.look else ("score",))
    print(f"{'':36}{'clusters':10}" + "".join(f"{head:>10}" for head in heads))
    of_way: dict[str, list[list[float]]] = {}
    for name, clusters, figures in rows(options):
        of_way.setdefault(clusters, []).append(figures)
        print(f"{name:36}{clusters:10}" + "".join(f"{x:10.1f}" for x in figures), flush=True)
    for clusters, all_figures in of_way.items():
        means = "".join(f"{mean(column):10.1f}" for column in zip(*all_figures, strict=True))
        print(f"{'mean':36}{clusters:10}{means}")


if __name__ == "__main__":
    main()
