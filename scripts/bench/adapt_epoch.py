"""Time an epoch of LEAD: the plain way, and this project's.

    python scripts/bench/adapt_epoch.py [--images 1135] [--px 96] [--threads 1] [--rounds 3]
        [--backbone efficientnet_lite0] [--precision float32] [--contiguous]

The plain way is written here, after what released code of the field does: three passes over the
target an epoch (bank, training, evaluation), each of which decodes every picture from its file and
makes both of its views, clean and random, by torchvision's transforms in a DataLoader; the network
is in the default layout and in float32. Our way calls the functions of `uda`; precision and layout
are flags of it. Both start from the same weights; that they compute the same is checked first.

The ways take turns, epoch by epoch, each in a process that sleeps while the other works. C_t is
kept: `refresh.py` times its estimate, which every tenth epoch makes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from tqdm import tqdm

from uda.compute.cpu import keep_freed_memory
from uda.compute.optim import set_rate, sgd
from uda.config import AdaptConfig, ComputeConfig, ImageConfig
from uda.data.items import Item, domain_items
from uda.data.partition import of_classes
from uda.data.pixels import PixelStore, Unlabelled
from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec
from uda.data.views import draw_views, to_float, views
from uda.methods.base import Bank, Batch
from uda.methods.lead import Lead
from uda.models.classifier import Classifier, build_model
from uda.training.adapt import train_epoch
from uda.training.bank import forward_all
from uda.training.state import Loop, TrainState

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
NUM_CLASSES, NUM_CLUSTERS = 15, 15
PARTS = ("bank pass", "refresh, C_t kept", "training", "evaluation")


@dataclass(frozen=True)
class Task:
    """Images, network and settings of both ways."""

    paths: tuple[Path, ...]
    px: int
    backbone: str
    batch_size: int
    threads: int
    compute: ComputeConfig

    @property
    def sizes(self) -> ImageConfig:
        """Sizes for EmojiHome's pictures of 128 px; the crop leaves out an eighth."""
        return ImageConfig(decode_px=128, resize_px=self.px * 8 // 7, crop_px=self.px)

    @property
    def items(self) -> list[Item]:
        """The pictures as `uda.data.pixels` takes them."""
        return [Item(path, "") for path in self.paths]

    def model(self) -> Classifier:
        """Return the source model with its classifier frozen."""
        weights = "imagenet" if self.backbone == "efficientnet_lite0" else "none"
        model = build_model(self.backbone, weights, "bottleneck_wn", 256, NUM_CLASSES)
        model.classifier.requires_grad_(False)
        return model

    def method(self) -> Lead:
        """Return LEAD with C_t set."""
        method = Lead(open_set=True)
        method.num_clusters = NUM_CLUSTERS
        return method


class BothViews(Dataset):
    """Reads the file and makes the clean and the random view at every access."""

    def __init__(self, task: Task, model: Classifier) -> None:
        mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
        sizes = task.sizes
        last = [transforms.ToTensor(), transforms.Normalize(mean, std)]
        resize = transforms.Resize((sizes.resize_px, sizes.resize_px))
        self.paths = task.paths
        self.clean = transforms.Compose([resize, transforms.CenterCrop(sizes.crop_px), *last])
        self.random = transforms.Compose(
            [
                resize,
                transforms.RandomCrop(sizes.crop_px),
                transforms.RandomHorizontalFlip(),
                *last,
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        image = Image.open(self.paths[index]).convert("RGB")
        return self.clean(image), self.random(image), index


@torch.no_grad()
def plain_pass(model: Classifier, loader: DataLoader) -> Bank:
    """Return features and probabilities of the clean view, the network in eval mode."""
    model.eval()
    features, probabilities = [], []
    for clean, _, _ in loader:
        f = model.bottleneck(model.backbone(clean))
        features.append(f)
        probabilities.append(model.classifier(f).softmax(dim=1))
    weights = model.classifier.weight.detach().clone()
    return Bank(torch.cat(features), torch.cat(probabilities), weights)


class Plain:
    """An epoch of three passes, everything decoded and transformed each time."""

    def __init__(self, task: Task) -> None:
        self.model = task.model()
        self.model.to(memory_format=torch.contiguous_format)
        self.method = task.method()
        parameters = (self.model.backbone.parameters(), self.model.bottleneck.parameters())
        self.optimizer = sgd(*parameters, 1e-3)
        data = BothViews(task, self.model)
        self.ordered = DataLoader(data, task.batch_size)
        self.shuffled = DataLoader(data, task.batch_size, shuffle=True, drop_last=True)

    def epoch(self, lap: Callable[[], None]) -> None:
        """Call ``lap`` after each of `PARTS`."""
        bank = plain_pass(self.model, self.ordered)
        lap()
        state = self.method.refresh(bank, 1)
        lap()
        self.model.train()
        for step, (_, view, index) in enumerate(self.shuffled, start=1):
            set_rate(self.optimizer, step, len(self.shuffled))
            features = self.model.bottleneck(self.model.backbone(view))
            parts = self.method.loss(Batch(features, self.model.classifier(features), index), state)
            self.optimizer.zero_grad()
            torch.stack(list(parts.values())).sum().backward()
            self.optimizer.step()
        lap()
        plain_pass(self.model, self.ordered)
        lap()


class Ours:
    """An epoch as `uda.training.adapt.adapt` runs it."""

    def __init__(self, task: Task) -> None:
        keep_freed_memory()
        self.model, self.method = task.model(), task.method()
        self.loop = Loop(task.sizes, 0, CPU, task.compute)
        self.settings = AdaptConfig(epochs=1, batch_size=task.batch_size)
        self.state = TrainState(self.model, self.settings, self.loop, train_classifier=False)
        start, store = time.perf_counter(), PixelStore()
        decoded = store.decode(task.items, task.sizes.decode_px)
        self.resized = store.resize(decoded, task.sizes.resize_px)
        self.decode_seconds = time.perf_counter() - start
        self.bank = self.forward_all()

    def forward_all(self) -> Bank:
        sizes, compute = self.loop.images, self.loop.compute
        return forward_all(self.model, self.resized, sizes.crop_px, CPU, compute)

    def epoch(self, lap: Callable[[], None]) -> None:
        """Call ``lap`` after each of `PARTS`."""
        lap()  # the bank is the last evaluation
        knowledge = self.method.refresh(self.bank, 1)
        lap()
        bar, target = tqdm(disable=True), Unlabelled(self.resized)
        train_epoch(self.state, target, self.method, knowledge, self.settings, self.loop, bar)
        lap()
        self.bank = self.forward_all()
        lap()


def work(pipe: Connection, way: type[Plain] | type[Ours], task: Task) -> None:
    """Serve a way in this process: run an epoch at each request and send its seconds by part."""
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    runner = way(task)
    pipe.send(getattr(runner, "decode_seconds", 0.0))
    while pipe.recv():
        moments = [time.perf_counter()]
        runner.epoch(lambda moments=moments: moments.append(time.perf_counter()))
        pipe.send(np.diff(moments).tolist())


def compare(task: Task) -> str:
    """Check that both ways make the same of 64 pictures; return how near they are.

    Only the rounding of resized pixels may differ between Pillow and torch, by a grey level at
    most, and the order of sums in another layout.

    Raises:
        AssertionError: They differ more.
    """
    few = replace(task, paths=task.paths[:64], compute=ComputeConfig())
    plain, ours = Plain(few), Ours(few)
    mean, std = plain.model.mean[0], plain.model.std[0]
    data: BothViews = plain.ordered.dataset  # type: ignore[assignment]
    sizes = few.sizes
    draws = draw_views(len(few.paths), sizes.resize_px - sizes.crop_px, True, (0, 1))
    batch = []
    for path, (top, left, mirror) in zip(few.paths, draws.tolist(), strict=True):
        image = data.clean.transforms[0](Image.open(path).convert("RGB"))
        image = image.crop((left, top, left + sizes.crop_px, top + sizes.crop_px))
        if mirror:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        batch.append(data.clean.transforms[-1](data.clean.transforms[-2](image)))
    plain_view = torch.stack(batch)
    our_view = to_float(views(ours.resized, sizes.crop_px, draws), CPU)
    grey = float(((plain_view * std + mean) - our_view).abs().max()) * 255
    assert grey < 1.01, f"views differ by {grey:.2f} grey levels"

    banks = plain_pass(plain.model, plain.ordered), ours.bank
    cosine = float(F.cosine_similarity(banks[0].features, banks[1].features).min())
    assert cosine > 0.999, f"features of the clean view differ: cosine {cosine:.5f}"

    index, losses = torch.arange(len(few.paths)), []
    for model, method, bank, x in (
        (plain.model, plain.method, banks[0], our_view.contiguous()),
        (ours.model, ours.method, banks[0], our_view),
    ):
        features, logits = model.train()(x)
        parts = method.loss(Batch(features, logits, index), method.refresh(bank, 1))
        losses.append(torch.stack(list(parts.values())).detach())
    apart = float((losses[0] - losses[1]).abs().max())
    assert apart < 1e-3, f"losses of the same batch differ by {apart:.1e}"
    return (
        f"same views within {grey:.2f} grey levels, features of the clean view at a cosine of at "
        f"least {cosine:.5f}, losses of the same batch within {apart:.0e}"
    )


def pictures(count: int, made: Path) -> tuple[tuple[Path, ...], str]:
    """Return up to ``count`` files of EmojiHome's Fluent3D under OPDA, or of noise; and a title."""
    spec = load_dataset_spec("emoji_home", str(ROOT / "data" / "emoji_home"))
    if (spec.root / spec.domains["Fluent3D"]).is_dir():
        classes = class_split(spec, "opda").target_classes
        paths = [item.path for item in of_classes(domain_items(spec, "Fluent3D"), classes, "")]
        chosen = np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)
        return tuple(paths[index] for index in chosen), "Fluent3D of EmojiHome"
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        coarse.resize((128, 128), Image.Resampling.BICUBIC).save(made / f"{number:05d}.png")
    return tuple(sorted(made.iterdir())), "made-up pictures"


def time_both(task: Task, rounds: int) -> tuple[list[list[float]], list[list[float]], float]:
    """Return seconds [rounds][parts] of the plain way and of ours, and of decoding once."""
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes: list[multiprocessing.process.BaseProcess] = []
    decode_seconds = 0.0
    for way in (Plain, Ours):
        pipe, far_end = context.Pipe()
        processes.append(context.Process(target=work, args=(far_end, way, task), daemon=True))
        processes[-1].start()
        decode_seconds = pipe.recv()
        pipes.append(pipe)
    seconds: tuple[list[list[float]], list[list[float]]] = ([], [])
    for number in tqdm(
        range(rounds + 1), "rounds, the first to warm up", leave=False, disable=None
    ):
        for pipe, rounds_of_way in zip(pipes, seconds, strict=True):
            pipe.send(True)
            took = pipe.recv()
            if number:
                rounds_of_way.append(took)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(False)
        process.join()
    return *seconds, decode_seconds


def middle(rounds: Sequence[Sequence[float]]) -> list[float]:
    """Return the median over rounds of each part."""
    return [statistics.median(part) for part in zip(*rounds, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    whole = partial(parser.add_argument, type=int)
    whole("--images", default=1135, help="pictures of the target, at most")
    whole("--px", default=96, help="side of the crop")
    whole("--batch_size", default=64)
    whole("--threads", default=torch.get_num_threads())
    whole("--rounds", default=3, help="epochs of each way that are timed, after a warm-up")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--precision", default="float32", help="of our way")
    parser.add_argument("--contiguous", action="store_true", help="our way in the default layout")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    compute = ComputeConfig(options.precision, not options.contiguous)
    with tempfile.TemporaryDirectory() as made:
        paths, what = pictures(options.images, Path(made))
        task = Task(
            paths, options.px, options.backbone, options.batch_size, options.threads, compute
        )
        print(
            f"{options.backbone}, {len(paths)} images ({what}), crop {options.px} px, "
            f"{options.threads} threads, torch {torch.__version__}, {platform.machine()}; our way "
            f"{options.precision}, {'contiguous' if options.contiguous else 'channels-last'}"
        )
        print(compare(task))
        plain, ours, decode_seconds = time_both(task, options.rounds)

    print(f"\n{'median seconds':22} {'plain':>8} {'ours':>8} {'ratio':>7}")
    for name, theirs, ours_s in zip(PARTS, middle(plain), middle(ours), strict=True):
        ratio = f"{ours_s / theirs:7.2f}" if ours_s > 1e-3 else "      –"
        print(f"{name:22} {theirs:8.2f} {ours_s:8.2f} {ratio}")
    whole_plain, whole_ours = [sum(r) for r in plain], [sum(r) for r in ours]
    ratios = [ours_s / theirs for ours_s, theirs in zip(whole_ours, whole_plain, strict=True)]
    print(
        f"{'epoch':22} {statistics.median(whole_plain):8.2f} {statistics.median(whole_ours):8.2f} "
        f"{statistics.median(ratios):7.2f}   (by round: {' '.join(f'{r:.2f}' for r in ratios)})"
    )
    print(f"{'fastest epoch':22} {min(whole_plain):8.2f} {min(whole_ours):8.2f} "
          f"{min(whole_ours) / min(whole_plain):7.2f}")  # fmt: skip
    print(f"decoding, once a run: {decode_seconds:.2f} s")


if __name__ == "__main__":
    main()
