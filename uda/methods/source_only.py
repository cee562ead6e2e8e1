"""The source model as it is: the baseline of every table."""

from __future__ import annotations

from uda.methods.base import BaseMethod


class SourceOnly(BaseMethod):
    """No adaptation: no batch passes the network."""

    name = "source_only"
    trains = False
