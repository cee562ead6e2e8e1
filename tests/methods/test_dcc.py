"""DCC against numbers of the released code (tests/golden/README.md)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from uda.methods.base import Bank, Batch
from uda.methods.dcc import (
    Clusters,
    Dcc,
    chosen_place,
    class_centres,
    consensus,
    contrastive_discrepancy,
    ends_search,
    moved_memory,
)

CLASSES = 15


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "dcc.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def units(golden):
    return (F.normalize(golden[f"{name}_features"], dim=1) for name in ("source", "target"))


@pytest.mark.parametrize("count", [15, 20, 30])
def test_consensus(golden, count):
    source, target = units(golden)
    labels = golden["source_labels"]
    centres = class_centres(source, labels, CLASSES)
    torch.testing.assert_close(centres, golden["source_centres"])
    clusters = golden[f"centres_{count}"], golden[f"codes_{count}"].long()
    found = consensus(source, labels, centres, target, clusters[1], clusters[0])
    assert torch.equal(found.pairs, golden[f"pairs_{count}"])
    torch.testing.assert_close(found.parts.double(), golden[f"pair_parts_{count}"])
    assert found.score == pytest.approx(float(golden[f"score_{count}"]))


def test_the_search_ends_as_released_or_takes_the_best(golden):
    for scores, ends in zip(golden["drop_sequences"], golden["drop_flags"], strict=True):
        assert ends_search([x for x in scores.tolist() if not math.isnan(x)]) == bool(ends)
    scores, counts = golden["searched_scores"].tolist(), golden["searched_counts"].tolist()
    assert counts[chosen_place(scores, "released")] == int(golden["chosen_count"]) == 30
    assert counts[chosen_place(scores, "best")] == 15
    assert chosen_place([0.1, 0.3, 0.2], "released") == 1


def test_contrastive_discrepancy(golden):
    sides = [golden[f"cdd_{name}"].clone().requires_grad_() for name in ("source", "target")]
    blocks = [side.view(4, 3, -1) for side in sides]
    value = contrastive_discrepancy(*blocks, 4)
    assert float(value.detach()) == pytest.approx(float(golden["cdd"]), rel=1e-5)
    value.backward()
    for name, side in zip(("source", "target"), sides, strict=True):
        torch.testing.assert_close(side.grad, golden[f"cdd_grad_{name}"], rtol=1e-4, atol=1e-7)
    nine = contrastive_discrepancy(*(block.detach() for block in blocks), 9)
    assert float(nine) == pytest.approx(float(golden["cdd_with_9_matched"]), rel=1e-5)
    one = contrastive_discrepancy(*(block[:1].detach() for block in blocks), 1)
    assert one > 0  # no other class


def test_memory(golden):
    unit, codes = F.normalize(golden["memory_features"], dim=1), golden["memory_labels"]
    features = golden["memory_features"].clone().requires_grad_()
    memory = moved_memory(golden["memory_before"], unit, codes)
    torch.testing.assert_close(memory, golden["memory_after"], rtol=1e-4, atol=1e-6)
    loss = F.cross_entropy(F.normalize(features, dim=1) @ memory.T / 0.1, codes)
    assert float(loss.detach()) == pytest.approx(float(golden["memory_loss"]), rel=1e-5)
    loss.backward()
    torch.testing.assert_close(features.grad, golden["memory_grad"], rtol=1e-3, atol=1e-7)


def test_pictures_are_unknown_whose_nearest_cluster_is_matched_by_none(golden):
    method = Dcc(open_set=True)
    _, target = units(golden)
    centres = F.normalize(golden["centres_30"], dim=1)
    class_of = torch.full((30,), -1)
    class_of[golden["filtered_pairs"][:, 1]] = golden["filtered_pairs"][:, 0]
    method.clusters = Clusters(golden["codes_30"].long(), centres, class_of)
    probabilities = torch.eye(CLASSES)[torch.arange(60) % CLASSES]
    prediction = method.predict(Bank(target[:60], probabilities, golden["source_centres"]))
    assert torch.equal(prediction.label < CLASSES, golden["test_known"])
    assert torch.equal((target[:60] @ centres.T).argmax(dim=1), golden["test_nearest_cluster"])
    method.clusters = Clusters(method.clusters.codes, centres, torch.zeros(30, dtype=torch.long))
    everything = method.predict(Bank(target[:60], probabilities, golden["source_centres"]))
    assert (everything.label < CLASSES).all()


def made(seed=0, **options):
    """Return the method, its epoch's state and its source and target, in well parted clusters."""
    generator = torch.Generator().manual_seed(seed)
    means = F.normalize(torch.randn(6, 16, generator=generator), dim=1) * 8
    labels = torch.arange(80) % 4  # four classes of the source, of which two are in the target
    of_target = torch.tensor([0, 1, 4, 5])[torch.arange(90) % 4]

    def features(which):
        return means[which] + torch.randn(len(which), 16, generator=generator)

    method = Dcc(open_set=True, per_class=3, interval=1, most=2, **options)
    classifier = nn.Linear(16, 4)
    method.build(classifier, 90, seed)
    weights = means[:4]
    source = features(labels)
    target = features(of_target)
    method.see_source(Bank(source, source[:, :4], weights), labels, labels.repeat(2))
    bank = Bank(target, (target @ weights.T).softmax(dim=1), weights)
    return method, bank, labels, of_target


