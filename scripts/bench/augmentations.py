"""Time each augmentation: images a second of the data alone, and A_O of a training run.

python scripts/bench/augmentations.py [--rounds 9] [--batch 32] [--backbone efficientnet_lite0]

GenMix's augmentation overhead (its Section 6.3) is A_O = (T_aug - T_van) / T_van, T being the time
of training. Here T is CPU time of a step on a single thread: the data (augmentation, resize, crop,
mix) and the network's step at 64 px, of pictures decoded to 128 px. Augmentations take turns in
each round, and medians count, so other jobs on the machine matter little. The network's step is
that of `none`, except for augmentations that act in the network (Manifold Mixup). What is made
before training (GenMix's edits, fractals) is timed apart. What looks at the network does so in the
data's time. GenMix augments half of the list (m = 1).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from genmix_aug.mixing.fractals import draw_fractals
from uda.augment import AUGMENTATIONS, title_of_augmentation
from uda.augment.base import Augmentation
from uda.augment.look import Look
from uda.augment.none import NoAugmentation
from uda.compute.cpu import keep_freed_memory
from uda.compute.devices import forward, move_to_device
from uda.compute.optim import sgd
from uda.config import DEFAULT_COMPUTE
from uda.data.pixels import resize
from uda.data.views import draw_views, to_float, views
from uda.models.classifier import Classifier, build_model
from uda.training.look import NetworkLook
from uda.training.source_batches import smoothed_targets
from uda.training.train import soft_cross_entropy

DECODE_PX, RESIZE_PX, CROP_PX, CLASSES = 128, 73, 64, 57
BATCHES = 8  # of a round: some mix only a part of them
CPU = torch.device("cpu")


def make_batch(
    augmentation: Augmentation,
    images: Tensor,
    resized: Tensor,
    labels: Tensor,
    seed: int,
    look: Look,
) -> tuple[Tensor, Tensor]:
    """Make a batch as `uda.training.train` does."""
    batch, count = resized.clone(), len(images)
    share = 1.0 if augmentation.every_image else 0.5 if augmentation.copies else 0.0
    if some := round(share * count):
        numbers = list(range(some))
        changed = augmentation.images(images[:some], numbers, [seed + k for k in numbers])
        batch[:some] = resize(changed, RESIZE_PX)
    draws = draw_views(count, RESIZE_PX - CROP_PX, True, (seed,))
    x = to_float(views(batch, CROP_PX, draws), CPU)
    return augmentation.batch_by_look(x, smoothed_targets(labels, CLASSES, 0.1), seed, look)


def stepper(model: Classifier) -> Callable[[Augmentation, Tensor, Tensor, int], None]:
    """Return a function that makes a training step of the network."""
    head = [*model.bottleneck.parameters(), *model.classifier.parameters()]
    optimizer = sgd(model.backbone.parameters(), head, 1e-4)

    def step(augmentation: Augmentation, x: Tensor, y: Tensor, seed: int) -> None:
        with augmentation.within(model, len(x), seed):
            loss = soft_cross_entropy(forward(model, x)[1], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds(run: Callable[[], object]) -> float:
    """Return the CPU time that ``run`` takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print a row for each augmentation."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=9, help="the median counts")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed_memory()
    images = draw_fractals(options.batch, DECODE_PX, seed=1)
    resized = resize(images, RESIZE_PX)
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, CLASSES, options.batch))
    model = build_model(options.backbone, "none", "bottleneck_wn", 256, CLASSES, 0, CROP_PX)
    move_to_device(model, CPU, DEFAULT_COMPUTE)
    step = stepper(model.train())
    look = NetworkLook(model, DEFAULT_COMPUTE)

    names = [f"{number}.png" for number in range(options.batch)]
    augmentations, before = {}, {}
    for name, factory in AUGMENTATIONS.items():
        augmentation = augmentations[name] = factory()
        with tempfile.TemporaryDirectory() as store:
            before[name] = seconds(
                lambda made=augmentation, store=store: made.prepare(images, names, Path(store), 0)
            )
    # The others leave the network's step as `none` has it.
    inside = [n for n, a in augmentations.items() if type(a).within is not NoAugmentation.within]
    data: dict[str, list[float]] = {name: [] for name in augmentations}
    network: dict[str, list[float]] = {name: [] for name in ["none", *inside]}
    for number in range(options.rounds + 1):
        for name, augmentation in augmentations.items():
            made = []
            took = seconds(
                lambda augmentation=augmentation, made=made, number=number: made.extend(
                    make_batch(augmentation, images, resized, labels, 1000 * number + batch, look)
                    for batch in range(BATCHES)
                )
            )
            if number:  # the first round warms up
                data[name].append(took / BATCHES)
            if name in network:
                x, y = made[0]
                took = seconds(
                    lambda augmentation=augmentation, x=x, y=y, number=number: step(
                        augmentation, x, y, 1000 * number
                    )
                )
                if number:
                    network[name].append(took)

    plain = statistics.median(data["none"]), statistics.median(network["none"])
    print(
        f"{options.backbone}, {CROP_PX} px, batch {options.batch}, one thread; a step without "
        f"augmentation {1000 * sum(plain):.0f} ms"
    )
    print(f"{'':<18}{'data, images/s':>16}{'own, ms/image':>15}{'A_O':>9}{'before, ms/image':>18}")
    for name in augmentations:
        data_s = statistics.median(data[name])
        more = data_s - plain[0]
        overhead = more
        if name in network:
            overhead += statistics.median(network[name]) - plain[1]
        print(
            f"{title_of_augmentation(name):<18}{options.batch / data_s:>16,.0f}"
            f"{1000 * more / options.batch:>15.2f}{100 * overhead / sum(plain):>8.1f}%"
            f"{1000 * before[name] / options.batch:>18.1f}"
        )


if __name__ == "__main__":
    main()
