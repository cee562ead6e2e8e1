"""AdaBN (Li et al., arXiv 1603.04779): BatchNorm's statistics become the target's, nothing else.

Every method here that trains on batches of the target does this as a side effect. Alone it says how
much of a method's gain comes from its losses.
"""

from __future__ import annotations

from uda.methods.base import Method


class AdaBN(Method):
    """AdaBN: batches of the target pass the network and move its running means and variances.

    After n batches 0.9ⁿ of the source's statistics are left (at BatchNorm's usual momentum of 0.1).
    No weight is trained.
    """

    name = "adabn"
    title = "AdaBN"
    trains = "statistics"
