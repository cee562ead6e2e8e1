"""Made-up banks for tests of adaptation methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from uda.methods import METHODS
from uda.methods.base import Bank, Batch, Method
from uda.methods.joint import JointMethod
from uda.models.classifier import CosineClassifier


def method_for(bank: Bank, name: str, open_set: bool = True, **options: Any) -> Method:
    """Return a method, with its layers for the bank's features if it has any of its own."""
    method = METHODS[name](open_set=open_set, **options)
    classifier: nn.Linear = CosineClassifier(bank.class_weights, 0.1)
    if not isinstance(method, JointMethod):
        classifier = nn.Linear(bank.features.shape[1], len(bank.class_weights), bias=False)
        classifier.load_state_dict({"weight": bank.class_weights})
    method.build(classifier, len(bank.features), 0)
    if isinstance(method, JointMethod):
        labels = bank.probabilities.argmax(dim=1)  # as if the bank were the source's, too
        method.see_source(bank, labels, labels)
    return method


def random_bank(
    count: int = 60,
    dim: int = 8,
    num_classes: int = 4,
    seed: int = 0,
    spread: float = 0.5,
    num_private: int = 3,
    scale: float = 0.5,
) -> Bank:
    """Return a bank of features around the means of classes, which are the classifier's weights.

    Args:
        count: Rows.
        dim: Of a feature.
        num_classes: Classes that the classifier knows.
        seed: Of everything drawn.
        spread: Deviation around a mean; 0 puts features on the means.
        num_private: Classes that the classifier does not know.
        scale: Of the logits; the higher, the surer the probabilities.
    """
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(num_classes + num_private, dim, generator=generator)
    label = torch.randint(len(means), (count,), generator=generator)
    features = means[label] + spread * torch.randn(count, dim, generator=generator)
    weights = means[:num_classes]
    return Bank(features, (scale * features @ weights.T).softmax(dim=1), weights)


def batch_of(bank: Bank, index: torch.Tensor, noise: float = 0.0) -> Batch:
    """Return a batch of the bank's rows ``index`` with gradients, its features moved by noise."""
    generator = torch.Generator().manual_seed(7)
    features = bank.features[index]
    features = features + noise * torch.randn(features.shape, generator=generator)
    features.requires_grad_()
    return Batch(features, features @ bank.class_weights.T, index)
