"""Self-supervised pretraining of a backbone. A new method is a file and a line here."""

from uda.pretraining.base import SelfSupervised
from uda.pretraining.moco_v2 import MoCoV2
from uda.pretraining.simsiam import SimSiam

SELF_SUPERVISED: dict[str, type[SelfSupervised]] = {
    method.name: method for method in (MoCoV2, SimSiam)
}


def title_of_pretraining(name: str) -> str:
    """Return the title of the method ``name`` in tables; of an unknown name, the name."""
    return SELF_SUPERVISED[name].title if name in SELF_SUPERVISED else name
