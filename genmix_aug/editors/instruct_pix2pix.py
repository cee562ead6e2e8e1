"""The editor `instruct-pix2pix`: the paper's diffusion editor, over diffusers' pipeline."""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genmix_aug.editors.base import check_request
from genmix_aug.editors.diffusion_settings import Settings, chosen_settings
from genmix_aug.editors.model_folder import (
    check_model_folder,
    check_pipeline_kind,
    folder_digest,
)
from genmix_aug.editors.noise import first_noise, step_in_float32
from genmix_aug.editors.resizing import resize, working_size
from genmix_aug.prompts import full_prompt
from genmix_aug.seeding import hash_seed

VERSION = 1  # raise it whenever the same settings give another edit: it is part of every key

MODEL = "timbrooks/instruct-pix2pix"
REVISION = "31519b5cb02a7fd89b906d88731cd4d6a7bbf88d"

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
NO_HUB = "; without a network give a folder that holds the model: model=FOLDER"


class InstructPix2PixEditor:
    """Edits images by InstructPix2Pix (arXiv 2211.09800), as GenMix (arXiv 2412.02366) does.

    An image is scaled so that its longer side is `resolution` px, up or down, with its aspect
    ratio kept; the edit comes back at the image's own size. Any prompt is allowed that is not
    too long for the text model. Nothing is loaded before the first edit, so that an editor
    costs nothing where all edits are in the store.

    Presets:
        released: as GenMix's authors released it: 100 steps (the pipeline's default),
            Euler-ancestral, text guidance 4, image guidance 1.5, 512 px, float16.
        fast: DPM-Solver++ in 20 steps, so about five times as fast, and channels-last weights.
            Still float16, which rounds eight times finer than bfloat16. Not compiled, as that takes
            a minute or more, again when the images' size changes: compile=true is for many images
            of one size.
        low-memory: the edits of `released`, same fingerprint; pictures are encoded and decoded
            one at a time, which is where memory peaks. The denoising itself still takes all at
            once: lower the batch size too.

    The options below override the preset; 0, "" and None leave it as it is.

    Half precision now and then gives values that are not finite. Such an image is edited again
    by itself in float32 and counted in `redone`; one that float32 cannot edit either comes out
    black and is counted in `failed`. A CPU computes half precision in float32: the same edits up
    to rounding, so under the same fingerprint.

    Args:
        model: a name on the Hugging Face hub, or a folder that diffusers' save_pretrained wrote.
        revision: the hub's commit; not used for a folder.
        preset: released, fast or low-memory.
        steps: of denoising, at least 1.
        text_guidance: over 1; higher follows the prompt more.
        image_guidance: at least 1; higher keeps more of the image.
        resolution: px of the longer side while editing, a multiple of 8, at least 64.
        scheduler: euler-ancestral, dpm-solver++ or unipc.
        precision: float32, float16 or bfloat16.
        channels_last: the weights' layout in memory.
        compile: the UNet by torch.compile.
        vae_slicing: pictures encoded and decoded one at a time.
        device: auto (a GPU if there is one), cpu, cuda or cuda:N.

    Attributes:
        redone: images edited again in float32 so far.
        failed: images that came out black so far.

    Raises:
        ValueError: an option has a value that it cannot have.
    """

    def __init__(
        self,
        *,
        model: str = MODEL,
        revision: str = REVISION,
        preset: str = "released",
        steps: int = 0,
        text_guidance: float = 0.0,
        image_guidance: float = 0.0,
        resolution: int = 0,
        scheduler: str = "",
        precision: str = "",
        channels_last: bool | None = None,
        compile: bool | None = None,
        vae_slicing: bool | None = None,
        device: str = "auto",
    ) -> None:
        self.settings = chosen_settings(
            preset,
            steps=steps,
            text_guidance=text_guidance,
            image_guidance=image_guidance,
            resolution=resolution,
            scheduler=scheduler,
            precision=precision,
            channels_last=channels_last,
            compile=compile,
            vae_slicing=vae_slicing,
        )
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise ValueError(f"device: {device!r} is not one of auto, cpu, cuda, cuda:N")
        model = os.path.expanduser(model)
        _check_model(model, revision)
        self.model, self.revision, self.device = model, revision, device
        self.redone = self.failed = 0
        self._identity = ""
        self._pipeline: Any = None
        self._encoder: Callable[[str], Tensor] | None = None
        self._embeddings: dict[str, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Options and counts: another process loads the model itself."""
        return {**self.__dict__, "_pipeline": None, "_encoder": None, "_embeddings": {}}

    @property
    def fingerprint(self) -> str:
        """Kind and version, the model and every setting that changes an edit.

        The model is its name and revision, or a hash of the files in its folder. A preset has
        the fingerprint of its values given one by one.

        Raises:
            ValueError: the model's folder holds no pipeline.
            OSError: one of its files cannot be read.
        """
        if not self._identity:
            folder = Path(self.model)
            hub = f"{self.model}@{self.revision}"
            self._identity = folder_digest(folder) if folder.is_dir() else hub
        s = self.settings
        return (
            f"instruct-pix2pix-v{VERSION} {self._identity} steps={s.steps} text={s.text_guidance} "
            f"image={s.image_guidance} px={s.resolution} {s.scheduler} {s.precision}"
        )

    @property
    def prompts(self) -> tuple[str, ...]:
        """None in particular: the model takes any text."""
        return ()

    def edit(self, images: Tensor, prompts: list[str], seeds: list[int]) -> Tensor:
        """Edits uint8 [B, 3, H, W] of images uint8 [B, 3, H, W]; see `Editor.edit`.

        Raises:
            ValueError: lengths that differ, a prompt too long for the text model, a model that
                cannot be loaded, or a GPU that is missing or whose memory is too small.
        """
        check_request(images, prompts, seeds)
        if len(images) == 0:
            return images.clone()
        try:
            self._load()
            edits, finite = self._run(images, prompts, seeds)
            broken = (~finite).nonzero().flatten().tolist()
            if broken and self._pipeline.unet.dtype != torch.float32:
                with self._in_float32():
                    for number in broken:
                        one = slice(number, number + 1)
                        edits[one], finite[one] = self._run(images[one], prompts[one], seeds[one])
                self.redone += len(broken)
        except torch.OutOfMemoryError:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise ValueError(
                f"the GPU's memory is too small for {len(images)} images at a time at "
                f"{self.settings.resolution} px: lower the batch size, or take preset=low-memory"
            ) from None
        self.failed += int((~finite).sum())
        return edits

    @torch.no_grad()
    def _run(self, images: Tensor, prompts: list[str], seeds: list[int]) -> tuple[Tensor, Tensor]:
        """Edits uint8 [B, 3, H, W], black where not finite, and which are finite, bool [B]."""
        pipeline, settings = self._pipeline, self.settings
        device, dtype = pipeline.unet.device, pipeline.unet.dtype
        height, width = working_size(images.shape[2], images.shape[3], settings.resolution)
        generators = [
            torch.Generator().manual_seed(hash_seed(prompt, seed))
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        shape = (
            pipeline.vae.config.latent_channels,
            height // pipeline.vae_scale_factor,
            width // pipeline.vae_scale_factor,
        )
        noise = first_noise(shape, generators)
        embeddings = torch.cat([self._embedding(full_prompt(prompt)) for prompt in prompts])
        nothing = self._embedding("").expand_as(embeddings)
        latents = pipeline(
            image=resize(images.to(device).float() / 255, height, width),
            prompt_embeds=embeddings.to(device, dtype),
            negative_prompt_embeds=nothing.to(device, dtype),
            latents=noise.to(device, dtype),
            generator=generators,
            num_inference_steps=settings.steps,
            guidance_scale=settings.text_guidance,
            image_guidance_scale=settings.image_guidance,
            output_type="latent",
        ).images
        # Decoded here: the pipeline would clip infinities to black and white.
        scaled = latents / pipeline.vae.config.scaling_factor
        decoded = pipeline.vae.decode(scaled, return_dict=False)[0].float()
        finite = decoded.isfinite().flatten(1).all(dim=1)
        pictures = torch.where(finite[:, None, None, None], decoded / 2 + 0.5, 0).clamp(0, 1)
        edits = (resize(pictures, images.shape[2], images.shape[3]) * 255).round().to(torch.uint8)
        return edits.to(images.device), finite.cpu()

    @contextmanager
    def _in_float32(self) -> Iterator[None]:
        """The networks in float32 for a while; going back to half precision is exact."""
        networks = (self._pipeline.unet, self._pipeline.vae)
        half = networks[0].dtype

        def cast(dtype: torch.dtype) -> None:
            with _quiet(bars=True):  # diffusers warns of casts
                for network in networks:
                    network.to(dtype)

        try:
            cast(torch.float32)
            with torch.compiler.set_stance("force_eager"):  # too rare to compile for
                yield
        finally:
            cast(half)

    def _embedding(self, text: str) -> Tensor:
        """Text model's output for a sentence, float32 [1, tokens, D] on the CPU, made once."""
        if text not in self._embeddings:
            assert self._encoder is not None
            self._embeddings[text] = self._encoder(text)
        return self._embeddings[text]

    def _load(self) -> None:
        if self._pipeline is None:
            device = _chosen_device(self.device)
            dtype = _compute_dtype(self.settings.precision, device)
            self._pipeline, self._encoder = _load_pipeline(
                self.model, self.revision, self.settings, device, dtype
            )


def _check_model(model: str, revision: str) -> None:
    """Raises ValueError for what can be neither a folder that exists nor a pinned hub model."""
    if Path(model).is_dir():
        return
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", model):
        raise ValueError(f"model: there is no folder {model!r}, and no hub model has such a name")
    if not revision or (model != MODEL and revision == REVISION):
        raise ValueError(
            f"model: {model!r} is no folder here; to take it from the hub give its revision too"
        )


def _chosen_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device: {device!r}, but PyTorch sees {torch.cuda.device_count()} GPUs")
    return chosen


def _compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What is computed in: CPUs are slow in half precision, or lack it."""
    return torch.float32 if device.type == "cpu" else PRECISIONS[precision]


def _load_pipeline(
    model: str, revision: str, settings: Settings, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Callable[[str], Tensor]]:
    """The pipeline on the device without its text model, and what encodes a text.

    The text model stays on the CPU in float32: it runs once for each prompt, and its place on
    the GPU is better used.

    Raises:
        ValueError: the model cannot be loaded or is of another kind.
    """
    try:
        from diffusers import StableDiffusionInstructPix2PixPipeline as Pipeline
    except (ImportError, RuntimeError) as error:  # diffusers wraps failing imports
        raise ValueError(
            "the editor instruct-pix2pix needs the packages diffusers and transformers: "
            + _first_line(error)
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
    """The folder of a model of the hub, from the cache of earlier downloads if it is there."""
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
    """A scheduler with the model's own noise levels."""
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
    """The text model's output [1, tokens, D] for a text.

    Raises:
        ValueError: the text has more tokens than the model takes; the rest would be lost.
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
    """Makes a ValueError of one line of whatever fails, without libraries' chatter."""
    try:
        with _quiet(bars), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # networks, caches and file formats have errors of many kinds
        raise ValueError(f"cannot load model {what}: {_first_line(error)}{advice}") from error


def _first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def _quiet(bars: bool) -> Iterator[None]:
    """No warnings of diffusers and transformers; progress bars with `bars`, for downloads."""
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
