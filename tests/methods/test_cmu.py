"""CMU against numbers of the released codes (tests/golden/README.md)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from uda.augment.head_views import head_view
from uda.methods.base import Bank, Batch
from uda.methods.cmu import Cmu, adversarial_loss, parts_of

CLASSES = 15


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "cmu.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


class Given(nn.Module):
    """A head whose logits are given: features are the samples' rows."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, features):
        return self.logits[features[:, 0].long()]


def method_on(logits, **options):
    """Return the method and a bank of samples for which the five heads say ``logits``."""
    method = Cmu(open_set=True, **options)
    method.build(nn.Linear(1, CLASSES), 0, 0)
    method.heads["ensemble"] = nn.ModuleList(map(Given, logits))
    rows = torch.arange(logits.shape[1], dtype=torch.float)[:, None]
    return method, Bank(rows, logits[0].softmax(dim=1), torch.zeros(CLASSES, 1))


def test_two_uncertainties_scores_and_labels(golden):
    method, bank = method_on(golden["target_logits"])
    margin, sure = parts_of(golden["target_logits"], "two")
    torch.testing.assert_close(margin, golden["tl_margin"])
    torch.testing.assert_close(1 - sure, golden["tl_entropy"])
    prediction = method.predict(bank)
    torch.testing.assert_close(1 - prediction.unknown_score, golden["tl_score"])
    assert torch.equal(prediction.label, golden["tl_label"])
    # A single picture has the score that it has among the others.
    some = Bank(bank.features[3:5], bank.probabilities[3:5], bank.class_weights)
    torch.testing.assert_close(method.unknown_score(some), prediction.unknown_score[3:5])


def test_classes_are_weighed_once(golden):
    method, bank = method_on(golden["target_logits"], pretrain_steps=0)
    method.refresh(bank, 0)
    assert torch.equal(method.class_weight, golden["tl_class_weight"])
    first = method.class_weight
    method.refresh(bank, 1)
    assert method.class_weight is first
    early, bank = method_on(golden["target_logits"], pretrain_steps=5)
    early.refresh(bank, 0)
    assert early.class_weight is None


def test_a_batchs_weights_follow_the_epochs_bounds(golden):
    method, bank = method_on(golden["target_logits"])
    for number in (0, 1):
        rows = bank.features[36 * number : 36 * (number + 1)]
        weight = method.batch_weight(Batch(rows, rows, rows))
        torch.testing.assert_close(weight, golden[f"tl_batch_weight_{number}"])
    method.refresh(bank, 1)
    rows = bank.features[:36]
    again = method.batch_weight(Batch(rows, rows, rows))
    torch.testing.assert_close(again, golden["tl_batch_weight_0"])


def test_three_uncertainties_as_in_the_paper(golden):
    options = {"uncertainty": "three", "confident": 0.5, "threshold": 0.5, "pretrain_steps": 0}
    method, bank = method_on(golden["target_logits"], **options)
    confidence, agreement, sure = parts_of(golden["target_logits"], "three")
    torch.testing.assert_close(confidence, golden["new_confidence"])
    torch.testing.assert_close(1 - agreement, golden["new_consistency"])
    torch.testing.assert_close(1 - sure, golden["new_entropy"])
    prediction = method.predict(bank)
    torch.testing.assert_close(1 - prediction.unknown_score, golden["new_score"])
    assert torch.equal(prediction.label, golden["new_label"])
    assert int((golden["new_score"] >= 0.5).sum()) == int(golden["new_num_confident"])
    rows = bank.features
    torch.testing.assert_close(
        method.batch_weight(Batch(rows, rows, rows)), golden["new_batch_weight"]
    )
    method.refresh(bank, 0)
    assert method.class_weight.min() == 0
    assert method.class_weight.max() == 1


def test_adversarial_loss_and_its_reversed_gradients(golden):
    method = Cmu(open_set=True, pretrain_steps=0)
    method.build(nn.Linear(128, CLASSES), 0, 0)
    method.step = int(golden["adv_iteration"])
    layers = [nn.Linear(128, 16), nn.BatchNorm1d(16), nn.ReLU()]
    layers += [nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid()]
    for name, place in (("layer1", 0), ("bn1", 1), ("layer2", 3), ("bn2", 4), ("layer3", 6)):
        for kind in ("weight", "bias"):
            getattr(layers[place], kind).data.copy_(golden[f"disc_{name}_{kind}"])
    method.heads["discriminator"] = nn.Sequential(*layers)
    sides = {}
    for name in ("source", "target"):
        features = golden[f"adv_{name}_features"].clone().requires_grad_()
        sides[name] = Batch(features, features, torch.arange(36), torch.eye(36))
    method.class_weight = golden["adv_w_s"]  # of 36 classes, a sample each
    method.batch_weight = lambda target: golden["adv_w_t"]
    loss = method._adversarial(sides["source"], sides["target"])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(golden["adv_loss"]), rel=1e-5)
    for name, side in sides.items():
        torch.testing.assert_close(
            side.features.grad, golden[f"adv_grad_{name}"], rtol=1e-3, atol=1e-8
        )
    domain = golden["adv_domain_prob"][:, 0]
    parts = domain[:36], domain[36:], golden["adv_w_s"], golden["adv_w_t"]
    assert float(adversarial_loss(*parts)) == pytest.approx(float(golden["adv_loss"]), rel=1e-4)


def test_heads_learn_their_views_and_then_alone(golden):
    method = Cmu(open_set=True, pretrain_steps=3)
    modes = []
    for method.step in range(7):
        modes.append(method.view_mode)
    assert modes == ["train", "train", "train", "eval", "", "eval", ""]
    method.build(nn.Linear(4, 3), 0, 0)
    features = torch.randn(6, 4)
    targets = F.one_hot(torch.arange(6) % 3, 3).float()
    views = tuple(torch.randn(6, 4) for _ in range(5))
    source = Batch(features, features[:, :3], torch.arange(6), targets, views)
    losses = method.joint_loss(source, source, None)
    expected = sum(
        F.cross_entropy(head(view), torch.arange(6) % 3)
        for head, view in zip(method.heads["ensemble"], views, strict=True)
    )
    torch.testing.assert_close(losses["heads"], expected)
    assert "adv" not in losses


def test_views_are_the_seeds_and_lie_in_other_corners():
    images = torch.zeros(2, 3, 20, 20, dtype=torch.uint8)
    for corner, (rows, columns) in enumerate(
        [(slice(0, 4), slice(0, 4)), (slice(0, 4), slice(-4, None))]
    ):
        images[corner, :, rows, columns] = 255
    for number in range(5):
        first = head_view(images, number, 12, [1, 2])
        assert first.shape == (2, 3, 12, 12)
        assert first.dtype == torch.uint8
        assert torch.equal(first, head_view(images, number, 12, [1, 2]))
    plain = [head_view(images, 1, 12, [seed, seed]) for seed in range(30)]
    assert any(not torch.equal(a, plain[0]) for a in plain)


@pytest.mark.parametrize(
    "options",
    [{"weight": -1.0}, {"confident": 2.0}, {"threshold": 2.0}, {"uncertainty": "one"},
     {"pretrain_steps": -1}],
)  # fmt: skip
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=f"adapt.options.cmu.{next(iter(options))}"):
        Cmu(open_set=True, **options)
