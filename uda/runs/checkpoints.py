"""Reading checkpoints and arrays without unpickling code."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


LARGE = 2**30  # bytes
MOST_UNFOLDED = 100  # times a file's bytes; torch and NumPy write theirs uncompressed


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU without unpickling code.

    Raises ValueError naming the file if it is missing, cut short, or holds anything but tensors and
    plain values.
    """
    import torch

    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        _refuse_bomb(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on the versions of what it then refuses
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Torch's message advises to load it anyway, which would run its code.
        raise ValueError(
            f"{path}: not a readable checkpoint (no checkpoint at all, or one that holds more than "
            "tensors and plain values: save its state dict alone)"
        ) from None
    except Exception as error:  # of a dozen types, in a file that nobody here wrote
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"{path}: not a readable checkpoint ({reason})") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint: holds a {type(state).__name__}")
    _check_plain(state, path)
    return state


def _check_plain(values: Any, path: Path) -> None:
    """Raise ValueError naming the file unless all its tensors are what training writes.

    Sparse, quantised and meta tensors have no values to check, and strides of 0 let a few bytes
    stand for more than any memory holds.
    """
    import torch

    if isinstance(values, torch.Tensor):
        is_plain = values.layout == torch.strided and not (values.is_quantized or values.is_meta)
        if not is_plain:
            raise ValueError(f"{path}: holds a tensor that is sparse, quantised or without values")
        num_bytes = values.numel() * values.element_size()
        if num_bytes > max(MOST_UNFOLDED * path.stat().st_size, LARGE):
            raise ValueError(f"{path}: holds a tensor that stands for {num_bytes:,} bytes")
    elif isinstance(values, Mapping):
        for value in values.values():
            _check_plain(value, path)
    elif isinstance(values, (list, tuple)):
        for value in values:
            _check_plain(value, path)


def classes_of(checkpoint: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    """Return the classes of a checkpoint's model in label order; None for older checkpoints.

    Raises ValueError that begins with ``where`` for anything but names.
    """
    names = checkpoint.get("classes")
    if names is None:
        return None
    if not is_list_of_names(names):
        raise ValueError(f"{where}: its classes are not a list of names")
    return tuple(names)


def is_list_of_names(names: Any) -> bool:
    """Return whether ``names`` is a list of texts, none of them twice."""
    is_texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return is_texts and len(set(names)) == len(names)


def check_classes(names: Sequence[str], expected: Sequence[str], where: str) -> None:
    """Raise ValueError that names a class unless ``names``, a model's classes, are ``expected``.

    Both are in label order; the message begins with ``where``.
    """
    if list(names) == list(expected):
        return
    more = [repr(name) for name in names if name not in expected]
    fewer = [repr(name) for name in expected if name not in names]
    if more and fewer:
        differs = f"with the class {more[0]}, where {fewer[0]} is expected"
    elif more or fewer:
        differs = f"of {len(names)} classes, where the source has {len(expected)}: "
        differs += f"with the class {more[0]}" if more else f"without the class {fewer[0]}"
    else:
        pairs = enumerate(zip(names, expected, strict=True))
        label, (name, other) = next((k, pair) for k, pair in pairs if pair[0] != pair[1])
        differs = f"whose class {label} is {name!r}, where {other!r} is expected"
    raise ValueError(
        f"{where}: a model {differs}; restore the dataset's classes and scenario, or keep runs of "
        "these in another --runs"
    )


def read_arrays(path: Path, names: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Return the arrays of a run's .npz file, or those of ``names`` alone, the others unread.

    Raises ValueError naming a broken file, or one that holds more than arrays of numbers and texts.
    """
    import numpy as np

    try:
        _refuse_bomb(path)
        with np.load(path, allow_pickle=False) as arrays:
            read = {name: arrays[name] for name in names or arrays}
        if strange := [name for name, array in read.items() if not isinstance(array, np.ndarray)]:
            raise ValueError(f"{strange[0]} is no array")
        return read
    except Exception as error:  # of a dozen types, in a file that nobody here wrote
        reason = " ".join(str(error).split()).partition(". If you trust")[0]
        raise ValueError(
            f"{path}: cannot be read ({reason or type(error).__name__}); delete the run and adapt "
            "again"
        ) from None


def check_finite_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Raise ValueError naming the file and the first of its arrays that is not finite."""
    import numpy as np

    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(
                f"{path}: {name} are not finite: the model diverged; delete the run and adapt again"
            )


def check_matrices(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Raise ValueError naming the file unless its arrays are matrices of floats, not empty."""
    for name, values in arrays.items():
        if values.ndim != 2 or values.dtype.kind != "f" or not values.size:
            raise ValueError(
                f"{path}: {name} are {values.dtype} {list(values.shape)}, not a matrix of floats; "
                "delete the run and adapt again"
            )


def check_columns(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Raise ValueError naming the file unless its arrays are finite columns of one table."""
    for name, values in arrays.items():
        if values.ndim != 1:
            raise ValueError(f"{path}: {name} has the shape {list(values.shape)}; adapt again")
    if len({len(values) for values in arrays.values()}) > 1:
        raise ValueError(f"{path}: its arrays differ in length; adapt again")
    check_finite_arrays({k: v for k, v in arrays.items() if v.dtype.kind == "f"}, path)


def _refuse_bomb(path: Path) -> None:
    """Raise ValueError where a zip file unfolds to far more bytes than it has."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            num_bytes = sum(part.file_size for part in archive.infolist())
        if num_bytes > MOST_UNFOLDED * path.stat().st_size:
            raise ValueError(f"{path.stat().st_size:,} bytes that unfold to {num_bytes:,}")
