"""Files that a stranger may have made: valid ones, changed at random in their bytes or values."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

OUTSIDE = "/tmp/outside-of-the-fuzzed-folder"  # nothing may be made there
NUMBERS = (-1, 0, 1, 2, 3, 255, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, math.nan, math.inf)
TEXTS = (
    *("", " ", "x", "0", "no", "1e-1", "opda", "lead", "2024-01-01", "~", "$HOME", "é", "\ud800"),
    *("..", "../../x", "../../../../etc/passwd", "/etc/passwd", OUTSIDE, f"{OUTSIDE}/x.png"),
    *("\0", "a\0b", "a\nb", "a\rb", "\ufeff", "CON", "a" * 300, "a/" * 200, "x" * 20_000),
    *("=1+1", "<script>", "{{ 7*7 }}", "%s%n", "|", "`id`", "$(id)"),
)
YAML_TEXTS = (
    f"!!python/object/apply:os.mkdir ['{OUTSIDE}']",
    f"!!python/object/new:os.mkdir ['{OUTSIDE}']",
    *("!!binary x", "!!timestamp x", "!!int x", "!!float x", "!!set {a, b}", "!!omap [a: 1]"),
    *("&a [*a]", "&a {x: *a}", "*missing", "<<: [1]", "? [a]\n: b", "2024-13-45", "0o9", "1:2:3"),
    *("- - - -", "\t- x", "--- a\n--- b", "%TAG ! tag:x,2000:\n---\n", "'", "|", ">", "@x"),
    "a: &a [x, x, x, x, x, x, x, x, x, x]\n" * 1
    + "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
    + "".join(
        f"{chr(c + 1)}: &{chr(c + 1)} [{', '.join([f'*{chr(c)}'] * 10)}]\n"
        for c in range(ord("b"), ord("k"))
    ),
)
BYTES = (b"\0", b"\xff", b"\n", b"\r\n", b"\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"[" * 20_000)


class Harmful:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, (OUTSIDE,)


def mutated_bytes(data: bytes, rng: Random) -> bytes:
    """Return ``data`` with one to eight random changes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(changed) + 1)
        span = rng.choice((1, 1, 2, 4, 8, rng.randrange(1, 200)))
        kind = rng.randrange(8)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2:
            del changed[at : at + span]
        elif kind == 3:
            changed[at:at] = rng.randbytes(span)
        elif kind == 4:
            start = rng.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + span]
        elif kind == 5:
            number = rng.choice((0, 1, -1, 2**31 - 1, 2**31, 2**15, 2**16 - 1, rng.getrandbits(32)))
            order = rng.choice(("little", "big"))
            changed[at : at + 4] = (number & 0xFFFFFFFF).to_bytes(4, order)  # type: ignore[arg-type]
        elif kind == 6 and rng.random() < 0.3:
            del changed[at:]
        else:
            changed[at:at] = rng.choice(BYTES)
    return bytes(changed)


def strange(rng: Random, depth: int = 0) -> Any:
    """Return a value that nobody expects."""
    kind = rng.randrange(9 if depth < 3 else 5)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind in (1, 2):
        return rng.choice(NUMBERS)
    if kind in (3, 4):
        return rng.choice(TEXTS)
    inner = [strange(rng, depth + 1) for _ in range(rng.randrange(3))]
    if kind in (5, 6):
        return inner
    return {rng.choice(TEXTS): value for value in inner}


