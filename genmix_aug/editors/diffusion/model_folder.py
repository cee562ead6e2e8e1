"""A diffusion pipeline in a local folder: whether it is the right kind, and what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from genmix_aug.editors.diffusion.kinds import Kind

WEIGHTS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2")
PARTS = (*WEIGHTS, "tokenizer", "tokenizer_2", "scheduler")
SUFFIXES = (".json", ".txt", ".model", ".safetensors")

CHUNKS, CHUNK_BYTES = 64, 2**16


def kind_of_folder(folder: Path, editor: str, kinds: Mapping[str, Kind]) -> Kind:
    """Return the kind of pipeline that a folder holds, before anything is loaded.

    Raises:
        ValueError: A file is missing or unreadable, the pipeline is of another kind, or the
            weights are not safetensors.
    """
    index = _read_json(folder / "model_index.json")
    kind = kind_of_index(index, str(folder), editor, kinds)
    channels = _read_json(folder / kind.denoiser / "config.json").get("in_channels")
    if kind.channels and channels != kind.channels:
        raise ValueError(
            f"model {folder}: its {kind.denoiser} takes {channels} channels, "
            f"that of {editor} takes {kind.channels}"
        )
    for part in WEIGHTS:
        if part in index and not any((folder / part).glob("*.safetensors")):
            raise ValueError(
                f"model {folder}: {part} has no .safetensors file; other weights are not loaded, "
                "save the pipeline with diffusers' save_pretrained"
            )
    return kind


def kind_of_index(
    index: Mapping[str, Any], model: str, editor: str, kinds: Mapping[str, Kind]
) -> Kind:
    """Return the kind that a model_index.json, `index`, names.

    Raises:
        ValueError: It names a class that the editor does not work with.
    """
    name = str(index.get("_class_name"))
    if name not in kinds:
        raise ValueError(f"model {model} is a {name}, and {editor} needs a {' or '.join(kinds)}")
    return kinds[name]


def folder_digest(folder: Path) -> str:
    """Return a hash of a pipeline's files, 16 hexadecimal digits, wherever the folder lies.

    Configuration and vocabulary count whole. Of weights over 4 MiB the size and 64 chunks of
    64 KiB, spread evenly from the first byte to the last, stand for all: another training
    changes them all.

    Raises:
        ValueError: model_index.json is missing, so it is no pipeline.
        OSError: A file cannot be read.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise ValueError(_missing(index))
    files = [index]
    for part in PARTS:
        files += sorted(p for p in (folder / part).rglob("*") if p.suffix in SUFFIXES)
    digest = blake2b(digest_size=8)
    for path in files:
        name, size = path.relative_to(folder).as_posix(), path.stat().st_size
        digest.update(f"{name}\n{size}\n".encode())
        _add_content(digest, path, size)
    return digest.hexdigest()


def _add_content(digest: blake2b, path: Path, size: int) -> None:
    """Add a file's bytes to a hash, or a sample of them."""
    with path.open("rb") as file:
        if path.suffix != ".safetensors" or size <= CHUNKS * CHUNK_BYTES:
            digest.update(file.read())
            return
        for number in range(CHUNKS):
            file.seek((size - CHUNK_BYTES) * number // (CHUNKS - 1))
            digest.update(file.read(CHUNK_BYTES))


def _read_json(path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file; ValueError where it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(_missing(path)) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"cannot read {path}: it holds no JSON object")
    return content


def _missing(path: Path) -> str:
    return f"model file {path} is missing: give the folder of a pipeline that diffusers saved"
