import pytest
import torch
from torch.nn import functional as F

from uda.methods import geometry as neighbours
from uda.methods.geometry import nearest


def test_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    bank = F.normalize(torch.randn(30, 5, generator=generator), dim=1)
    queries = F.normalize(torch.randn(4, 5, generator=generator), dim=1)
    found = nearest(queries, bank, 3)
    for query, rows in zip(queries, found, strict=True):
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
    monkeypatch.setattr(neighbours, "CHUNK", 7)
    assert torch.equal(nearest(bank, bank, 4), whole)
    assert nearest(bank[:0], bank, 4).shape == (0, 4)
