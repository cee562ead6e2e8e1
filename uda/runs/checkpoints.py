"""Reading checkpoints and arrays without unpickling code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU without unpickling code.

    Raises ValueError naming the file if it is missing, cut short, or holds anything but tensors and
    plain values.
    """
    import torch

    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Torch's message advises to load it anyway, which would run its code.
        raise ValueError(
            f"{path}: not a readable checkpoint (no checkpoint at all, or one that holds more than "
            "tensors and plain values: save its state dict alone)"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"{path}: not a readable checkpoint ({reason})") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint: holds a {type(state).__name__}")
    return state


def read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a run's .npz file: all, or ``names``, the others unread.

    Raises ValueError naming a broken file.
    """
    import numpy as np

    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in (arrays if names is None else names)}
    except (ValueError, OSError, EOFError, LookupError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}); delete the run and adapt again"
        ) from None


def check_finite_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Raise ValueError naming the file and the first of its arrays that is not finite."""
    import numpy as np

    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(
                f"{path}: {name} are not finite: the model diverged; delete the run and adapt again"
            )
