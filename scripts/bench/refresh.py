"""Measure seconds and peak memory of LEAD's refresh, and how they grow with the target.

python scripts/bench/refresh.py [--threads 1] [--sizes 1000 4000] [--clusters features tsne]

Features are Gaussian clusters around random means (twice as many as classes; seed 0). Each row is
measured in another process; `peak` is its largest resident memory, bank and libraries included,
and `above` what the refresh added to it. `CPU s` is the CPU time of that process alone, so other
jobs on the machine matter little: `^` is its growth as a power of N since the last size with
the same clusters, `t-SNE/this` the ratio to it of what a refresh with t-SNE takes at that size.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uda.methods.base import Bank

ROOT = Path(__file__).resolve().parents[2]
SIZES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 50_000)
SHAPE = (15, 256)  # K and D of the sizes: Office-Home under OPDA
LARGE = {"VisDA": (55_000, 9, 256), "DomainNet": (50_000, 200, 1_024)}
CLUSTERS = ("classes", "features", "spectral", "tsne")


def made_up_bank(count: int, num_classes: int, dim: int) -> Bank:
    """Return a `Bank` of ``count`` samples in 2K clusters, of which K are the classes."""
    import torch

    from uda.methods.base import Bank

    generator = torch.Generator().manual_seed(0)
    means = torch.randn(2 * num_classes, dim, generator=generator)
    weights = means[:num_classes] / dim**0.5
    features, probabilities = torch.empty(count, dim), torch.empty(count, num_classes)
    for start in range(0, count, 1_000):  # by blocks, so that making them is no peak of memory
        block = features[start : start + 1_000]
        cluster = torch.randint(len(means), (len(block),), generator=generator)
        block.normal_(std=2, generator=generator).add_(means[cluster])
        probabilities[start : start + 1_000] = (block @ weights.T).softmax(dim=1)
    return Bank(features, probabilities, weights)


def peak_mb() -> float:
    """Return the largest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the wall seconds of ``work``, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(count: int, num_classes: int, dim: int, clusters: str, threads: int) -> dict[str, Any]:
    """Measure the parts of a refresh, as `uda.methods.lead.Lead.refresh` runs them."""
    import torch

    from uda.methods import lead

    torch.set_num_threads(threads)
    lead.Lead(open_set=True, clusters=clusters).refresh(made_up_bank(200, 5, 16), 0)  # warms up
    bank = made_up_bank(count, num_classes, dim)
    before, cpu_before = peak_mb(), time.process_time()
    count_s, chosen = seconds(
        lambda: lead.estimate_num_clusters(bank.features, num_classes, None, clusters)
    )
    labels_s, pseudo = seconds(
        lambda: lead.pseudo_labels(bank.features, bank.probabilities, bank.class_weights, chosen)
    )
    state_s, _ = seconds(lambda: lead.start_state(bank, pseudo))
    after, cpu_after = peak_mb(), time.process_time()
    mixture_s, _ = seconds(lambda: lead._mixture(pseudo.unknown_norm))
    return {
        "chosen": chosen,
        "count": count_s,
        "mixture": mixture_s,
        "rest": max(labels_s - mixture_s, 0) + state_s,
        "all": count_s + labels_s + state_s,
        "cpu": cpu_after - cpu_before,
        "peak": after,
        "above": after - before,
    }


def measured_apart(shape: tuple[int, int, int], clusters: str, threads: int) -> dict[str, Any]:
    """Return what `measure` returns in another process."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": str(ROOT)}
    job = json.dumps([*shape, clusters, threads])
    command = [sys.executable, __file__, "--measure", job]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def show(
    name: str, shape: tuple[int, int, int], clusters: str, row: dict[str, Any], growth: float,
    ratio: float,
) -> None:  # fmt: skip
    """Print a row; ``growth`` and ``ratio`` not where they are NaN."""
    parts = "".join(f"{row[key]:11.2f}" for key in ("count", "mixture", "rest", "all", "cpu"))
    print(
        f"{name:>10}{shape[0]:8,}{shape[1]:5}{shape[2]:6,}  {clusters:9}{row['chosen']:5}{parts}"
        f"{row['peak']:9,.0f}{row['above']:8,.0f}"
        + (" " * 7 if math.isnan(growth) else f"{growth:7.2f}")
        + ("" if math.isnan(ratio) else f"{ratio:11.0f}x"),
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="N, with K=15, D=256")
    parser.add_argument("--large", nargs="*", choices=LARGE, default=list(LARGE))
    parser.add_argument("--clusters", nargs="+", choices=CLUSTERS, default=CLUSTERS)
    parser.add_argument("--tsne-up-to", type=int, default=4_000, help="largest N for t-SNE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="the fastest counts")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))
        return
    print(
        f"{'':10}{'N':>8}{'K':>5}{'D':>6}  {'clusters':9}{'C_t':>5}{'C_t s':>11}{'mixture s':>11}"
        f"{'the rest s':>11}{'all s':>11}{'CPU s':>11}{'peak MB':>9}{'above':>8}{'^':>7}"
        f"{'t-SNE/this':>12}"
    )
    shapes = [("", (size, *SHAPE)) for size in options.sizes]
    shapes += [(name, LARGE[name]) for name in options.large]
    last: dict[str, tuple[int, float]] = {}
    for name, shape in shapes:
        rows: dict[str, dict[str, Any]] = {}
        for _ in range(options.rounds):
            for clusters in options.clusters:
                if clusters == "tsne" and shape[0] > options.tsne_up_to:
                    continue
                row = measured_apart(shape, clusters, options.threads)
                rows[clusters] = min(rows.get(clusters, row), row, key=lambda row: row["cpu"])
        for clusters, row in rows.items():
            growth = ratio = math.nan
            if not name and clusters in last:
                size, taken = last[clusters]
                growth = math.log(row["cpu"] / taken) / math.log(shape[0] / size)
            if "tsne" in rows:
                ratio = rows["tsne"]["cpu"] / row["cpu"]
            last[clusters] = (shape[0], row["cpu"])
            show(name, shape, clusters, row, growth, ratio)


if __name__ == "__main__":
    main()
