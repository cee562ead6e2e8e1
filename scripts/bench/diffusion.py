"""Time a diffusion editor: the released loop of single images, and the presets on batches.

The first row is a plain loop over diffusers' pipeline, as GenMix's released code does it: single
PIL images, half precision, the prompt encoded anew. The others are the editor's presets. Weights
are random without `--model`: of Stable Diffusion 1.5's size, or with `--tiny` of the tests'.

python scripts/bench/diffusion.py [--editor instruct-pix2pix] [--model FOLDER] [--images FOLDER]
    [--batch-size 16] [--steps-share 0.1] [--compile] [--tiny]
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from genmix_aug.editors import EDITORS
from genmix_aug.editors.diffusion.editor import PRECISIONS, DiffusionEditor
from genmix_aug.editors.diffusion.model_folder import kind_of_folder
from genmix_aug.editors.diffusion.settings import Settings
from genmix_aug.images import find_images, load_rgb
from genmix_aug.prompts import CROSS_DOMAIN
from genmix_aug.screening.checks import screen

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))  # the tests' small modules


Edit = Callable[[torch.Tensor, list[str]], torch.Tensor]
FAMILY: dict[str, type[DiffusionEditor]] = {
    name: editor
    for name, editor in EDITORS.items()
    if isinstance(editor, type) and issubclass(editor, DiffusionEditor)
}
TINY = {"instruct-pix2pix": "pix2pix", "image-to-image": "image-to-image", "kontext": "kontext"}


class Row(NamedTuple):
    """A line of the table."""

    name: str
    batch_size: int
    steps: int
    all_steps: int
    rate: float  # images a second with `steps`
    peak: float  # GiB of GPU memory, 0 on a CPU
    rejected: float  # share of edits that screening by pixels rejects

    @property
    def full_rate(self) -> float:
        """Images a second with all steps, if the time grows as the steps do."""
        return self.rate * self.steps / self.all_steps


def real_pipeline(folder: Path, editor: str) -> Any:
    """Return Stable Diffusion 1.5 for the editor with about a billion random weights."""
    import diffusers
    from helpers.tiny_pipeline import released_scheduler, text_model, tiny_tokenizer

    torch.manual_seed(0)
    kind = next(iter(FAMILY[editor].kinds.values()))
    unet = diffusers.UNet2DConditionModel(
        sample_size=64,
        in_channels=kind.channels,
        out_channels=4,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=768,
        attention_head_dim=8,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    return getattr(diffusers, kind.pipeline)(
        vae=vae,
        text_encoder=text_model(768, layers=12, heads=12, vocabulary=49408),
        tokenizer=tiny_tokenizer(folder),
        unet=unet,
        scheduler=released_scheduler(),
        feature_extractor=None,
        **kind.constructor,
    )


def released_loop(name: str, folder: Path, settings: Settings, device: str) -> Edit:
    """Return a loop over single images, as in GenMix's released code."""
    import diffusers

    family = FAMILY[name]
    kind = kind_of_folder(folder, name, family.kinds)
    size = settings.resolution
    pipeline: Any = getattr(diffusers, kind.pipeline).from_pretrained(
        folder,
        dtype=PRECISIONS[settings.precision] if device == "cuda" else torch.float32,
        **kind.constructor,
    )
    pipeline.to(device)
    if settings.scheduler == "euler-ancestral":
        scheduler = diffusers.EulerAncestralDiscreteScheduler
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def edit(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        edits = []
        for image, prompt in zip(images, prompts, strict=True):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            edited = pipeline(
                prompt=family.template.format(prompt=prompt),
                image=picture.resize((size, size)),
                num_inference_steps=settings.steps,
                guidance_scale=settings.text_guidance,
                **kind.arguments(settings, size, size),
            ).images[0]
            edits.append(torch.from_numpy(np.array(edited.resize(picture.size))).permute(2, 0, 1))
        return torch.stack(edits)

    return edit


def preset_loop(name: str, folder: Path, preset: str, settings: Settings, compile: bool) -> Edit:
    """Return a function that edits a batch and warns of images redone, which take longer."""
    editor = FAMILY[name](
        model=str(folder),
        preset=preset,
        steps=settings.steps,
        resolution=settings.resolution,
        compile=compile,
    )

    def edit(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        before = editor.redone
        edits = editor.edit(images, prompts, list(range(len(images))))
        if editor.redone > before:
            print(f"{preset}: {editor.redone - before} images redone in float32", file=sys.stderr)
        return edits

    return edit


def read_images(folder: str | None, count: int, size: int) -> torch.Tensor:
    """Return squares of a folder's images, or noise, uint8 [count, 3, size, size]."""
    if folder is None:
        return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
    paths = find_images(folder)
    chosen = [paths[number * len(paths) // count] for number in range(count)]
    return torch.stack([load_rgb(path, size) for path in chosen])


def measured(edit: Edit, images: torch.Tensor, repeats: int) -> tuple[float, float, float]:
    """Return images a second, the median of `repeats`, peak GiB on a GPU, and share rejected."""
    prompts = [CROSS_DOMAIN[number % len(CROSS_DOMAIN)] for number in range(len(images))]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(repeats + 1):  # the first to warm up
        start = time.perf_counter()
        edits = edit(images, prompts)  # in main memory, so nothing is left running
        times.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    rejected = [bool(verdict.reason) for verdict in screen(images, edits)]
    return len(images) / statistics.median(times[1:]), peak, statistics.mean(rejected)


def rows(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Return the table's rows; each loads the model and frees it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    presets = FAMILY[options.editor].presets

    def shortened(settings: Settings) -> Settings:
        steps = max(1, round(settings.steps * options.steps_share))
        if settings.strength:
            steps = max(steps, math.ceil(1 / settings.strength))
        size = 64 if options.tiny else settings.resolution
        return replace(settings, steps=steps, resolution=size)

    released = shortened(presets["released"])
    loops: list[tuple[str, int, Settings, Callable[[], Edit]]] = [
        (
            "released loop",
            1,
            presets["released"],
            partial(released_loop, options.editor, folder, released, device),
        )
    ]
    for name, settings in presets.items():
        for compile in (False, True)[: 1 + options.compile]:
            title = f"{name}, compiled" if compile else name
            make = partial(preset_loop, options.editor, folder, name, shortened(settings), compile)
            loops.append((title, options.batch_size, settings, make))
    table = []
    for name, batch_size, settings, make in loops:
        images = read_images(options.images, batch_size, options.size)
        rate, peak, rejected = measured(make(), images, options.repeats)
        steps = shortened(settings).steps
        table.append(Row(name, batch_size, steps, settings.steps, rate, peak, rejected))
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    return table


def main() -> None:
    """Print the device's name and a table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--editor", choices=FAMILY, default="instruct-pix2pix")
    parser.add_argument("--model", help="folder of a pipeline, instead of random weights")
    parser.add_argument("--images", help="folder of images to edit, instead of noise")
    parser.add_argument("--batch-size", type=int, default=16, help="images at a time, of presets")
    parser.add_argument("--size", type=int, default=512, help="px of the images that are edited")
    parser.add_argument("--steps-share", type=float, default=1.0, help="share of the steps to run")
    parser.add_argument("--repeats", type=int, default=3, help="batches; the median counts")
    parser.add_argument("--compile", action="store_true", help="presets with torch.compile as well")
    parser.add_argument("--tiny", action="store_true", help="small modules at 64 px, to try it out")
    options = parser.parse_args()

    from diffusers.utils import logging as diffusers_logging
    from helpers.tiny_pipeline import save_tiny_pipeline
    from transformers.utils import logging as transformers_logging

    for log in (diffusers_logging, transformers_logging):
        log.set_verbosity_error()
        log.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        if options.model:
            folder = Path(options.model)
        elif options.tiny:
            folder = save_tiny_pipeline(Path(scratch), kind=TINY[options.editor])
        elif options.editor == "kontext":
            parser.error("kontext has no random model of its real size here: --model or --tiny")
        else:
            folder = Path(scratch) / "model"
            pipeline = real_pipeline(Path(scratch) / "vocabulary", options.editor)
            pipeline.to(torch.float16).save_pretrained(folder)
        table = rows(folder, options)
    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    else:
        print(f"CPU in float32, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print(
        f"{'':<22}{'batch':>6}{'steps':>7}{'images/s':>10}{'all steps':>11}{'ratio':>8}{'GiB':>7}"
        f"{'rejected':>10}"
    )
    for row in table:
        peak = f"{row.peak:.1f}" if row.peak else "-"
        print(
            f"{row.name:<22}{row.batch_size:>6}{row.steps:>7}{row.rate:>10.3f}"
            f"{row.full_rate:>11.3f}{row.full_rate / table[0].full_rate:>7.1f}x{peak:>7}"
            f"{row.rejected:>10.0%}"
        )


if __name__ == "__main__":
    main()
