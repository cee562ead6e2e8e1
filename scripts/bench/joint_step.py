"""Measure what methods that see source pictures add to a step of the network, and DANCE's memory.

python scripts/bench/joint_step.py [--rounds 9] [--target 9000]

CPU milliseconds of one thread, medians over the rounds: losses, their gradients to the features,
and what follows the optimiser's step, on made-up features of 64 pictures of each domain (256
dimensions, 15 classes), without the network. `plain` is the same with DANCE's whole memory made
unit again after every step, as released; the results are the same. For comparison, a step of
LEAD on a bank of the target. UniOT looks for common classes, as it does after 101 steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.methods import METHODS
from uda.methods.base import Bank, Batch
from uda.methods.dance import Dance
from uda.methods.joint import JointMethod
from uda.methods.lead import Lead
from uda.models.classifier import CosineClassifier

BATCH, DIM, CLASSES = 64, 256, 15


class PlainDance(Dance):
    """DANCE, whose whole memory is made unit again after every step."""

    def after_step(self, source: Batch, target: Batch) -> None:
        """Do what `Dance` does, and then that."""
        super().after_step(source, target)
        self.memory["features"] = F.normalize(self.memory["features"], dim=1)


def batch(classifier: CosineClassifier, rows: Tensor, targets: Tensor | None) -> Batch:
    """Return a batch of random features, with gradients."""
    features = torch.randn(BATCH, DIM, requires_grad=True)
    views = tuple(torch.randn(BATCH, DIM) for _ in range(5)) if targets is not None else ()
    return Batch(features, classifier(features), rows, targets, views)


def joint_step(method: JointMethod, classifier: CosineClassifier, bank: Bank) -> Callable[[], Any]:
    """Return what makes a step of ``method``."""
    method.build(classifier, len(bank.features), 0)
    if hasattr(method, "step"):
        method.step = 2_000
    labels = torch.arange(len(bank.features)) % CLASSES
    method.see_source(bank, labels, labels)  # as if the bank were the source's, too
    state = method.refresh(bank, 0)
    targets = F.one_hot(torch.arange(BATCH) % CLASSES, CLASSES).float()

    def step() -> None:
        source = batch(classifier, torch.arange(BATCH), targets)
        target = batch(classifier, torch.randperm(len(bank.features))[:BATCH], None)
        losses = method.joint_loss(source, target, state)
        torch.stack(list(losses.values())).sum().backward()
        method.after_step(source, target)

    return step


def lead_step(classifier: CosineClassifier, bank: Bank) -> Callable[[], Any]:
    """Return what makes a step of LEAD."""
    method = Lead(open_set=True, clusters="classes")
    state = method.refresh(bank, 0)

    def step() -> None:
        target = batch(classifier, torch.randperm(len(bank.features))[:BATCH], None)
        torch.stack(list(method.loss(target, state).values())).sum().backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description="Steps of methods that see source pictures.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--target", type=int, default=9_000, help="pictures of the target")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    classifier = CosineClassifier(torch.randn(CLASSES, DIM), 0.1)
    features = torch.randn(args.target, DIM)
    bank = Bank(features, classifier(features).softmax(dim=1).detach(), classifier.weight.detach())
    methods = [kind(open_set=True) for kind in METHODS.values() if issubclass(kind, JointMethod)]
    steps = {m.title: joint_step(m, classifier, bank) for m in methods}
    steps["DANCE, plain"] = joint_step(PlainDance(open_set=True), classifier, bank)
    steps["LEAD"] = lead_step(classifier, bank)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(args.rounds + 1):  # the first is none that counts
        for name, step in steps.items():
            start = time.process_time()
            step()
            if round_number:
                times[name].append(1e3 * (time.process_time() - start))
    print(f"{'':16}{'ms a step':>10}{'times LEAD':>12}")
    for name, values in times.items():
        print(f"{name:16}{median(values):10.1f}{median(values) / median(times['LEAD']):12.2f}")


if __name__ == "__main__":
    main()
