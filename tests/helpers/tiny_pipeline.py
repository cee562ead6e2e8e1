"""A real InstructPix2Pix pipeline of small random modules, built without a network."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WIDTH = 16  # channels throughout


def byte_symbols() -> list[str]:
    """Return the 256 characters that CLIP's byte-pair encoding writes bytes as."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    names = {byte: chr(byte) for byte in plain}
    names |= {byte: chr(256 + number) for number, byte in enumerate(others)}
    return [names[byte] for byte in range(256)]


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    """Return a CLIP tokenizer with a token a letter, 514 ids; its files go to `folder`."""
    symbols = byte_symbols()
    tokens = [*symbols, *(f"{s}</w>" for s in symbols), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def text_model(width: int, layers: int, heads: int, vocabulary: int) -> CLIPTextModel:
    """Return a CLIP text model with random weights and 77 positions, as Stable Diffusion has."""
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return CLIPTextModel(config).eval()


def released_scheduler() -> EulerAncestralDiscreteScheduler:
    """Return a scheduler with the noise levels of Stable Diffusion."""
    return EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )


def tiny_pipeline(folder: Path, seed: int = 0) -> StableDiffusionInstructPix2PixPipeline:
    """Return the pipeline with weights by `seed`; the tokenizer's files go to `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=8,
            out_channels=4,
            block_out_channels=(WIDTH, WIDTH),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            norm_num_groups=4,
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=4,
            scaling_factor=0.18215,
        )
        return StableDiffusionInstructPix2PixPipeline(
            vae=vae,
            text_encoder=text_model(WIDTH, layers=2, heads=2, vocabulary=514),
            tokenizer=tiny_tokenizer(folder),
            unet=unet,
            scheduler=released_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def save_tiny_pipeline(folder: Path, seed: int = 0) -> Path:
    """Save the pipeline as diffusers does; return the folder to load it from."""
    tiny_pipeline(folder / "vocabulary", seed).save_pretrained(folder / "model")
    return folder / "model"
