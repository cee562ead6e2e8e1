"""Real pipelines of diffusers with small random modules, built without a network."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

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
        projection_dim=width,
    )
    return CLIPTextModel(config).eval()


def released_scheduler() -> EulerAncestralDiscreteScheduler:
    """Return a scheduler with the noise levels of Stable Diffusion."""
    return EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )


def tiny_unet(in_channels: int, pooled_width: int = 0) -> UNet2DConditionModel:
    """Return a denoising network; with a pooled text's width it is one of Stable Diffusion XL."""
    of_xl = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": pooled_width + 6 * 8,
        "cross_attention_dim": 2 * WIDTH,
    }
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(WIDTH, WIDTH),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
        **(of_xl if pooled_width else {"cross_attention_dim": WIDTH}),
    )


def tiny_vae(**options: float | bool) -> AutoencoderKL:
    """Return an autoencoder that reduces by 8."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        **({"scaling_factor": 0.18215} | options),
    )


def stable_diffusion(kind: type, folder: Path, in_channels: int) -> DiffusionPipeline:
    """Return a pipeline of Stable Diffusion."""
    return kind(
        vae=tiny_vae(),
        text_encoder=text_model(WIDTH, layers=2, heads=2, vocabulary=514),
        tokenizer=tiny_tokenizer(folder),
        unet=tiny_unet(in_channels),
        scheduler=released_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(kind: type, folder: Path, in_channels: int) -> DiffusionPipeline:
    """Return a pipeline of Stable Diffusion XL."""
    first = text_model(WIDTH, layers=2, heads=2, vocabulary=514)
    second = CLIPTextModelWithProjection(first.config)
    tokenizer = tiny_tokenizer(folder)
    return kind(
        vae=tiny_vae(scaling_factor=0.13025, force_upcast=True),
        text_encoder=first,
        text_encoder_2=second.eval(),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=tiny_unet(in_channels, pooled_width=second.config.projection_dim),
        scheduler=released_scheduler(),
        add_watermarker=False,
    )


def flux_kontext(folder: Path) -> FluxKontextPipeline:
    """Return a pipeline of FLUX.1 Kontext."""
    letters = [(letter, -2.0) for letter in (*string.printable, "\u2581")]
    t5 = T5Config(
        vocab_size=len(letters) + 3,
        d_model=WIDTH,
        d_kv=8,
        d_ff=WIDTH,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    return FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=tiny_vae(
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=text_model(WIDTH, layers=2, heads=2, vocabulary=514),
        tokenizer=tiny_tokenizer(folder),
        text_encoder_2=T5EncoderModel(t5).eval(),
        tokenizer_2=T5TokenizerFast(
            vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *letters], extra_ids=0
        ),
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(4, 4, 8),
        ),
    )


PIPELINES: dict[str, Callable[[Path], DiffusionPipeline]] = {
    "pix2pix": lambda folder: stable_diffusion(StableDiffusionInstructPix2PixPipeline, folder, 8),
    "pix2pix-xl": lambda folder: stable_diffusion_xl(
        StableDiffusionXLInstructPix2PixPipeline, folder, 8
    ),
    "image-to-image": lambda folder: stable_diffusion(StableDiffusionImg2ImgPipeline, folder, 4),
    "image-to-image-xl": lambda folder: stable_diffusion_xl(
        StableDiffusionXLImg2ImgPipeline, folder, 4
    ),
    "kontext": flux_kontext,
}


def tiny_pipeline(folder: Path, seed: int = 0, kind: str = "pix2pix") -> DiffusionPipeline:
    """Return a pipeline with weights by `seed`; its tokenizer's files go to `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PIPELINES[kind](folder)


def save_tiny_pipeline(folder: Path, seed: int = 0, kind: str = "pix2pix") -> Path:
    """Save the pipeline as diffusers does; return the folder to load it from."""
    tiny_pipeline(folder / "vocabulary", seed, kind).save_pretrained(folder / "model")
    return folder / "model"
