"""OVANet against numbers of the released code (tests/golden/README.md)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from uda.evaluation.metrics import open_set_scores
from uda.methods.base import Bank, Batch
from uda.methods.joint import make_unit_rows
from uda.methods.ovanet import OvaNet, is_class, open_entropy, open_set_loss

CLASSES = 15


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "ovanet.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def built(golden, **options):
    """Return the method with the golden rows, before they are of unit norm."""
    method = OvaNet(open_set=True, **options)
    method.build(nn.Linear(golden["open_weight"].shape[1], CLASSES), 0, 0)
    method.heads["open"].weight.data.copy_(golden["open_weight_before"])
    return method


def batch(golden, name, targets=None):
    features = golden[f"{name}_features"].clone().requires_grad_()
    logits = features @ golden["closed_weight"].T
    return Batch(features, logits, torch.arange(len(features)), targets)


def test_losses_and_gradients(golden):
    method = built(golden)
    method.after_step(None, None)
    layer = method.heads["open"]
    torch.testing.assert_close(layer.weight.data, golden["open_weight"], rtol=1e-5, atol=1e-6)
    source = batch(golden, "source", F.one_hot(golden["source_labels"].long(), CLASSES).float())
    target = batch(golden, "target")
    losses = method.joint_loss(source, target, None)
    expected = {
        "ce": golden["loss_source"],
        "open": golden["loss_open"],
        "entropy": 0.1 * golden["loss_entropy"],
    }
    for name, value in expected.items():
        assert float(losses[name].detach()) == pytest.approx(float(value), rel=1e-5)
    total = sum(losses.values())
    assert float(total.detach()) == pytest.approx(float(golden["loss_total"]), rel=1e-5)
    total.backward()
    torch.testing.assert_close(layer.weight.grad, golden["grad_open_weight"], rtol=1e-4, atol=1e-6)
    for name, side in (("source", source), ("target", target)):
        norms = golden[f"grad_{name}_features_norm"]
        torch.testing.assert_close(side.features.grad.norm(dim=1), norms, rtol=1e-4, atol=1e-6)


def test_labels_and_scores(golden):
    method = built(golden)
    method.heads["open"].weight.data.copy_(golden["open_weight"])
    features = golden["test_features"].float()
    probabilities = (features @ golden["closed_weight"].T).softmax(dim=1)
    prediction = method.predict(Bank(features, probabilities, golden["closed_weight"]))
    assert torch.equal(prediction.label, golden["test_label"].long())
    score = golden["test_unknown_score"].float()
    torch.testing.assert_close(prediction.unknown_score, score, rtol=1e-4, atol=1e-5)
    scores = open_set_scores(
        golden["test_labels"].long().numpy(), prediction.label.numpy(), 10, CLASSES
    )
    assert scores.h_score / 100 == pytest.approx(float(golden["test_h_score"]), abs=1e-4)


def test_formulas_by_hand():
    """Naive loops over a batch of two pictures and three classes."""
    torch.manual_seed(0)
    logits = torch.randn(2, 6)
    pairs = logits.view(2, 2, 3)
    q = pairs.softmax(dim=1)[:, 1]
    torch.testing.assert_close(is_class(logits), q)
    labels = [2, 0]
    positive = sum(-q[b, y].log() for b, y in enumerate(labels)) / 2
    negative = sum(
        max(-(1 - q[b, c]).log() for c in range(3) if c != y) for b, y in enumerate(labels)
    )
    targets = F.one_hot(torch.tensor(labels), 3).float()
    torch.testing.assert_close(open_set_loss(logits, targets), (positive + negative / 2) / 2)
    entropy = sum(-(p * p.log() + (1 - p) * (1 - p).log()) for p in q.flatten()) / 6
    torch.testing.assert_close(open_entropy(logits), entropy)


def test_a_mixed_target_has_two_positive_classes():
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(1))
    q = is_class(logits)[0]
    mixed = torch.tensor([[0.3, 0.7, 0.0]])
    positive = -(0.3 * q[0].log() + 0.7 * q[1].log())
    torch.testing.assert_close(open_set_loss(logits, mixed), (positive - (1 - q[2]).log()) / 2)


def test_pda_rejects_nothing(golden):
    method = OvaNet(open_set=False)
    assert method.threshold is None
    method.build(nn.Linear(4, 3), 0, 0)
    bank = Bank(torch.randn(5, 4), torch.randn(5, 3).softmax(dim=1), torch.randn(3, 4))
    assert torch.equal(method.predict(bank).label, bank.probabilities.argmax(dim=1))


@pytest.mark.parametrize("options", [{"entropy_weight": -1.0}, {"threshold": 1.5}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=f"adapt.options.ovanet.{next(iter(options))}"):
        OvaNet(open_set=True, **options)


def test_the_first_weights_are_the_seeds_and_unit_rows():
    def rows(seed):
        method = OvaNet(open_set=True)
        method.build(nn.Linear(8, 3), 0, seed)
        return method.heads["open"].weight.detach()

    assert torch.equal(rows(1), rows(1))
    assert not torch.equal(rows(1), rows(2))
    torch.testing.assert_close(rows(1).norm(dim=1), torch.ones(6))
    layer = nn.Linear(4, 2, bias=False)
    make_unit_rows(layer)
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(2))
