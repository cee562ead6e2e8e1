"""What differs between diffusers' pipelines that edit images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from genmix_aug.editors.diffusion.settings import Settings

Embeddings = dict[str, Tensor]  # of a text [1, …], by the names under which pipelines take them

NO_CHECKER = {"safety_checker": None, "requires_safety_checker": False}
NO_WATERMARK = {"add_watermarker": False}
CLIP = {"text_encoder": torch.float32}
TWO_CLIPS = {"text_encoder": torch.float32, "text_encoder_2": torch.float32}
T5_TOKENS = 512
# T5's 5 billion weights are published in bfloat16.
CLIP_AND_T5 = {"text_encoder": torch.float32, "text_encoder_2": torch.bfloat16}


@dataclass(frozen=True)
class Kind:
    """A pipeline, and how it is called.

    Attributes:
        pipeline: The class of diffusers that edits; a model's folder may name another, such as
            that of text to image.
        encode: What a text becomes, by a pipeline of the text models alone.
        arguments: Arguments of a call besides those that all pipelines have, for settings and a
            size in px.
        constructor: Arguments of the pipeline's constructor.
        text_precisions: The text models, and in which precision they compute on a CPU.
        denoiser: The denoising network's name in the pipeline.
        channels: What that network takes; 0 where the class says enough.
    """

    pipeline: str
    encode: Callable[[Any, str], Embeddings]
    arguments: Callable[[Settings, int, int], dict[str, Any]]
    constructor: Mapping[str, Any] = field(default_factory=dict)
    text_precisions: Mapping[str, torch.dtype] = field(default_factory=lambda: CLIP)
    denoiser: str = "unet"
    channels: int = 0


@torch.no_grad()
def encode_clip(texts: Any, text: str) -> Embeddings:
    """Return a text as Stable Diffusion takes it, and the empty text.

    Raises:
        ValueError: The text has more tokens than the model takes; the rest would be lost.
    """
    longest = texts.tokenizer.model_max_length

    def encoded(words: str) -> Tensor:
        tokens = texts.tokenizer(
            words, padding="max_length", max_length=longest, return_tensors="pt"
        )
        return texts.text_encoder(tokens.input_ids)[0].float()

    check_length(texts.tokenizer, text, longest)
    return {"prompt_embeds": encoded(text), "negative_prompt_embeds": encoded("")}


@torch.no_grad()
def encode_two_clips(texts: Any, text: str) -> Embeddings:
    """Return a text as Stable Diffusion XL takes it, and the empty text; see `encode_clip`."""
    for tokenizer in (texts.tokenizer, texts.tokenizer_2):
        check_length(tokenizer, text, tokenizer.model_max_length)
    names = (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    )
    encoded = texts.encode_prompt(text, device=torch.device("cpu"))
    return {name: each.float() for name, each in zip(names, encoded, strict=True)}


@torch.no_grad()
def encode_clip_and_t5(texts: Any, text: str) -> Embeddings:
    """Return a text as FLUX takes it; see `encode_clip`. CLIP reads its first 77 tokens alone."""
    check_length(texts.tokenizer_2, text, T5_TOKENS)
    sequence, pooled, _ = texts.encode_prompt(text, max_sequence_length=T5_TOKENS)
    return {"prompt_embeds": sequence.float(), "pooled_prompt_embeds": pooled.float()}


def check_length(tokenizer: Any, text: str, longest: int) -> None:
    """Refuse a text that would be cut.

    Raises:
        ValueError: It has more tokens than `longest`.
    """
    count = len(tokenizer(text).input_ids)
    if count > longest:
        raise ValueError(
            f"prompt too long, {count} tokens where the text model takes {longest}: {text[:60]!r}…"
        )
