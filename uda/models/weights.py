"""State dicts of weight files, and checks that they fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

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


def check_shapes(state: Mapping[str, Any], wanted: Mapping[str, Tensor], where: str) -> None:
    """Raise ValueError unless ``state`` has a tensor of the same shape for every key of ``wanted``.

    BatchNorm's ``num_batches_tracked``, which older files lack and nothing here reads, may be
    absent. The message begins with ``where`` and names the first wrong key.
    """
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