def test_clusters_of_shared_classes_are_matched():
    method, bank, _, of_target = made()
    state = method.refresh(bank, 0)
    for cluster, k in enumerate(state.class_of.tolist()):
        members = of_target[state.codes == cluster]
        if k >= 0:
            assert (members == k).float().mean() > 0.9
    assert sorted(k for k in state.class_of.tolist() if k >= 0) == [0, 1]


def test_rows_are_of_matched_classes_first():
    method, bank, labels, _ = made()
    state = method.refresh(bank, 0)
    source, target = method.rows(state, 5, 16)
    assert source.shape == target.shape == (5, 16)
    assert method.slots(2, 16) == 2
    for step in range(5):
        of_source = labels.repeat(2)[source[step, :6]].view(2, 3)
        assert (of_source == of_source[:, :1]).all()
        assert len(of_source[:, 0].unique()) == 2
        cluster = state.codes[target[step, :6]].view(2, 3)
        assert torch.equal(state.class_of[cluster[:, 0]], of_source[:, 0])
    again = method.rows(state, 5, 16)
    assert torch.equal(again[0], source)
    repeated = made(repeated=True)[0]
    assert repeated.slots(1, 16) == 2


def test_losses_of_a_step_and_the_ramp():
    method, bank, labels, _ = made()
    state = method.refresh(bank, 0)
    source_rows, target_rows = (rows[0] for rows in method.rows(state, 1, 16))
    features = torch.randn(16, 16, generator=torch.Generator().manual_seed(3))
    hard = F.one_hot(labels.repeat(2)[source_rows], 4).float()
    source = Batch(features, features[:, :4], source_rows, hard)
    target = Batch(bank.features[target_rows], features[:, :4], target_rows)
    before = state.centres.clone()
    losses = method.joint_loss(source, target, state)
    assert losses.keys() == {"ce", "aware", "cdd", "memory"}
    expected = F.cross_entropy(features[6:, :4], hard[6:].argmax(dim=1))
    torch.testing.assert_close(losses["ce"], expected)
    assert not torch.equal(state.centres, before)
    state.centres.copy_(before)
    method.step = 3_000
    later = method.joint_loss(source, target, state)
    assert float(later["memory"] / losses["memory"]) == pytest.approx(0.3012 / 0.0498, rel=1e-2)


def test_two_equal_numbers_of_clusters_are_kept(monkeypatch):
    method, bank, *_ = made()
    method.counts = [5, 5]
    method.clusters = Clusters(
        torch.arange(90) % 5, F.normalize(bank.features[:5], dim=1), torch.full((5,), -1)
    )
    assert len(method.refresh(bank, 2).centres) == 5


@pytest.mark.parametrize(
    "options",
    [{"weight": -1.0}, {"per_class": 0}, {"interval": 0}, {"most": 0}, {"search": "first"}],
)
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=f"adapt.options.dcc.{next(iter(options))}"):
        Dcc(open_set=True, **options)
