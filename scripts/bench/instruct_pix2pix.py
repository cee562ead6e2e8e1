"""Time the editor `instruct-pix2pix` at its real size, with random weights.

The first row is GenMix's released loop: single PIL images, float16, 100 steps, the prompt encoded
anew. The other rows are the editor's presets, on batches.

python scripts/bench/instruct_pix2pix.py [--batch-size 16] [--steps-share 0.1] [--compile] [--tiny]
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from genmix_aug.editors.diffusion.instruct_pix2pix import InstructPix2PixEditor
from genmix_aug.editors.diffusion.settings import PRESETS, Settings
from genmix_aug.prompts import CROSS_DOMAIN, full_prompt

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))  # the tests' small modules


Edit = Callable[[torch.Tensor, list[str]], None]


class Row(NamedTuple):
    """A line of the table."""

    name: str
    batch_size: int
    steps: int
    all_steps: int
    rate: float  # images a second with `steps`
    peak: float  # GiB of GPU memory, 0 on a CPU

    @property
    def full_rate(self) -> float:
        """Images a second with all steps, if the time grows as the steps do."""
        return self.rate * self.steps / self.all_steps


def real_pipeline(folder: Path) -> Any:
    """Return Stable Diffusion 1.5 with eight input channels and 1.07 billion random weights."""
    from diffusers import (
        AutoencoderKL,
        StableDiffusionInstructPix2PixPipeline,
        UNet2DConditionModel,
    )
    from helpers.tiny_pipeline import released_scheduler, text_model, tiny_tokenizer

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=8,
        out_channels=4,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=768,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    return StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=text_model(768, layers=12, heads=12, vocabulary=49408),
        tokenizer=tiny_tokenizer(folder),
        unet=unet,
        scheduler=released_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def released_loop(folder: Path, steps: int, resolution: int, device: str) -> Edit:
    """Return a loop over single images, as in GenMix's released code."""
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline

    pipeline: Any = StableDiffusionInstructPix2PixPipeline.from_pretrained(
        folder, dtype=torch.float16 if device == "cuda" else torch.float32, safety_checker=None
    ).to(device)
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def edit(images: torch.Tensor, prompts: list[str]) -> None:
        for image, prompt in zip(images, prompts, strict=True):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            edited = pipeline(
                full_prompt(prompt),
                image=picture.resize((resolution, resolution)),
                num_inference_steps=steps,
                guidance_scale=4,
                image_guidance_scale=1.5,
            ).images[0]
            edited.resize(picture.size)

    return edit


def preset_loop(folder: Path, preset: str, steps: int, resolution: int, compile: bool) -> Edit:
    """Return a function that edits a batch and warns of images redone, which take longer."""
    editor = InstructPix2PixEditor(
        model=str(folder), preset=preset, steps=steps, resolution=resolution, compile=compile
    )

    def edit(images: torch.Tensor, prompts: list[str]) -> None:
        before = editor.redone
        editor.edit(images, prompts, list(range(len(images))))
        if editor.redone > before:
            print(f"{preset}: {editor.redone - before} images redone in float32", file=sys.stderr)

    return edit


def measured(edit: Edit, batch_size: int, size: int, repeats: int) -> tuple[float, float]:
    """Return images a second, the median of `repeats` after a warm-up, and peak GiB on a GPU."""
    images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8)
    prompts = [CROSS_DOMAIN[number % len(CROSS_DOMAIN)] for number in range(batch_size)]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        edit(images, prompts)  # gives pictures in main memory, so nothing is left running
        times.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    return batch_size / statistics.median(times[1:]), peak


def rows(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Return the table's rows; each loads the model and frees it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def run(settings: Settings) -> int:
        return max(1, round(settings.steps * options.steps_share))

    released = PRESETS["released"]
    size = 64 if options.tiny else released.resolution
    first = partial(released_loop, folder, run(released), size, device)
    loops: list[tuple[str, int, Settings, Callable[[], Edit]]] = [
        ("released loop", 1, released, first)
    ]
    for name, settings in PRESETS.items():
        for compile in (False, True)[: 1 + options.compile]:
            title = f"{name}, compiled" if compile else name
            make = partial(preset_loop, folder, name, run(settings), size, compile)
            loops.append((title, options.batch_size, settings, make))
    table = []
    for name, batch_size, settings, make in loops:
        rate, peak = measured(make(), batch_size, options.size, options.repeats)
        table.append(Row(name, batch_size, run(settings), settings.steps, rate, peak))
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    return table


def main() -> None:
    """Print the device's name and a table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
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
        if options.tiny:
            folder = save_tiny_pipeline(Path(scratch))
        else:
            folder = Path(scratch) / "model"
            real_pipeline(Path(scratch) / "vocabulary").to(torch.float16).save_pretrained(folder)
        table = rows(folder, options)
    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    else:
        print(f"CPU in float32, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print(
        f"{'':<22}{'batch':>6}{'steps':>7}{'images/s':>10}{'all steps':>11}{'ratio':>8}{'GiB':>7}"
    )
    for row in table:
        peak = f"{row.peak:.1f}" if row.peak else "-"
        print(
            f"{row.name:<22}{row.batch_size:>6}{row.steps:>7}{row.rate:>10.3f}"
            f"{row.full_rate:>11.3f}{row.full_rate / table[0].full_rate:>7.1f}x{peak:>7}"
        )


if __name__ == "__main__":
    main()
