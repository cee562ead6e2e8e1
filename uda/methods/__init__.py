"""Adaptation methods. A new one is one file and one line here."""

from uda.methods.lead import Lead
from uda.methods.source_only import SourceOnly

METHODS = {
    "source_only": SourceOnly,
    "lead": Lead,
}
