"""Measure a training step with torch's depthwise convolutions and with ours, in turns.

python scripts/bench/depthwise.py [--px 64] [--rounds 9]

CPU seconds of one thread for a step of 32 images of EfficientNet-lite0, medians over the rounds;
the ratio is the median of the rounds' ratios. ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
before the command shows what a processor without AVX-512 would take. First says how far the
gradients of the two are apart, relative to the largest.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from torch.nn import functional as F

from uda.compute.cpu import keep_freed_memory, overwrite_in_relu6
from uda.compute.depthwise import replace_depthwise
from uda.models.classifier import Classifier, build_model


def network(px: int, ours: bool) -> Classifier:
    """Return the network, in training mode."""
    model = build_model("efficientnet_lite0", "none", "bottleneck_wn", 256, 15, crop_px=px)
    overwrite_in_relu6(model)
    if ours:
        replace_depthwise(model)
    return model.train()


def step(model: Classifier, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the CPU seconds of forward and backward pass."""
    model.zero_grad()
    start = time.process_time()
    F.cross_entropy(model(images)[1], labels).backward()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="A step with torch's depthwise layers and ours.")
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    images = torch.rand(32, 3, args.px, args.px).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 15, (32,))
    theirs, ours = network(args.px, ours=False), network(args.px, ours=True)
    for model in (theirs, ours):
        step(model, images, labels)
    pairs = zip(theirs.parameters(), ours.parameters(), strict=True)
    apart = max(float((a.grad - b.grad).abs().max() / a.grad.abs().max()) for a, b in pairs)
    print(f"gradients differ by at most {apart:.1e}")
    times = [(step(theirs, images, labels), step(ours, images, labels)) for _ in range(args.rounds)]
    plain, quick = (median(column) for column in zip(*times, strict=True))
    ratio = median(b / a for a, b in times)
    print(f"torch's {plain:.3f} s, ours {quick:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
