"""Geometry of features: the known and unknown subspace, nearest neighbours, prototypes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.methods.unknown import LOG_EPSILON


def known_basis(class_weights: Tensor) -> Tensor:
    """Return an orthonormal basis [D, K] of the source-known space: left singular vectors of Wᵀ.

    ``class_weights`` W is [K, D]. The orthogonal complement is the source-unknown space. Raises
    ValueError where K ≥ D, which leaves none.
    """
    num_classes, dim = class_weights.shape
    if num_classes >= dim:
        raise ValueError(
            f"LEAD needs features of more dimensions than classes: {dim} for {num_classes} classes "
            "leave no unknown space; raise model.bottleneck_dim"
        )
    return torch.linalg.svd(class_weights.T, full_matrices=False).U


def split_norms(unit_features: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms [N] of the known and of the unknown part of ``unit_features`` [N, D].

    ``basis`` [D, K] is that of `known_basis`. The unknown part is what the known part leaves, so
    the other D - K basis vectors are not needed.
    """
    coordinates = unit_features @ basis
    unknown = unit_features - coordinates @ basis.T
    return coordinates.norm(dim=1), unknown.norm(dim=1)


CHUNK = 1_024  # queries whose cosines to the whole bank are in memory at once


def nearest(queries: Tensor, bank: Tensor, count: int) -> Tensor:
    """Return the rows [B, count] of ``bank`` [N, D] nearest by cosine to ``queries`` [B, D].

    Both have unit rows; nearest first. Raises ValueError for a bank of fewer than ``count`` rows.
    """
    _check_rows(len(bank), count)
    chunks = [(some @ bank.T).topk(count, dim=1).indices for some in queries.split(CHUNK)]
    return torch.cat(chunks)


def _check_rows(available: int, count: int) -> None:
    if available < count:
        raise ValueError(
            f"{count} neighbours asked of a bank of {available} images: lower the method's option "
            "`neighbours`, or give more images"
        )


def most_confident(probabilities: Tensor, count: int) -> Tensor:
    """Return each class's ``count`` most probable rows of ``probabilities`` [N, K]: [K, count]."""
    return probabilities.topk(count, dim=0).indices.T


def prototypes(unit_features: Tensor, rows: Tensor) -> Tensor:
    """Return the unit-norm means [K, D] of ``unit_features`` [N, D] over the ``rows`` [K, n]."""
    # Class by class: gathering all at once would hold [K, n, D].
    return F.normalize(torch.stack([unit_features[top].mean(dim=0) for top in rows]), dim=1)


def centroid_labels(features: Tensor, probabilities: Tensor) -> Tensor:
    """Return the class int64 [M] of the cosine-nearest centroid of [f, 1] (SHOT, Eq. 4 to 6).

    ``features`` f are [M, D], ``probabilities`` [M, K]. Centroids are means weighted by the
    probabilities, then, once, the means of the samples nearest to those. A class that no sample is
    most probable for has no centroid, as in the released code; nor has a class that the first round
    leaves without samples (where the released code divides by zero).
    """
    z = F.normalize(F.pad(features, (0, 1), value=1.0), dim=1)
    num_classes = probabilities.shape[1]
    present = F.one_hot(probabilities.argmax(dim=1), num_classes).any(dim=0)
    weights = probabilities
    for _ in range(2):
        # Cosines do not depend on a centroid's length, so sums serve as means.
        similarity = z @ F.normalize(weights.T @ z, dim=1).T
        label = similarity.masked_fill(~present, -torch.inf).argmax(dim=1)
        weights = F.one_hot(label, num_classes).to(z.dtype)
        present = weights.any(dim=0)
    return label


@torch.no_grad()
def neighbours_in(unit_features: Tensor, bank_features: Tensor, count: int) -> Tensor:
    """Return the rows int64 [B, ``count``] of the bank next to each of ``unit_features`` [B, D].

    The nearest row of all is left out, whichever it is: mostly the image's clean view. Raises
    ValueError where the bank has not more rows than ``count``.
    """
    return nearest(unit_features, bank_features, count + 1)[:, 1:]


def nearest_others(features: Tensor, count: int) -> Tensor:
    """Return the rows int64 [N, ``count``] nearest by cosine to each of ``features`` [N, D].

    Nearest first, and never the row itself. Raises ValueError where there are not more rows than
    ``count``.
    """
    unit = F.normalize(features, dim=1)
    _check_rows(len(unit) - 1, count)
    chunks = []
    for rows in torch.arange(len(unit), device=unit.device).split(CHUNK):
        cosines = unit[rows] @ unit.T
        cosines[torch.arange(len(rows)), rows] = -torch.inf
        chunks.append(cosines.topk(count, dim=1).indices)
    return torch.cat(chunks)


def consistency(
    unit_features: Tensor,
    probabilities: Tensor,
    index: Tensor,
    bank_features: Tensor,
    bank_probabilities: Tensor,
    near: Tensor,
) -> Tensor:
    """Return L_con of GLC and LEAD: cross-entropy to the mean of the neighbours' probabilities.

    Args:
        unit_features: The batch's, [B, D].
        probabilities: The batch's, [B, K].
        index: int64 [B], the batch's rows in the bank, which are overwritten (detached).
        bank_features: [N, D] of unit norm.
        bank_probabilities: [N, K].
        near: int64 [B, n], the bank's rows that are each sample's neighbours, looked up before the
            batch's rows are overwritten.
    """
    agreed = bank_probabilities[near].mean(dim=1)
    bank_features[index] = unit_features.detach()
    bank_probabilities[index] = probabilities.detach()
    return -(agreed * (probabilities + LOG_EPSILON).log()).sum(dim=1).mean()
