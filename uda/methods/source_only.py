"""The source model as it is: the baseline of every table."""

from __future__ import annotations

from uda.methods.base import Method


class SourceOnly(Method):
    """The source model without adaptation: no batch of the target passes the network."""

    name = "source_only"
    title = "Source-only"
    trains = "nothing"
