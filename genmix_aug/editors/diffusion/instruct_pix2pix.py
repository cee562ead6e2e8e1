"""The editor `instruct-pix2pix`: the paper's diffusion editor, over diffusers' pipeline."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genmix_aug.editors.base import Editor, check_images, check_request
from genmix_aug.editors.diffusion.loading import first_line, load_pipeline, quiet
from genmix_aug.editors.diffusion.model_folder import folder_digest
from genmix_aug.editors.diffusion.noise import first_noise
from genmix_aug.editors.diffusion.settings import chosen_settings
from genmix_aug.editors.memory import give_back, lacks_memory
from genmix_aug.editors.resizing import resize, working_size
from genmix_aug.prompts import full_prompt
from genmix_aug.seeding import hash_seed

VERSION = 1  # raise it whenever the same settings give another edit: it is part of every key

MODEL = "timbrooks/instruct-pix2pix"
REVISION = "31519b5cb02a7fd89b906d88731cd4d6a7bbf88d"

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class InstructPix2PixEditor(Editor):
    """Edits images by InstructPix2Pix (arXiv 2211.09800), as GenMix (arXiv 2412.02366) does.

    An image is scaled so that its longer side is `resolution` px, up or down, with its aspect
    ratio kept; the edit comes back at the image's size. Any prompt is allowed that is not
    too long for the text model. Nothing is loaded before the first edit, so that an editor
    costs nothing where all edits are in the store.

    Presets:
        released: As GenMix's authors released it: 100 steps (the pipeline's default),
            Euler-ancestral, text guidance 4, image guidance 1.5, 512 px, float16.
        fast: DPM-Solver++ in 20 steps, so about five times as fast, and channels-last weights.
            Still float16, which rounds eight times finer than bfloat16. Not compiled, as that takes
            a minute or more, again when the images' size changes: compile=true is for many images
            of equal size.
        low-memory: the edits of `released`, same fingerprint; pictures are encoded and decoded
            singly, which is where memory peaks. The denoising itself takes as many at once
            as memory holds.

    The options below override the preset; 0, "" and None leave it as it is.

    Half precision now and then gives values that are not finite. Such an image is edited again
    by itself in float32 and counted in `redone`; if float32 cannot edit it either, it comes out
    black and is counted in `failed`. A CPU computes half precision in float32: the same edits up
    to rounding, so under the same fingerprint.

    Args:
        model: A name on the Hugging Face hub, or a folder that diffusers' save_pretrained wrote.
        revision: The hub's commit; not used for a folder.
        preset: released, fast or low-memory.
        steps: Of denoising, at least 1.
        text_guidance: Over 1; higher follows the prompt more.
        image_guidance: At least 1; higher keeps more of the image.
        resolution: px of the longer side while editing, a multiple of 8, at least 64.
        scheduler: euler-ancestral, dpm-solver++ or unipc.
        precision: float32, float16 or bfloat16.
        channels_last: The weights' layout in memory.
        compile: The UNet by torch.compile.
        vae_slicing: Pictures encoded and decoded singly.
        device: auto (a GPU if PyTorch sees any), cpu, cuda or cuda:N.

    Attributes:
        redone: Images edited again in float32 so far.
        failed: Images that came out black so far.

    Raises:
        ValueError: An option has a value that it cannot have.
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
        self._most = 0  # images at a time that memory holds, once known; 0: no limit

    def __getstate__(self) -> dict[str, Any]:
        """Return options and counts: another process loads the model itself."""
        return {**self.__dict__, "_pipeline": None, "_encoder": None, "_embeddings": {}}

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
        s = self.settings
        return (
            f"instruct-pix2pix-v{VERSION} {self._identity} steps={s.steps} text={s.text_guidance} "
            f"image={s.image_guidance} px={s.resolution} {s.scheduler} {s.precision}"
        )

    def group(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which such images are edited: `working_size`."""
        return working_size(height, width, self.settings.resolution)

    def edit(self, images: Tensor, prompts: list[str], seeds: list[int]) -> Tensor:
        """Return edits uint8 [B, 3, H, W] of images uint8 [B, 3, H, W]; see `Editor.edit`.

        Where the GPU's memory is too small for all at once they are edited in halves, which
        changes no edit.

        Raises:
            ValueError: Lengths that differ, a prompt too long for the text model, a model that
                cannot be loaded, or a GPU that is missing or too small for a single image.
        """
        check_request(images, prompts, seeds)
        if len(images) == 0:
            return images.clone()
        return torch.stack(self.edit_each(list(images), prompts, seeds))

    def edit_each(
        self, images: Sequence[Tensor], prompts: list[str], seeds: list[int]
    ) -> list[Tensor]:
        """Return edits of images uint8 [3, H, W] of the same `group`; see `edit`."""
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
        if broken and self._pipeline.unet.dtype != torch.float32:
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
        self._pipeline = self._encoder = None
        self._embeddings.clear()
        give_back()

    @torch.no_grad()
    def _run(
        self, images: Sequence[Tensor], prompts: list[str], seeds: list[int]
    ) -> tuple[list[Tensor], Tensor]:
        """Return edits uint8 [3, H, W], black where not finite, and which are finite, bool [B]."""
        pipeline, settings = self._pipeline, self.settings
        device, dtype = pipeline.unet.device, pipeline.unet.dtype
        height, width = self.group(*images[0].shape[1:])
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
        scaled = [resize(image[None].to(device).float() / 255, height, width) for image in images]
        latents = pipeline(
            image=torch.cat(scaled),
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
        unscaled = latents / pipeline.vae.config.scaling_factor
        decoded = pipeline.vae.decode(unscaled, return_dict=False)[0].float()
        finite = decoded.isfinite().flatten(1).all(dim=1)
        pictures = torch.where(finite[:, None, None, None], decoded / 2 + 0.5, 0).clamp(0, 1)
        edits = [
            (resize(picture[None], *image.shape[1:])[0] * 255).round().to(image.device, torch.uint8)
            for picture, image in zip(pictures, images, strict=True)
        ]
        return edits, finite.cpu()

    @contextmanager
    def _in_float32(self) -> Iterator[None]:
        """Have the networks in float32 for a while; going back to half precision is exact."""
        networks = (self._pipeline.unet, self._pipeline.vae)
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

    def _embedding(self, text: str) -> Tensor:
        """Return the text model's output for a sentence, float32 [1, tokens, D], made once."""
        if text not in self._embeddings:
            assert self._encoder is not None
            self._embeddings[text] = self._encoder(text)
        return self._embeddings[text]

    def _load(self) -> None:
        """Load the pipeline, unless it is loaded.

        Raises:
            ValueError: The model cannot be loaded, or memory is too small for it.
        """
        if self._pipeline is None:
            device = _chosen_device(self.device)
            dtype = _compute_dtype(self.settings.precision, device)
            try:
                self._pipeline, self._encoder = load_pipeline(
                    self.model, self.revision, self.settings, device, dtype
                )
            except RuntimeError as error:
                if not lacks_memory(error):
                    raise
                raise ValueError(
                    f"memory of {device} is too small for the model, or taken by others: "
                    + first_line(error)
                ) from None


def _check_model(model: str, revision: str) -> None:
    """Refuse what can be neither a folder that exists nor a pinned hub model."""
    if Path(model).is_dir():
        return
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", model):
        raise ValueError(f"model: there is no folder {model!r}, and no hub model has such a name")
    if not revision or (model != MODEL and revision == REVISION):
        raise ValueError(
            f"model: {model!r} is no folder here; to take it from the hub give its revision too"
        )


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
