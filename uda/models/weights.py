"""State dicts of weight files, and checks that they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from uda.runs.checkpoints import read_checkpoint


def read_weights(path: Path) -> dict[str, Any]:
    """Read a state dict from a file of torch.save or safetensors.

    It may be the whole content or stand under the key ``state_dict`` or ``model``.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state: dict[str, Any] = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from None
    else:
        state = read_checkpoint(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    return without_module_prefix(state)


def without_module_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``state`` without ``module.``, which DataParallel puts before every key."""
    if not all(str(key).startswith("module.") for key in state):
        return dict(state)
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def weights_digest(module: nn.Module) -> bytes:
    """Return 16 bytes that tell the values of a module's state from others."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in module.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()


def check_weights(
    state: Mapping[str, Any], wanted: Mapping[str, Tensor], file: str, misfit: str = ""
) -> None:
    """Check that ``state`` has a finite tensor of the same shape for every key of ``wanted``.

    BatchNorm's ``num_batches_tracked``, which older files lack and nothing here reads, may be
    absent.

    Raises:
        ValueError: Names ``file`` and the first wrong key; where it is missing or of another shape,
            after the words of ``misfit``.
    """
    where = f"{file}: {misfit}" if misfit else file
    for key, value in wanted.items():
        if key not in state:
            if key.endswith("num_batches_tracked"):
                continue
            raise ValueError(f"{where}: {key} is missing")
        if not isinstance(state[key], Tensor):
            raise ValueError(f"{where}: {key} is a {type(state[key]).__name__}, not a tensor")
        if state[key].shape != value.shape:
            raise ValueError(
                f"{where}: {key} has the shape {list(state[key].shape)}, expected "
                f"{list(value.shape)}"
            )
        check_finite_tensors(state[key], file, key)


def check_finite_tensors(state: Any, file: str, name: str = "") -> None:
    """Raise ValueError naming ``file`` and the tensor where a value in ``state`` is not finite.

    Args:
        state: A tensor, or mappings and lists that hold tensors.
        file: Where it is from.
        name: The key of ``state`` in it.
    """
    if isinstance(state, Tensor):
        if not state.is_meta and not (finite := state.isfinite()).all():
            raise ValueError(
                f"{file}: {name}: {int((~finite).sum()):,} of {state.numel():,} values are not "
                "finite: its training diverged, or the file is damaged; take other weights"
            )
    elif isinstance(state, (Mapping, list, tuple)):
        items = state.items() if isinstance(state, Mapping) else enumerate(state)
        for key, value in items:
            check_finite_tensors(value, file, f"{name}.{key}" if name else str(key))
