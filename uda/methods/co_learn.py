"""What a frozen pretrained network says of a target's classes, after Co-learn (ICCV 2023).

Co-learn (Zhang et al., arXiv 2212.07585) puts centroids of classes, estimated from what the source
model says, into the features of a network that has never seen the source.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.1  # 0.2 gives much the same


def class_centroids(unit_features: Tensor, probabilities: Tensor) -> Tensor:
    """Return the unit-norm centroids [K, d] of classes; 0 for a class that no sample is called.

    A class's centroid is the mean over the surer half of the samples that are called it.

    Args:
        unit_features: [N, d].
        probabilities: [N, K], the source model's.
    """
    sureness, label = probabilities.max(dim=1)
    centroids = torch.zeros(probabilities.shape[1], unit_features.shape[1]).to(unit_features)
    for k in label.unique():
        rows = (label == k).nonzero()[:, 0]
        surest = rows[sureness[rows].topk((len(rows) + 1) // 2).indices]
        centroids[k] = unit_features[surest].mean(dim=0)
    return F.normalize(centroids, dim=1)


class Opinion(NamedTuple):
    """What a frozen network says of a target's classes.

    Attributes:
        mean: Of its features of the target [d].
        centroids: The `class_centroids` [K, d] of the features less their mean, of unit norm.
    """

    mean: Tensor
    centroids: Tensor

    @classmethod
    def of(cls, probabilities: Tensor, frozen: Tensor) -> Opinion:
        """Return the opinion by ``probabilities`` [N, K] and features ``frozen`` [N, d]."""
        mean = frozen.mean(dim=0)
        return cls(mean, class_centroids(F.normalize(frozen - mean, dim=1), probabilities))

    def agree(self, probabilities: Tensor, frozen: Tensor) -> Tensor:
        """Return q [B, K] of ``probabilities`` p [B, K] and features [B, d] of any images.

        q ∝ p · softmax(cos(z, c) / `TEMPERATURE`), of the features z and the centroids c.
        """
        cosines = F.normalize(frozen - self.mean, dim=1) @ self.centroids.T
        both = probabilities * (cosines / TEMPERATURE).softmax(dim=1)
        return both / both.sum(dim=1, keepdim=True)
