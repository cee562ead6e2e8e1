"""Measure passes without gradients: torch against ONNX Runtime, in turns.

python scripts/bench/passes.py [--threads 1] [--backbones efficientnet_lite0:64 resnet50:224]

`torch` and `ONNX Runtime` are images a CPU second, medians over the rounds; `times` is the median
of their ratio in each round. `export` are the CPU seconds that making the ONNX session takes: a set
of pictures pays it once. `differs` is the largest difference of a feature, relative to the largest.
Weights are random: they do not matter to the time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from uda.compute.devices import move_to_device
from uda.compute.passes import FEWEST_PIXELS, eval_pass
from uda.config import ComputeConfig
from uda.models.classifier import build_model

BACKBONES = ("efficientnet_lite0:64", "efficientnet_lite0:128", "resnet18:64", "resnet50:224")
CPU = torch.device("cpu")


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of ``work``."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(backbone: str, px: int, rounds: int) -> str:
    """Return a line of the table."""
    model = build_model(backbone, "none", "bottleneck_wn", 256, 15, crop_px=px)
    move_to_device(model, CPU, ComputeConfig())
    model.eval()
    count = max(8, 128 * 64**2 // px**2)
    images = torch.rand(count, 3, px, px).to(memory_format=torch.channels_last)
    start = time.process_time()
    by_onnx = eval_pass(model, FEWEST_PIXELS, px, CPU, ComputeConfig())
    export = time.process_time() - start
    by_torch = eval_pass(model, FEWEST_PIXELS, px, CPU, ComputeConfig(onnx=False))
    with torch.no_grad():
        ours, theirs = by_onnx(images)[0], by_torch(images)[0]  # the first pass is none that counts
        times = [
            (cpu_seconds(lambda: by_torch(images)), cpu_seconds(lambda: by_onnx(images)))
            for _ in range(rounds)
        ]
    torch_rate, onnx_rate = (count / median(column) for column in zip(*times, strict=True))
    ratio = median(slow / fast for slow, fast in times)
    differs = float((ours - theirs).abs().max() / theirs.abs().max())
    name = f"{backbone}, {px} px"
    return f"{name:28}{torch_rate:8.0f}{onnx_rate:14.0f}{ratio:8.2f}{export:10.2f} s{differs:11.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Passes by torch and by ONNX Runtime.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, metavar="NAME:PX")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{'':28}{'torch':>8}{'ONNX Runtime':>14}{'times':>8}{'export':>12}{'differs':>11}")
    for name in args.backbones:
        backbone, px = name.rsplit(":", 1)
        print(measure(backbone, int(px), args.rounds), flush=True)


if __name__ == "__main__":
    main()
