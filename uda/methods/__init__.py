"""Adaptation methods. A new one is one file and one line here; tables have this order."""

from uda.methods.adabn import AdaBN
from uda.methods.base import Method
from uda.methods.glc import Glc
from uda.methods.lead import Lead
from uda.methods.shot_o import ShotO
from uda.methods.source_only import SourceOnly

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (SourceOnly, AdaBN, ShotO, Glc, Lead)
}


def title_of_method(name: str) -> str:
    """Return what tables call the method ``name``; of an unknown one, the name."""
    return METHODS[name].title if name in METHODS else name
