"""Neighbours that a batch names, in place of the bank's nearest."""

import numpy as np
import pytest
import torch
from helpers.banks import batch_of, random_bank
from torch.nn import functional as F

from uda.methods import METHODS, geometry
from uda.methods.geometry import nearest_others, neighbours_in

INDEX = torch.tensor([3, 0, 59, 17, 8])
NEAR = torch.tensor([[1, 2], [5, 0], [7, 7], [3, 59], [40, 12]])


def make(name, **options):
    return METHODS[name](open_set=True, clusters="features", **options)


@pytest.mark.parametrize("name", ["lead", "glc"])
@pytest.mark.parametrize("rows", [slice(0, 5), slice(2, 3)])
def test_consistency_is_with_the_neighbours_that_are_named(name, rows):
    bank = random_bank(dim=12)
    method = make(name)
    batch = batch_of(bank, INDEX[rows], noise=0.3)
    named = type(batch)(batch.features, batch.logits, batch.index, near=NEAR[rows])
    loss = method.loss(named, method.refresh(bank, 0))["con"]
    expected = 0.0
    for logits, near in zip(batch.logits, NEAR[rows], strict=True):
        agreed = np.mean([bank.probabilities[row].numpy() for row in near], axis=0)
        p = logits.softmax(dim=0).detach().numpy()
        expected -= sum(agreed * np.log(p + 1e-5)) / len(NEAR[rows])
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["lead", "glc"])
def test_the_banks_nearest_may_be_named(name):
    bank = random_bank(dim=12)
    method = make(name, **({"affinity_weight": 1.0} if name == "glc" else {}))
    batch = batch_of(bank, INDEX, noise=0.3)
    near = neighbours_in(F.normalize(batch.features, dim=1), F.normalize(bank.features, dim=1), 4)
    named = type(batch)(batch.features, batch.logits, batch.index, near=near)
    plain = method.loss(batch, method.refresh(bank, 0))
    assert method.loss(named, method.refresh(bank, 0)) == plain


def test_affinity_draws_to_the_neighbours_that_are_named():
    bank = random_bank(dim=12)
    method = make("glc", affinity_weight=1.0)
    batch = batch_of(bank, INDEX, noise=0.3)
    losses = []
    for near in (NEAR, NEAR[:, :1]):
        named = type(batch)(batch.features, batch.logits, batch.index, near=near)
        state = method.refresh(bank, 0)
        losses.append(method.loss(named, state)["aff"].item())
        z = F.normalize(batch.features, dim=1).detach()
        # The bank's rows of the batch are already the batch's.
        moved = {int(row): z[i] for i, row in enumerate(INDEX)}
        unit = F.normalize(bank.features, dim=1)
        expected = 0.0
        first = -(-len(z) // method.num_clusters)
        for i, rows in enumerate(near.tolist()):
            others = sorted((float(z[i] @ z[j]) for j in range(5) if j != i), reverse=True)
            expected += sum(others[first : first + len(rows)]) / 5
            expected -= sum(float(z[i] @ moved.get(row, unit[row])) for row in rows) / 5
        assert losses[-1] == pytest.approx(expected, rel=1e-4)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("chunk", [1_024, 7])
def test_nearest_others_equal_a_loop(chunk, monkeypatch):
    monkeypatch.setattr(geometry, "CHUNK", chunk)
    features = torch.randn(23, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    near = nearest_others(features, 3)
    unit = [f / f.norm() for f in features]
    for row, rows in enumerate(near.tolist()):
        others = [other for other in range(23) if other != row]
        assert rows == sorted(others, key=lambda other: -float(unit[row] @ unit[other]))[:3]


def test_a_row_is_none_of_its_neighbours_even_where_others_equal_it():
    features = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).repeat(3, 1)
    expected = [{row % 3, row % 3 + 3, row % 3 + 6} - {row} for row in range(9)]
    assert [set(rows) for rows in nearest_others(features, 2).tolist()] == expected


def test_too_few_others_are_an_error():
    with pytest.raises(ValueError, match="3 neighbours asked of a bank of 2 images"):
        nearest_others(torch.eye(3), 3)
