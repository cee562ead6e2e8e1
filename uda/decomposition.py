"""Known and unknown subspace of a classifier, and what of a feature lies in each (LEAD, Sec. 3)."""

from __future__ import annotations

import torch
from torch import Tensor


def known_basis(class_weights: Tensor) -> Tensor:
    """Orthonormal basis [D, K] of the source-known space: the left singular vectors of Wᵀ.

    ``class_weights`` W is [K, D]. Its orthogonal complement is the source-unknown space, so there
    is none where K ≥ D: ValueError.
    """
    num_classes, dim = class_weights.shape
    if num_classes >= dim:
        raise ValueError(
            f"LEAD needs features of more dimensions than classes: {dim} for {num_classes} classes "
            "leave no unknown space; raise model.bottleneck_dim"
        )
    return torch.linalg.svd(class_weights.T, full_matrices=False).U


def split_norms(unit_features: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Norms [N] of the known and of the unknown part of ``unit_features`` [N, D].

    The unknown part is what the known one leaves, so the D - K vectors of its basis are not needed.
    """
    coordinates = unit_features @ basis
    unknown = unit_features - coordinates @ basis.T
    return coordinates.norm(dim=1), unknown.norm(dim=1)