def mutated_value(
    value: Any, rng: Random, other: Callable[[Any, Random], Any] | None = None
) -> Any:
    """Return nested plain ``value`` with one to three random changes.

    Args:
        other: Returns another leaf in place of one, such as a tensor; None leaves it to `strange`.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(value, rng, other)
    return value


def _changed(value: Any, rng: Random, other: Callable[[Any, Random], Any] | None) -> Any:
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.55:
            return {**value, key: _changed(value[key], rng, other)}
        if kind < 0.7:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.8:
            renamed = rng.choice((*TEXTS[:20], *NUMBERS[:5]))
            return {renamed if k == key else k: v for k, v in value.items()}
        if kind < 0.9:
            return {**value, key: value[rng.choice(list(value))]}
        if kind < 0.95:
            return {**value, rng.choice(TEXTS): strange(rng)}
    elif isinstance(value, (list, tuple)) and value:
        at, kind = rng.randrange(len(value)), rng.random()
        items = list(value)
        if kind < 0.6:
            items[at] = _changed(items[at], rng, other)
            return items
        if kind < 0.7:
            return items[:at] + items[at + 1 :]
        if kind < 0.8:
            return items[:at] + [items[at]] * rng.choice((2, 3, 50)) + items[at + 1 :]
        if kind < 0.9:
            return rng.sample(items, len(items))
    elif other is not None and rng.random() < 0.7:
        return other(value, rng)
    return strange(rng)


def tensor_of(value: Any, rng: Random) -> Any:
    """Return another tensor, or what passes for one, in place of a leaf of a checkpoint."""
    is_small = isinstance(value, torch.Tensor) and value.numel() < 10**6
    tensor = value if is_small else torch.ones(2)
    kind = rng.randrange(12)
    if kind == 0:
        return torch.full_like(tensor.float(), rng.choice((math.nan, math.inf)))
    if kind == 1:
        return tensor.reshape(-1)
    if kind == 2:
        return tensor.to(rng.choice((torch.float16, torch.int8, torch.bool, torch.complex64)))
    if kind == 3:
        return torch.zeros(1).expand(rng.choice(((10**5, 10**6), (10**9, 10**9), (2**20,))))
    if kind == 4:
        return torch.zeros(rng.choice(((0,), (1,), (1, 1), (3, 3), (0, 5))))
    if kind == 5:
        return tensor.to_sparse() if tensor.is_floating_point() and tensor.ndim else tensor
    if kind == 6:
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    if kind == 7:
        return tensor.to("meta")
    if kind == 8:
        return Harmful() if rng.random() < 0.3 else np.float64(1)
    if kind == 9:
        return torch.nn.Parameter(tensor.float())
    if kind == 10:
        return tensor.numpy() if not tensor.is_sparse else 1
    return strange(rng)


def array_of(value: np.ndarray, rng: Random) -> Any:
    """Return another array in place of ``value``."""
    kind = rng.randrange(11)
    if kind == 0:
        return np.full(value.shape, rng.choice((np.nan, np.inf)))
    if kind == 1:
        return value.astype(
            rng.choice(("float16", "int8", "bool", "complex64", "U8", "S4", "int64"))
        )
    if kind == 2:
        return value.reshape(-1)[: rng.randrange(value.size + 1)]
    if kind == 3:
        return np.zeros(rng.choice(((0,), (), (1, 1), (3, 3), (0, 5), (2, 2, 2))))
    if kind == 4:
        return np.array([Harmful()], dtype=object)
    if kind == 5:
        return np.array(rng.choice(TEXTS))
    if kind == 6:
        return np.concatenate([value, value]) if value.ndim else value
    if kind == 7 and value.dtype.kind in "iuf":
        return value * rng.choice((-1, 10**6, 2**40))
    if kind == 8:
        return np.zeros(2, dtype=[("a", "i4"), ("b", "U3")])
    if kind == 9:
        return np.array(["2024-01-01", "NaT"], dtype="datetime64[D]")
    return value[::-1] if value.ndim else value


def mutated_zip(data: bytes, rng: Random, most: int = 4_000_000) -> bytes:
    """Return a zip file with a changed member or name, its checksums right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        names = before.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = before.read(name)
            if name == chosen:
                kind = rng.randrange(10)
                if kind == 0:
                    continue
                if kind == 1:
                    name = rng.choice(("../../x.npy", "/tmp/x.npy", "", "a/" * 50, "data.pkl"))
                elif kind == 2:
                    content = bytes(rng.choice((0, 10, most)))
                else:
                    content = mutated_bytes(content, rng)
            method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            after.writestr(name or "x", content, method)
            if name == chosen and rng.random() < 0.1:
                after.writestr(name or "x", mutated_bytes(content, rng))
    return out.getvalue()


def write_text(path: Path, text: str, rng: Random) -> None:
    """Write a text, now and then in another encoding, or with changed bytes."""
    data = text.encode("utf-8", "surrogatepass")
    kind = rng.random()
    if kind < 0.04:
        data = text.encode("utf-16", "surrogatepass")
    elif kind < 0.07:
        data = b"\xef\xbb\xbf" + data
    elif kind < 0.3:
        data = mutated_bytes(data, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
