"""Loading InstructPix2Pix by diffusers, with a single clear line for whatever goes wrong."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genmix_aug.editors.diffusion.model_folder import check_model_folder, check_pipeline_kind
from genmix_aug.editors.diffusion.noise import step_in_float32
from genmix_aug.editors.diffusion.settings import Settings
from genmix_aug.editors.memory import lacks_memory

NO_HUB = "; without a network give a folder that holds the model: model=FOLDER"


def load_pipeline(
    model: str, revision: str, settings: Settings, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Callable[[str], Tensor]]:
    """Return the pipeline on the device without its text model, and what encodes a text.

    The text model stays on the CPU in float32: it runs once for each prompt, and the GPU has
    better uses for its memory.

    Raises:
        ValueError: The model cannot be loaded or is of another kind.
    """
    try:
        from diffusers import StableDiffusionInstructPix2PixPipeline as Pipeline
    except (ImportError, RuntimeError) as error:  # diffusers wraps failing imports
        raise ValueError(
            "the editor instruct-pix2pix needs the packages diffusers and transformers: "
            + first_line(error)
        ) from error
    folder = Path(model) if Path(model).is_dir() else _downloaded(Pipeline, model, revision)
    check_model_folder(folder)
    with _loading(model, bars=False):
        pipeline: Any = Pipeline.from_pretrained(
            folder,
            dtype={"default": dtype, "text_encoder": torch.float32},
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
        )
    encode = functools.partial(_encode, pipeline.tokenizer, pipeline.text_encoder)
    pipeline.text_encoder = None
    pipeline.scheduler = _make_scheduler(settings.scheduler, pipeline)
    step_in_float32(pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    if settings.vae_slicing:
        pipeline.vae.enable_slicing()
    layout = torch.channels_last if settings.channels_last else torch.preserve_format
    for network in (pipeline.unet, pipeline.vae):
        network.to(device=device, memory_format=layout)
    if settings.compile:
        pipeline.unet.compile()
    return pipeline, encode


def _downloaded(pipeline_class: Any, model: str, revision: str) -> Path:
    """Return the folder of a model of the hub, downloaded unless the cache has it."""
    with _loading(f"{model} at revision {revision} from the hub", NO_HUB):
        index = pipeline_class.load_config(model, revision=revision)
    check_pipeline_kind(index, model)
    with _loading(f"{model} at revision {revision} from the hub", NO_HUB):
        return Path(
            pipeline_class.download(
                model, revision=revision, use_safetensors=True, safety_checker=None
            )
        )


def _make_scheduler(name: str, pipeline: Any) -> Any:
    """Return a scheduler with the model's noise levels."""
    from diffusers import (
        DPMSolverMultistepScheduler,
        EulerAncestralDiscreteScheduler,
        UniPCMultistepScheduler,
    )

    config = pipeline.scheduler.config
    if name == "euler-ancestral":
        return EulerAncestralDiscreteScheduler.from_config(config)
    if name == "dpm-solver++":
        return DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++")
    return UniPCMultistepScheduler.from_config(config)


@torch.no_grad()
def _encode(tokenizer: Any, text_encoder: Any, text: str) -> Tensor:
    """Return the text model's output [1, tokens, D] for a text.

    Raises:
        ValueError: The text has more tokens than the model takes; the rest would be lost.
    """
    longest = tokenizer.model_max_length
    tokens = tokenizer(text, padding="max_length", max_length=longest, return_tensors="pt")
    count = tokens.input_ids.shape[1]
    if count > longest:
        raise ValueError(
            f"prompt too long, {count} tokens where the text model takes {longest}: {text[:60]!r}…"
        )
    return text_encoder(tokens.input_ids)[0].float()


@contextmanager
def _loading(what: str, advice: str = "", bars: bool = True) -> Iterator[None]:
    """Turn whatever fails into a ValueError of a single line, and silence the libraries."""
    try:
        with quiet(bars), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # networks, caches and file formats have errors of many kinds
        if lacks_memory(error):
            raise
        raise ValueError(f"cannot load model {what}: {first_line(error)}{advice}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def quiet(bars: bool) -> Iterator[None]:
    """Silence the warnings of diffusers and transformers; with `bars` keep their progress bars."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    logs: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        if not bars:
            log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (verbosity, had_bars) in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
            if had_bars:
                log.enable_progress_bar()
