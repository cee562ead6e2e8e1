"""Adaptation methods. A new method is a file and a line here; tables have this order."""

from uda.methods.adabn import AdaBN
from uda.methods.base import Method
from uda.methods.cmu import Cmu
from uda.methods.dance import Dance
from uda.methods.dcc import Dcc
from uda.methods.glc import Glc
from uda.methods.lead import Lead
from uda.methods.ovanet import OvaNet
from uda.methods.rrda import Rrda
from uda.methods.shot_o import ShotO
from uda.methods.source_only import SourceOnly
from uda.methods.uniot import UniOT

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (SourceOnly, AdaBN, Cmu, Dance, Dcc, OvaNet, UniOT, ShotO, Rrda, Glc, Lead)
}


def title_of_method(name: str) -> str:
    """Return the title of the method ``name`` in tables; of an unknown method, the name."""
    return METHODS[name].title if name in METHODS else name
