"""Editing by diffusion models, over diffusers' pipelines: what all of them have in common."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from genmix_aug.editors.base import ListEditor, check_images
from genmix_aug.editors.diffusion.kinds import Embeddings, Kind
from genmix_aug.editors.diffusion.loading import first_line, load_pipeline, quiet
from genmix_aug.editors.diffusion.model_folder import folder_digest
from genmix_aug.editors.diffusion.noise import float32_draws
from genmix_aug.editors.diffusion.settings import Settings, chosen_settings
from genmix_aug.editors.memory import give_back, lacks_memory
from genmix_aug.editors.resizing import resize, working_size
from genmix_aug.prompts import TEMPLATE, full_prompt
from genmix_aug.seeding import hash_seed

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class DiffusionEditor(ListEditor):
    """Edits images by a diffusion model; a new family of models is a subclass with attributes.

    An image is scaled so that its longer side is `resolution` px, up or down, with its aspect
    ratio kept; the edit comes back at the image's size. Any prompt is allowed that is not
    too long for the text model. Nothing is loaded before the first edit, so that an editor
    costs nothing where all edits are in the store.

    Presets, of which the subclass says the figures:
        released: As the model's authors use it.
        fast: Fewer steps, by another scheduler where that needs fewer, and channels-last weights.
            Not compiled, as that takes a minute or more, again when the images' size changes:
            compile=true is for many images of equal size.
        low-memory: The edits of `released`, same fingerprint; pictures are encoded and decoded
            singly, which is where memory peaks. The denoising itself takes as many at once
            as memory holds.

    The options below override the preset; 0, "" and None leave it as it is.

    Half precision now and then gives values that are not finite. Such an image is edited again
    by itself in float32 and counted in `redone`; if float32 cannot edit it either, it comes out
    black and is counted in `failed`. A CPU computes half precision in float32: the same edits up
    to rounding, so under the same fingerprint.

    Args:
        model: A name on the Hugging Face hub, or a folder that diffusers' save_pretrained wrote;
            empty for the family's own, if it has one.
        revision: The hub's commit; not used for a folder.
        preset: released, fast or low-memory.
        steps: Of denoising, at least 1.
        text_guidance: Higher follows the prompt more.
        image_guidance: At least 1; higher keeps more of the image. Of InstructPix2Pix.
        strength: Over 0, at most 1: how much of the image is replaced by noise. Of image-to-image.
        resolution: px of the longer side while editing, a multiple of 8 (kontext: 16), at least 64.
        scheduler: euler-ancestral, dpm-solver++, unipc, lcm (for models made for it), or own, which
            is the model's.
        precision: float32, float16 or bfloat16.
        channels_last: The weights' layout in memory.
        compile: The denoising network by torch.compile.
        vae_slicing: Pictures encoded and decoded singly.
        device: auto (a GPU if PyTorch sees any), cpu, cuda or cuda:N.

    Attributes:
        name: Of the editor.
        version: Raised whenever the same settings give another edit: it is part of every key.
        hub: The model of the hub, and its revision, where none is named; empty if there is none.
        kinds: The pipelines that it works with, by the class that a model's folder names.
        presets: Settings by name.
        side_multiple: px, of which an edited picture's sides are multiples.
        template: The sentence that a short prompt stands in.
        redone: Images edited again in float32 so far.
        failed: Images that came out black so far.

    Raises:
        ValueError: An option has a value that it cannot have, or is not one of this family's.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    hub: ClassVar[tuple[str, str]] = ("", "")
    kinds: ClassVar[Mapping[str, Kind]]
    presets: ClassVar[Mapping[str, Settings]]
    side_multiple: ClassVar[int] = 8
    template: ClassVar[str] = TEMPLATE

    def __init__(
        self,
        *,
        model: str = "",
        revision: str = "",
        preset: str = "released",
        steps: int = 0,
        text_guidance: float = 0.0,
        image_guidance: float = 0.0,
        strength: float = 0.0,
        resolution: int = 0,
        scheduler: str = "",
        precision: str = "",
        channels_last: bool | None = None,
        compile: bool | None = None,
        vae_slicing: bool | None = None,
        device: str = "auto",
    ) -> None:
        self.settings = chosen_settings(
            self.presets,
            preset,
            self.side_multiple,
            steps=steps,
            text_guidance=text_guidance,
            image_guidance=image_guidance,
            strength=strength,
            resolution=resolution,
            scheduler=scheduler,
            precision=precision,
            channels_last=channels_last,
            compile=compile,
            vae_slicing=vae_slicing,
        )
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise ValueError(f"device: {device!r} is not one of auto, cpu, cuda, cuda:N")
        self.model, self.revision = self._chosen_model(os.path.expanduser(model), revision)
        self.device = device
        self.redone = self.failed = 0
        self._identity = ""
        self._pipeline: Any = None
        self._texts: Any = None  # the pipeline's text models, apart
        self._kind: Kind
        self._embeddings: dict[str, Embeddings] = {}
        self._most = 0  # images at a time that memory holds, once known; 0: no limit

    def __getstate__(self) -> dict[str, Any]:
        """Return options and counts: another process loads the model itself."""
        return {**self.__dict__, "_pipeline": None, "_texts": None, "_embeddings": {}}

    @property
    def fingerprint(self) -> str:
        """The kind and version, the model and every setting that changes an edit.

        The model is its name and revision, or a hash of the files in its folder. A preset has
        the same fingerprint as its values as separate options.

        Raises:
            ValueError: The model's folder holds no pipeline.
            OSError: A file of the model cannot be read.
        """
        if not self._identity:
            folder = Path(self.model)
            hub = f"{self.model}@{self.revision}"
            self._identity = folder_digest(folder) if folder.is_dir() else hub
        return f"{self.name}-v{self.version} {self._identity} {self.settings.fingerprint}"

    def group(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which such images are edited: `working_size`."""
        return working_size(height, width, self.settings.resolution, self.side_multiple)

    def edit_each(
        self, images: Sequence[Tensor], prompts: list[str], seeds: list[int]
    ) -> list[Tensor]:
        """Return edits of images uint8 [3, H, W] of the same `group`; see `edit`.

        Where the GPU's memory is too small for all at once they are edited in halves, which
        changes no edit.

        Raises:
            ValueError: Lengths that differ, a prompt too long for the text model, a model that
                cannot be loaded, or a GPU that is missing or too small for a single image.
        """
        check_images(images, prompts, seeds)
        groups = {self.group(image.shape[1], image.shape[2]) for image in images}
        if len(groups) > 1:
            raise ValueError(f"images of several working sizes in one batch: {sorted(groups)}")
        if images:
            self._load()
        done: list[Tensor] = []
        while len(done) < len(images):
            some = slice(len(done), len(done) + (self._most or len(images)))
            done += self._fitting(images[some], prompts[some], seeds[some])
        return done

    def _fitting(
        self, images: Sequence[Tensor], prompts: list[str], seeds: list[int]
    ) -> list[Tensor]:
        """Return edits of the first images, of as many as memory holds: all, half, a quarter, …"""
        while True:
            try:
                return self._edits(images, prompts, seeds)
            except RuntimeError as error:
                if not lacks_memory(error):
                    raise
                reason = first_line(error)
            # Out of the block that holds the error, and through it what was being computed.
            give_back()
            if len(images) == 1:
                raise ValueError(
                    f"memory is too small for one image at {self.settings.resolution} px "
                    f"({reason}): take a smaller one, such as resolution=256, or a GPU with more "
                    "that is free"
                )
            most = self._most = len(images) // 2
            images, prompts, seeds = images[:most], prompts[:most], seeds[:most]

    def _edits(
        self, images: Sequence[Tensor], prompts: list[str], seeds: list[int]
    ) -> list[Tensor]:
        """Edit all at once, and again in float32 those that half precision cannot edit."""
        edits, finite = self._run(images, prompts, seeds)
        broken = (~finite).nonzero().flatten().tolist()
        if broken and self._denoiser.dtype != torch.float32:
            with self._in_float32():
                for number in broken:
                    row = slice(number, number + 1)
                    edits[row], finite[row] = self._run(images[row], prompts[row], seeds[row])
            self.redone += len(broken)
        self.failed += int((~finite).sum())
        return edits

    def prefer_device(self, device: str) -> None:
        """Work on this device where the option `device` is auto."""
        if self.device == "auto":
            self.device = device

    @property
    def uses_gpu(self) -> bool:
        """Whether the options leave it a GPU."""
        return self.device != "cpu"

    def remarks(self) -> dict[str, int]:
        """Say how many edits half precision, and float32, could not make."""
        counts = {
            "were not finite in half precision and were made in float32": self.redone,
            "were not finite in float32 either and came out black": self.failed,
        }
        return {what: count for what, count in counts.items() if count}

    def release(self) -> None:
        """Free the model's memory; the next edit loads it again."""
        self._pipeline = self._texts = None
        self._embeddings.clear()
        give_back()

    @torch.no_grad()
    def _run(
        self, images: Sequence[Tensor], prompts: list[str], seeds: list[int]
    ) -> tuple[list[Tensor], Tensor]:
        """Return edits uint8 [3, H, W], black where not finite, and which are finite, bool [B]."""
        pipeline, settings, kind = self._pipeline, self.settings, self._kind
        device, dtype = self._denoiser.device, self._denoiser.dtype
        height, width = self.group(*images[0].shape[1:])
        scaled = [resize(image[None].to(device).float() / 255, height, width) for image in images]
        embeddings = [self._embedding(prompt) for prompt in prompts]
        with float32_draws(pipeline), quiet(bars=True):
            decoded = pipeline(
                image=torch.cat(scaled),
                generator=[
                    torch.Generator().manual_seed(hash_seed(prompt, seed))
                    for prompt, seed in zip(prompts, seeds, strict=True)
                ],
                num_inference_steps=settings.steps,
                guidance_scale=settings.text_guidance,
                output_type="pt",
                **{
                    name: torch.cat([each[name] for each in embeddings]).to(device, dtype)
                    for name in embeddings[0]
                },
                **kind.arguments(settings, height, width),
            ).images.float()
        finite = decoded.isfinite().flatten(1).all(dim=1)
        pictures = torch.where(finite[:, None, None, None], decoded / 2 + 0.5, 0).clamp(0, 1)
        edits = [
            (resize(picture[None], *image.shape[1:])[0] * 255).round().to(image.device, torch.uint8)
            for picture, image in zip(pictures, images, strict=True)
        ]
        return edits, finite.cpu()

    @property
    def _denoiser(self) -> Any:
        """The network that denoises."""
        return getattr(self._pipeline, self._kind.denoiser)

    @contextmanager
    def _in_float32(self) -> Iterator[None]:
        """Have the networks in float32 for a while; going back to half precision is exact."""
        networks = (self._denoiser, self._pipeline.vae)
        half = networks[0].dtype

        def cast(dtype: torch.dtype) -> None:
            with quiet(bars=True):  # diffusers warns of casts
                for network in networks:
                    network.to(dtype)

        try:
            cast(torch.float32)
            with torch.compiler.set_stance("force_eager"):  # too rare to compile for
                yield
        finally:
            cast(half)

    def _embedding(self, prompt: str) -> Embeddings:
        """Return what the text models make of a prompt in its sentence, made once."""
        if prompt not in self._embeddings:
            sentence = full_prompt(prompt, self.template)
            self._embeddings[prompt] = self._kind.encode(self._texts, sentence)
        return self._embeddings[prompt]

    def _load(self) -> None:
        """Load the pipeline, unless it is loaded.

        Raises:
            ValueError: The model cannot be loaded, or memory is too small for it.
        """
        if self._pipeline is None:
            device = _chosen_device(self.device)
            dtype = _compute_dtype(self.settings.precision, device)
            try:
                self._kind, self._pipeline, self._texts = load_pipeline(
                    self, self.settings, device, dtype
                )
            except RuntimeError as error:
                if not lacks_memory(error):
                    raise
                raise ValueError(
                    f"memory of {device} is too small for the model, or taken by others: "
                    + first_line(error)
                ) from None

    def _chosen_model(self, model: str, revision: str) -> tuple[str, str]:
        """Return a folder that exists, or a pinned model of the hub, and its revision."""
        if not model:
            model, own_revision = self.hub
            revision = revision or own_revision
        if not model:
            raise ValueError(
                f"model: {self.name} has none of its own; give a folder that diffusers saved, or a "
                "name on the hub and its revision"
            )
        if Path(model).is_dir():
            return model, revision
        if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", model):
            raise ValueError(
                f"model: there is no folder {model!r}, and no hub model has such a name"
            )
        if not revision:
            raise ValueError(
                f"model: {model!r} is no folder here; to take it from the hub give its revision too"
            )
        return model, revision


def _chosen_device(device: str) -> torch.device:
    """Return the device of the option `device`; auto is a GPU if PyTorch sees any."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device: {device!r}, but PyTorch sees {torch.cuda.device_count()} GPUs")
    return chosen


def _compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the type to compute in: CPUs are slow in half precision, or lack it."""
    return torch.float32 if device.type == "cpu" else PRECISIONS[precision]
