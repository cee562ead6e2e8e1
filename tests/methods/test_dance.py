"""DANCE against numbers of the released code (tests/golden/README.md)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uda.methods.base import Bank, Batch
from uda.methods.dance import Dance, neighbourhood_loss, separation_loss
from uda.models.classifier import CosineClassifier

CLASSES, TARGETS = 15, 120


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "dance.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def classifier_of(golden):
    return CosineClassifier(golden["class_weight_before"], float(golden["temperature"]))


@pytest.mark.parametrize("step", [0, 3])
def test_losses_gradients_and_memory(golden, step):
    method, classifier = Dance(open_set=True), classifier_of(golden)
    method.build(classifier, TARGETS, 0)
    if step:
        method.memory["features"] = golden["step3_memory_before"].clone()
    torch.testing.assert_close(classifier.weight.data, golden["class_weight"])
    features = golden[f"step{step}_target_features"].clone().requires_grad_()
    source = golden["source_features"]
    labels = F.one_hot(golden["source_labels"].long(), CLASSES).float()
    beside = Batch(source, classifier(source), torch.arange(len(source)), labels)
    index = golden[f"step{step}_index"].long()
    batch = Batch(features, classifier(features), index)
    for name, side in (("source", beside), ("target", batch)):
        expected = golden[f"step{step}_{name}_logits"]
        torch.testing.assert_close(side.logits, expected, rtol=1e-4, atol=1e-4)
    losses = method.joint_loss(beside, batch, None)
    for ours, theirs in (("ce", "source"), ("nc", "nc"), ("es", "es")):
        expected = float(golden[f"step{step}_loss_{theirs}"])
        assert float(losses[ours].detach()) == pytest.approx(expected, rel=1e-5)
    sum(losses.values()).backward()
    for ours, theirs in ((features, "target_features"), (classifier.weight, "class_weight")):
        expected = golden[f"step{step}_grad_{theirs}"]
        torch.testing.assert_close(ours.grad, expected, rtol=1e-3, atol=1e-6)
    method.after_step(beside, Batch(features.detach(), batch.logits.detach(), index))
    if step:
        rows = method.memory["features"][index]
        torch.testing.assert_close(rows, golden["step3_memory_after_rows"], rtol=1e-4, atol=1e-5)
        others = torch.ones(TARGETS, dtype=torch.bool)
        others[index] = False
        before = golden["step3_memory_before"]
        assert torch.equal(method.memory["features"][others], before[others])


def test_labels_and_scores(golden):
    classifier = classifier_of(golden)
    features = golden["test_features"].float()
    probabilities = classifier(features).softmax(dim=1).detach()
    prediction = Dance(open_set=True).predict(Bank(features, probabilities, classifier.weight))
    assert torch.equal(prediction.label, golden["test_label"].long())
    score = prediction.unknown_score * math.log(CLASSES)
    expected = golden["test_unknown_score"].float()
    torch.testing.assert_close(score, expected, rtol=0, atol=1e-3)


def test_a_batch_counts_for_none_of_its_neighbours():
    """Naive: with a memory of the batch itself alone, only classes and the batch are left."""
    torch.manual_seed(0)
    unit = F.normalize(torch.randn(3, 4), dim=1)
    logits = torch.randn(3, 2)
    beside = unit @ unit.T / 0.05
    beside[range(3), range(3)] = -20
    each = torch.cat([logits, torch.full((3, 3), -20.0), beside], dim=1).softmax(dim=1)
    expected = -(each * (each + 1e-5).log()).sum(dim=1).mean()
    ours = neighbourhood_loss(logits, unit, unit.clone(), torch.arange(3))
    torch.testing.assert_close(ours, expected)


def test_entropies_within_the_margin_have_no_gradient():
    logits = torch.tensor([[2.0, 0.0, 0.0], [30.0, 0.0, 0.0]], requires_grad=True)
    separation_loss(logits.softmax(dim=1), 0.5).backward()
    assert not logits.grad[0].any()
    sure = torch.tensor([[9.0, 0.0, 0.0]], requires_grad=True)
    separation_loss(sure.softmax(dim=1), 0.5).backward()
    assert sure.grad[0, 0] < 0  # surer still


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"margin": -0.1}, {"momentum": 1.0}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=f"adapt.options.dance.{next(iter(options))}"):
        Dance(open_set=True, **options)
