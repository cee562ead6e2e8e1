"""UniOT against numbers of the released code (tests/golden/README.md)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uda.methods.base import Bank, Batch
from uda.methods.uniot import (
    FIRST_STEPS,
    TEST_STOP,
    UniOT,
    balanced_plan,
    filling,
    nearest,
    unbalanced_plan,
)
from uda.models.classifier import CosineClassifier

CLASSES, COUNT, TARGETS = 15, 36, 400


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "uniot.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def built(golden, **options):
    """Return the method at the released step, and the classifier."""
    classifier = CosineClassifier(golden["prototypes"], 0.1)
    method = UniOT(open_set=True, clusters=50, gamma=0.7, momentum=0.7, **options)
    method.build(classifier, TARGETS, 0)
    method.heads["clusters"].weight.data.copy_(golden["cluster_prototypes"])
    method.step = FIRST_STEPS
    method.memory = {
        "queue": golden["queue_features"].clone(),
        "index": golden["queue_ids"].clone(),
        "beta": torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64),
    }
    return method, classifier


def batch_of(golden, classifier, name, targets=None):
    features = golden[f"{name}_features"].clone().requires_grad_()
    index = golden["target_ids"] if targets is None else torch.arange(COUNT)
    return Batch(features, classifier(features), index, targets)


def drawn(*rows):
    """Return what draws these, in turn."""
    left = list(rows)

    def draw(count, below):
        assert (len(left[0]), int(left[0].max()) < below) == (count, True)
        return left.pop(0)

    return draw


def test_a_step(golden, monkeypatch):
    method, classifier = built(golden)
    names = ("fill_ids", "uot_fill_ids", "uot_fake_draw")
    monkeypatch.setattr(method, "_draws", lambda step: drawn(*(golden[name] for name in names)))
    labels = F.one_hot(golden["source_labels"], CLASSES).float()
    source = batch_of(golden, classifier, "source", labels)
    target = batch_of(golden, classifier, "target")
    torch.testing.assert_close(target.logits, golden["target_logits"], rtol=1e-4, atol=1e-5)
    losses = method.joint_loss(source, target, None)
    for name, key, weight in (("ce", "cls", 1), ("pcd", "pcd", 0.1), ("ccd", "ccd", 0.1)):
        expected = weight * float(golden[f"loss_{key}"])
        assert float(losses[name].detach()) == pytest.approx(expected, rel=1e-5)
    total = sum(losses.values())
    assert float(total.detach()) == pytest.approx(float(golden["loss_all"]), rel=1e-5)
    total.backward()
    for ours, key in (
        (target.features, "target_features"),
        (method.heads["clusters"].weight, "cluster_prototypes"),
        (classifier.weight, "prototypes"),
    ):
        torch.testing.assert_close(ours.grad, golden[f"grad_{key}"], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(method.memory["beta"], golden["beta_after"])


def test_neighbours_and_balanced_plan(golden):
    unit = F.normalize(golden["target_features"], dim=1)
    queue, ids = golden["queue_features"], golden["queue_ids"]
    found = nearest(unit, golden["target_ids"], queue, ids)
    assert torch.equal(found.choice, golden["neighbour_choice"])
    torch.testing.assert_close(found.similarity, golden["neighbour_memory_similarity"])
    rows = torch.cat([unit, found.features, queue[golden["fill_ids"]]])
    similarity = rows @ golden["cluster_prototypes"].T
    torch.testing.assert_close(
        similarity[COUNT : 2 * COUNT] / 0.1, golden["neighbour_logits"], rtol=1e-4, atol=1e-5
    )
    plan = balanced_plan(similarity)
    torch.testing.assert_close(plan / len(plan), golden["sinkhorn_plan"], rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(plan[:COUNT], golden["anchor_q"], rtol=1e-4, atol=1e-6)


def test_unbalanced_plan_and_sure_labels(golden):
    beta = torch.full((CLASSES,), 1 / CLASSES)
    found = unbalanced_plan(golden["uot_similarity"], beta, 1e-4)
    assert found.rounds == int(golden["uot_iterations"])
    raw = golden["uot_plan_raw"].double()
    torch.testing.assert_close(found.plan * found.total, raw, rtol=1e-3, atol=1e-9)
    mass = golden["new_beta"].double()
    torch.testing.assert_close(found.column_mass, mass, rtol=1e-5, atol=1e-7)
    labels = found.sure_labels()[-COUNT:]
    assert torch.equal(labels, golden["high_conf_label"])
    assert torch.equal((labels < CLASSES).nonzero()[:, 0], golden["high_conf_id"])


@pytest.mark.parametrize("case", ["positive", "negative"])
def test_the_whole_target(golden, case):
    unit, rows, beta = golden["test_features"], golden["prototypes"], golden["beta_after"]
    similarity = unit @ rows.T
    gamma = float(golden[f"test_{case}_gamma"])
    draw = drawn(golden[f"test_{case}_draw"])
    put = filling(unit, similarity, rows, gamma, beta, TEST_STOP, draw)
    assert len(put) == int(golden[f"test_{case}_fake_size"])
    torch.testing.assert_close(put, golden[f"test_{case}_fake_similarity"])
    found = unbalanced_plan(torch.cat([put, similarity]), beta, TEST_STOP)
    assert found.rounds == int(golden[f"test_{case}_iterations"])
    assert torch.equal(found.labels()[-100:], golden[f"test_{case}_label"])
    weight = found.weight[-100:] / len(found.plan)
    torch.testing.assert_close(weight, golden[f"test_{case}_weight"])


def test_single_pictures_get_the_score_of_the_whole_targets_transport(golden):
    method, classifier = built(golden)
    features = golden["test_features"]
    bank = Bank(features, classifier(features).softmax(dim=1).detach(), classifier.weight.detach())
    prediction = method.predict(bank)
    assert torch.equal(prediction.label == CLASSES, prediction.unknown_score >= -1)
    known = prediction.label < CLASSES
    assert known.any()
    assert not known.all()
    torch.testing.assert_close(
        method.unknown_score(bank), prediction.unknown_score, rtol=1e-3, atol=1e-3
    )
    some = Bank(features[:3], bank.probabilities[:3], bank.class_weights)
    torch.testing.assert_close(
        method.unknown_score(some), prediction.unknown_score[:3], rtol=1e-3, atol=1e-3
    )
    closed = UniOT(open_set=False)
    closed.build(classifier, 0, 0)
    assert torch.equal(closed.predict(bank).label, bank.probabilities.argmax(dim=1))


def test_a_finished_run_answers_again_by_the_masses_that_training_came_to(golden):
    method, classifier = built(golden)
    method.memory["beta"] = golden["beta_after"]
    features = golden["test_features"]
    bank = Bank(features, classifier(features).softmax(dim=1).detach(), classifier.weight.detach())
    prediction = method.predict(bank)
    again = UniOT(open_set=True, clusters=50)
    again.build(classifier, 0, 0)
    even = again.predict(bank)
    assert not torch.equal(even.unknown_score, prediction.unknown_score)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.predict(bank).unknown_score, prediction.unknown_score)


def test_the_queue_is_filled_from_the_target_and_its_oldest_batch_replaced(golden):
    method, classifier = built(golden, queue=80)
    method.memory, method.step = {}, 0
    features = torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    bank = Bank(features, features[:, :CLASSES].softmax(dim=1), classifier.weight.detach())
    labels = F.one_hot(golden["source_labels"], CLASSES).float()
    source = batch_of(golden, classifier, "source", labels)
    target = batch_of(golden, classifier, "target")
    assert "ccd" not in method.joint_loss(source, target, bank)
    queue, index = method.memory["queue"].clone(), method.memory["index"].clone()
    assert queue.shape == (72, 64)  # two whole batches of the 80
    torch.testing.assert_close(queue, F.normalize(features[index], dim=1))
    assert len(index[:50].unique()) == 50  # every picture before any again
    detached = Batch(target.features.detach(), target.logits.detach(), target.index)
    for first in (0, 36, 0):
        method.after_step(source, detached)
        rows = slice(first, first + COUNT)
        assert torch.equal(method.memory["index"][rows], golden["target_ids"])
        method.memory["index"][rows] = -1
    norms = method.heads["clusters"].weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(50))


@pytest.mark.parametrize(
    "options", [{"weight": -1.0}, {"gamma": 2.0}, {"momentum": -1.0}, {"clusters": 0}, {"queue": 0}]
)
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=f"adapt.options.uniot.{next(iter(options))}"):
        UniOT(open_set=True, **options)
