"""AdaBN (Li et al., arXiv 1603.04779): BatchNorm's statistics become the target's, nothing else.

What every method here that trains on batches of the target does as a side effect; alone it says how
much of a method's gain is its own.
"""

from __future__ import annotations

from uda.methods.base import BaseMethod


class AdaBN(BaseMethod):
    """Batches of the target pass the network, whose running means and variances follow them: after
    n batches 0.9ⁿ of the source's statistics are left (at BatchNorm's usual momentum of 0.1).
    Nothing is trained."""

    name = "adabn"
    trains = True
