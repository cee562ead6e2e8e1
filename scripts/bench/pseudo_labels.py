"""Score what LEAD trains on, epoch by epoch: its pseudo-labels beside the model's predictions.

python scripts/bench/pseudo_labels.py runs/lead-Tw2Fl-opda-* runs/lead-No2Om-opda-*

For finished LEAD runs under OPDA or OSDA that kept their banks. A row an epoch, in percent: the
model's H-score, its known and unknown accuracy, its accuracy on shared classes if nothing is
rejected, the AUROC for private pictures of the entropy, of the norm u and of the cosine
(`uda.methods.lead.unknown_part`), and the H-score, known and unknown accuracy of the pseudo-labels
that the next epoch trains on. Banks are kept in float16, so that a picture at a threshold may fall
on its other side.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.evaluation.metrics import open_set_scores, per_class_accuracy, unknown_auroc
from uda.methods.base import Bank
from uda.methods.clusters import estimate_num_clusters
from uda.methods.lead import Lead, unknown_part
from uda.runs.folder import Run, read_run
from uda.stages.identity import experiment_of
from uda.stages.options import method_of
from uda.training.bank import read_bank

COLUMNS = ("H", "known", "unk", "closed", "ent", "norm", "cos", "PL H", "PL known", "PL unk")


def true_labels(run: Run) -> np.ndarray:
    """Return the labels [N] that the run's answers were scored by."""
    answers = run.predictions()
    if answers is None:
        raise SystemExit(f"{run.folder}: no answers")
    return answers["true_label"]


def epochs_of(run: Run) -> Iterator[tuple[int, list[float]]]:
    """Yield the epoch and the values of COLUMNS of each of the run's banks."""
    experiment = experiment_of(run, "", "")
    split = class_split(load_dataset_spec(experiment.data.dataset), experiment.data.scenario)
    shared, source = len(split.shared), len(split.source_classes)
    labels = true_labels(run)
    method = method_of(experiment)
    if not isinstance(method, Lead):
        raise ValueError(f"{run.folder}: not a run of LEAD")
    for epoch in range(experiment.adapt.epochs + 1):
        bank = read_bank(run, epoch)
        state = method.refresh(bank, epoch)
        prediction = method.predict(bank)
        answers = open_set_scores(labels, prediction.label.numpy(), shared, source)
        pseudo = open_set_scores(labels, state.pseudo.label.numpy(), shared, source)
        closed = per_class_accuracy(labels, bank.probabilities.argmax(dim=1).numpy(), shared)
        z = F.normalize(bank.features, dim=1)
        parts = [unknown_part(z, bank.class_weights, split) for split in ("norm", "cosine")]
        aurocs = [
            unknown_auroc(labels >= source, score.numpy())
            for score in (prediction.unknown_score, *parts)
        ]
        yield (
            epoch,
            [
                *(answers.h_score, answers.known_acc, answers.unknown_acc),
                float(np.nanmean(closed)),
                *aurocs,
                *(pseudo.h_score, pseudo.known_acc, pseudo.unknown_acc),
            ],
        )


def teachers(bank: Bank, labels: np.ndarray, shared: int) -> Iterator[tuple[str, str, float]]:
    """Yield split, C_t and H-score of each way of making pseudo-labels from ``bank``."""
    num_classes = len(bank.class_weights)
    for split in ("norm", "cosine"):
        for clusters in ("tsne", "classes", "spectral"):
            count = estimate_num_clusters(bank.features, num_classes, clusters=clusters)
            method = Lead(open_set=True, split=split, clusters=clusters)
            method.num_clusters = count
            predicted = method.refresh(bank, 1).pseudo.label.numpy()
            score = open_set_scores(labels, predicted, shared, num_classes).h_score
            yield split, f"{clusters} ({count})", score


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished LEAD runs")
    parser.add_argument("--last", action="store_true", help="the first and last epoch alone")
    parser.add_argument(
        "--teachers", action="store_true", help="the other ways of making pseudo-labels, before it"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for folder in options.runs:
        run = read_run(folder)
        if not run.is_done:
            raise SystemExit(f"{folder}: not finished")
        print(f"\n{folder.name}\n{'epoch':>5}" + "".join(f"{name:>9}" for name in COLUMNS))
        rows = list(epochs_of(run))
        for epoch, values in (rows[0], rows[-1]) if options.last else rows:
            print(f"{epoch:>5}" + "".join(f"{value:9.1f}" for value in values))
        if options.teachers:
            labels = true_labels(run)
            split = class_split(load_dataset_spec(run.dataset), run.scenario)
            for name, clusters, score in teachers(read_bank(run, 0), labels, len(split.shared)):
                print(f"pseudo-labels by {name}, C_t by {clusters}: H {score:.1f}")


if __name__ == "__main__":
    main()
