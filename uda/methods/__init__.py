"""Adaptation methods. A new one is one file and one line here."""

from collections.abc import Callable

from uda.methods.adabn import AdaBN
from uda.methods.base import Method
from uda.methods.glc import Glc
from uda.methods.lead import Lead
from uda.methods.shot_o import ShotO
from uda.methods.source_only import SourceOnly

METHODS: dict[str, Callable[..., Method]] = {
    "source_only": SourceOnly,
    "adabn": AdaBN,
    "shot_o": ShotO,
    "glc": Glc,
    "lead": Lead,
}
