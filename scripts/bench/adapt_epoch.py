"""Seconds of one epoch of LEAD, split into refresh, training and evaluation.

    python scripts/bench/adapt_epoch.py [--images 1135] [--px 64] [--threads 1] [--epochs 3]

The pictures are noise: what is in them changes no time but k-means'. Every epoch counts C_t anew by
t-SNE, as every tenth does in a run, so both kinds of refresh are shown.
"""

from __future__ import annotations

import argparse
import platform
import time

import torch
from tqdm import tqdm

from uda.adapt import forward_all, train_epoch
from uda.config import ImageConfig
from uda.datasets import resize
from uda.methods.lead import Lead
from uda.model import build_model
from uda.optim import sgd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1135, help="size of the target")
    parser.add_argument("--px", type=int, default=64, help="side of the crop")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--epochs", type=int, default=3, help="epochs timed, after one to warm up")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sizes = ImageConfig(decode_px=128, resize_px=given.px * 8 // 7, crop_px=given.px)
    device = torch.device("cpu")
    model = build_model(given.backbone, "none", "bottleneck_wn", 256, 15)
    generator = torch.Generator().manual_seed(0)
    shape = (given.images, 3, 128, 128)
    resized = resize(
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator), sizes.resize_px
    )
    optimizer = sgd(model.backbone.parameters(), model.bottleneck.parameters(), 1e-3)
    trained = given.images // given.batch_size * given.batch_size
    seconds: dict[str, list[float]] = {
        "refresh, with C_t by t-SNE": [],
        "refresh, C_t kept": [],
        "training": [],
        "evaluation (and next bank)": [],
    }

    bank = forward_all(model, resized, sizes.crop_px, device)
    for epoch in range(given.epochs + 1):
        method = Lead(open_set=True)
        took = []
        for number in (0, 1):  # C_t is counted at epoch 0 of a method, and kept at epoch 1
            start = time.perf_counter()
            state = method.refresh(bank, number)
            took.append(time.perf_counter() - start)
        start = time.perf_counter()
        with tqdm(total=trained, desc="training", unit="img", leave=False, disable=None) as bar:
            train_epoch(model, resized, method, state, optimizer, sizes, 0, epoch,
                        given.epochs + 1, given.batch_size, device, bar)  # fmt: skip
        took.append(time.perf_counter() - start)
        start = time.perf_counter()
        bank = forward_all(model, resized, sizes.crop_px, device)
        took.append(time.perf_counter() - start)
        if epoch:
            for times, value in zip(seconds.values(), took, strict=True):
                times.append(value)

    print(
        f"{given.backbone}, {given.images} images, crop {given.px} px, {given.threads} threads, "
        f"torch {torch.__version__}, {platform.machine()}"
    )
    print(f"{'':28} {'seconds':>8} {'images/s':>9}   (fastest of {given.epochs})")
    for name, times in seconds.items():
        images = trained if name == "training" else given.images
        print(f"{name:28} {min(times):8.2f} {images / min(times):9.0f}")
    rest = [min(times) for name, times in seconds.items() if "t-SNE" not in name]
    print(f"{'epoch, C_t kept':28} {sum(rest):8.2f} {given.images / sum(rest):9.0f}")


if __name__ == "__main__":
    main()
