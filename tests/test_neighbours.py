import pytest
import torch
from torch.nn import functional as F

from uda.neighbours import nearest


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
