"""Nearest neighbours, and the split of features into known and unknown space."""

import pytest
import torch
from torch.nn import functional as F

from uda.methods import geometry
from uda.methods.geometry import known_basis, nearest, split_norms


def test_nearest_rows_equal_a_loop():
    generator = torch.Generator().manual_seed(0)
    bank = F.normalize(torch.randn(30, 5, generator=generator), dim=1)
    queries = F.normalize(torch.randn(4, 5, generator=generator), dim=1)
    result = nearest(queries, bank, 3)
    for query, rows in zip(queries, result, strict=True):
        cosines = sorted(((float(query @ row), i) for i, row in enumerate(bank)), reverse=True)
        assert rows.tolist() == [i for _, i in cosines[:3]]


def test_a_small_bank_is_an_error():
    with pytest.raises(ValueError, match="5 neighbours asked of a bank of 3"):
        nearest(torch.eye(3), torch.eye(3), 5)


def test_many_queries_are_looked_up_in_parts(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    bank = F.normalize(torch.randn(50, 6, generator=generator), dim=1)
    whole = nearest(bank, bank, 4)
    assert whole[:, 0].tolist() == list(range(50))  # each is nearest to itself
    monkeypatch.setattr(geometry, "CHUNK", 7)
    assert torch.equal(nearest(bank, bank, 4), whole)
    assert nearest(bank[:0], bank, 4).shape == (0, 4)


@pytest.mark.parametrize(("num_classes", "dim"), [(1, 2), (3, 7), (15, 256)])
def test_norms_equal_projections_on_the_full_basis(num_classes, dim):
    generator = torch.Generator().manual_seed(dim)
    weights = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    z = torch.randn(9, dim, generator=generator, dtype=torch.float64)
    full = torch.linalg.svd(weights.T, full_matrices=True).U
    known, unknown = split_norms(z, known_basis(weights))
    expected_known = (z @ full[:, :num_classes]).norm(dim=1)
    expected_unknown = (z @ full[:, num_classes:]).norm(dim=1)
    torch.testing.assert_close(known, expected_known)
    torch.testing.assert_close(unknown, expected_unknown)


def test_a_class_weight_lies_in_the_known_space():
    weights = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    known, unknown = split_norms(weights, known_basis(weights))
    torch.testing.assert_close(known, weights.norm(dim=1))
    assert unknown.max() < 1e-5


def test_no_unknown_space_is_an_error():
    with pytest.raises(ValueError, match="10 for 10 classes"):
        known_basis(torch.randn(10, 10))
