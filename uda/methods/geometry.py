"""Geometry of features: the known and unknown subspace, nearest neighbours, prototypes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.methods.unknown import LOG_EPSILON


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


CHUNK = 1_024  # queries whose cosines to the whole bank are in memory at once


def nearest(queries: Tensor, bank: Tensor, count: int) -> Tensor:
    """Indices [B, count] of the rows of ``bank`` [N, D] nearest by cosine to ``queries`` [B, D].

    Both have unit rows; nearest first. ValueError where the bank holds fewer than ``count``.
    """
    if len(bank) < count:
        raise ValueError(
            f"{count} neighbours asked of a bank of {len(bank)} images: lower the method's option "
            "`neighbours`, or give more images"
        )
    chunks = [(some @ bank.T).topk(count, dim=1).indices for some in queries.split(CHUNK)]
    return torch.cat(chunks)


def most_confident(probabilities: Tensor, count: int) -> Tensor:
    """Rows [K, count] of ``probabilities`` [N, K] that are the most probable for each class."""
    return probabilities.topk(count, dim=0).indices.T


def prototypes(unit_features: Tensor, rows: Tensor) -> Tensor:
    """Unit-norm means [K, D] of the ``rows`` [K, n] of ``unit_features`` [N, D]."""
    # Class by class: gathering all at once would hold [K, n, D].
    return F.normalize(torch.stack([unit_features[top].mean(dim=0) for top in rows]), dim=1)


def consistency(
    unit_features: Tensor,
    probabilities: Tensor,
    index: Tensor,
    bank_features: Tensor,
    bank_probabilities: Tensor,
    neighbours: int,
) -> Tensor:
    """L_con of GLC and LEAD: cross-entropy of a batch to the mean of its neighbours' probabilities.

    ``unit_features`` [B, D] and ``probabilities`` [B, K] of the batch, its rows ``index`` [B] of
    the bank, which is ``bank_features`` [N, D] of unit norm and ``bank_probabilities`` [N, K].
    Those rows are overwritten, detached, after the neighbours were looked up. ValueError
    where N is not more than ``neighbours``.
    """
    with torch.no_grad():
        # The first of the nearest is left out whoever it is: mostly the image's own clean view.
        near = nearest(unit_features, bank_features, neighbours + 1)[:, 1:]
        agreed = bank_probabilities[near].mean(dim=1)
    bank_features[index] = unit_features.detach()
    bank_probabilities[index] = probabilities.detach()
    return -(agreed * (probabilities + LOG_EPSILON).log()).sum(dim=1).mean()
