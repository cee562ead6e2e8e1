"""Loading pipelines by diffusers, with a single clear line for whatever goes wrong."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from genmix_aug.editors.diffusion.kinds import Kind
from genmix_aug.editors.diffusion.model_folder import kind_of_folder, kind_of_index
from genmix_aug.editors.diffusion.noise import step_in_float32
from genmix_aug.editors.diffusion.settings import Settings
from genmix_aug.editors.memory import lacks_memory

NO_HUB = "; without a network give a folder that holds the model: model=FOLDER"


class Loadable(Protocol):
    """An editor, as far as loading its model goes."""

    name: ClassVar[str]
    kinds: ClassVar[Mapping[str, Kind]]
    model: str
    revision: str


def load_pipeline(
    editor: Loadable, settings: Settings, device: torch.device, dtype: torch.dtype
) -> tuple[Kind, Any, Any]:
    """Return a model's kind, its pipeline on the device without text models, and those apart.

    The text models stay on the CPU: they run once for each prompt, and the GPU has
    better uses for its memory.

    Raises:
        ValueError: The model cannot be loaded or is of another kind.
    """
    try:
        import diffusers
        import transformers  # noqa: F401
    except (ImportError, RuntimeError) as error:  # diffusers wraps failing imports
        raise ValueError(
            f"the editor {editor.name} needs the packages diffusers and transformers: "
            + first_line(error)
        ) from error
    folder = Path(editor.model) if Path(editor.model).is_dir() else _downloaded(editor)
    kind = kind_of_folder(folder, editor.name, editor.kinds)
    with _loading(editor.model, bars=False):
        pipeline: Any = getattr(diffusers, kind.pipeline).from_pretrained(
            folder,
            dtype={"default": dtype, **kind.text_precisions},
            use_safetensors=True,
            **kind.constructor,
        )
        without = dict.fromkeys((kind.denoiser, "vae"))
        texts = type(pipeline)(**pipeline.components | without | kind.constructor)
        if settings.scheduler != "own":
            pipeline.scheduler = _make_scheduler(settings.scheduler, pipeline)
    for part in kind.text_precisions:
        setattr(pipeline, part, None)
    step_in_float32(pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    # Pictures as they are decoded: clipped, infinities would be black and white.
    pipeline.image_processor.postprocess = lambda decoded, **_: decoded
    if settings.vae_slicing:
        pipeline.vae.enable_slicing()
    layout = torch.channels_last if settings.channels_last else torch.preserve_format
    denoiser = getattr(pipeline, kind.denoiser)
    for network in (denoiser, pipeline.vae):
        network.to(device=device, memory_format=layout)
    if settings.compile:
        denoiser.compile()
    return kind, pipeline, texts


def _downloaded(editor: Loadable) -> Path:
    """Return the folder of a model of the hub, downloaded unless the cache has it."""
    from diffusers import DiffusionPipeline

    model, revision = editor.model, editor.revision
    with _loading(f"{model} at revision {revision} from the hub", NO_HUB):
        index = DiffusionPipeline.load_config(model, revision=revision)
    kind_of_index(index, model, editor.name, editor.kinds)
    with _loading(f"{model} at revision {revision} from the hub", NO_HUB):
        return Path(
            DiffusionPipeline.download(
                model, revision=revision, use_safetensors=True, safety_checker=None
            )
        )


def _make_scheduler(name: str, pipeline: Any) -> Any:
    """Return a scheduler with the model's noise levels."""
    from diffusers import (
        DPMSolverMultistepScheduler,
        EulerAncestralDiscreteScheduler,
        LCMScheduler,
        UniPCMultistepScheduler,
    )

    config = pipeline.scheduler.config
    if name == "euler-ancestral":
        return EulerAncestralDiscreteScheduler.from_config(config)
    if name == "dpm-solver++":
        return DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++")
    if name == "lcm":
        return LCMScheduler.from_config(config)
    return UniPCMultistepScheduler.from_config(config)


@contextmanager
def _loading(what: str, advice: str = "", bars: bool = True) -> Iterator[None]:
    """Turn whatever fails into a ValueError of a single line, and silence the libraries."""
    try:
        with quiet(bars):
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
    """Silence warnings, and what diffusers and transformers log; with `bars` keep their bars."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    logs: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        if not bars:
            log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, (verbosity, had_bars) in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
            if had_bars:
                log.enable_progress_bar()
