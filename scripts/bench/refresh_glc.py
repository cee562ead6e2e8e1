"""Measure GLC's refresh with C_t known, by each k-means, and what `samples_per_centroid` saves.

python scripts/bench/refresh_glc.py [--threads 1] [--sizes 4000,65,256,65 …] [--samples 0 32]
    [--kmeans torch faiss]

A size is N, K, D and C_t. The banks are those of refresh.py. `CPU s` is CPU time;
`above` is what the refresh added to the largest resident memory, in MB; `same` the share of
pseudo-labels that are those of the first row of the size.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

import torch
from refresh import made_up_bank, peak_mb

from uda.methods.glc import KMEANS, pseudo_labels

SIZES = ("1135,15,256,15", "4000,65,256,65", "55000,9,256,9")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="N,K,D,C_t")
    parser.add_argument("--samples", nargs="+", type=int, default=(0, 256, 32), help="0 for all")
    parser.add_argument("--kmeans", nargs="+", choices=KMEANS, default=("torch", "faiss"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{'N':>7}{'K':>5}{'D':>6}{'C_t':>5}{'k-means':>9}{'samples':>9}{'CPU s':>9}{'above':>7}"
        f"{'same':>8}"
    )
    for size in options.sizes:
        count, num_classes, dim, num_clusters = map(int, size.split(","))
        bank, first = made_up_bank(count, num_classes, dim), None
        for kmeans, samples in product(options.kmeans, options.samples):
            before, start = peak_mb(), time.process_time()
            pseudo = pseudo_labels(
                bank.features,
                bank.probabilities,
                num_clusters,
                samples_per_centroid=samples,
                kmeans=kmeans,
            )
            spent, above = time.process_time() - start, peak_mb() - before
            first = pseudo.label if first is None else first
            same = 100 * (pseudo.label == first).double().mean().item()
            print(
                f"{count:7,}{num_classes:5}{dim:6,}{num_clusters:5}{kmeans:>9}{samples:9}"
                f"{spent:9.2f}{above:7.0f}{same:7.1f}%",
                flush=True,
            )


if __name__ == "__main__":
    main()
