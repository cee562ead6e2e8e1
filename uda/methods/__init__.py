"""Adaptation methods. A new one is one file and one line here."""

from collections.abc import Callable

from uda.methods.base import Method
from uda.methods.lead import Lead
from uda.methods.source_only import SourceOnly

METHODS: dict[str, Callable[..., Method]] = {
    "source_only": SourceOnly,
    "lead": Lead,
}
