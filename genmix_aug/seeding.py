"""Seeds made by hashing, so that no result depends on worker count, batching or order."""

from __future__ import annotations

from hashlib import blake2b
from operator import index


def hash_seed(*parts: str | int) -> int:
    """Return a 63-bit seed, 0 <= seed < 2**63, of parts (run seed, image id, prompt, epoch, …).

    Each part is hashed with its type and length, so ("a", "bc"), ("ab", "c"), (1,) and ("1",)
    all differ. The same on every machine and Python version.

    Raises:
        TypeError: A part is neither str nor int (bool counts as int).
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, str):
            kind, data = b"s", part.encode("utf-8", "surrogatepass")
        else:
            try:
                kind, data = b"i", str(index(part)).encode()  # NumPy's integers too
            except TypeError:
                kind_name = type(part).__name__
                raise TypeError(f"hash_seed takes str and int, not {kind_name}") from None
        digest.update(kind + len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest(), "little") >> 1


def unit_draw(*parts: str | int) -> float:
    """Return a number drawn uniformly from [0, 1), a function of the parts (see `hash_seed`)."""
    return (hash_seed(*parts) >> 10) / 2**53
