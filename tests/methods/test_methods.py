"""What every adaptation method keeps to."""

from dataclasses import fields, is_dataclass

import pytest
import torch
from torch import Tensor

from uda.methods import METHODS
from uda.methods.base import Bank

N, D, K = 60, 16, 3


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_name_and_a_title_of_its_own(name):
    method = METHODS[name]
    assert method.name == name
    assert [other.title for other in METHODS.values()].count(method.title) == 1


def made_up_bank():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(N, D, generator=generator)
    weights = torch.randn(K, D, generator=generator)
    return Bank(features, (features @ weights.T).softmax(dim=1), weights)


def tensors(value):
    """All tensors in a state, by their place."""
    if isinstance(value, Tensor):
        return {"": value}
    if not is_dataclass(value):
        return {}
    parts = {field.name: tensors(getattr(value, field.name)) for field in fields(value)}
    return {f"{name}.{key}": own for name, found in parts.items() for key, own in found.items()}


@pytest.mark.parametrize("name", METHODS)
def test_what_is_sent_to_other_processes_is_not_the_bank(name):
    """The first process's results, sent, give the second one the same state."""
    sent = []

    def first(make):
        sent.append(make())
        return sent[-1]

    def second(make):
        return sent.pop(0)

    bank = made_up_bank()
    options = {"clusters": "features"} if name in ("lead", "glc") else {}
    theirs = tensors(METHODS[name](open_set=True, **options).refresh(bank, 0, first))
    assert (N, D) not in [value.shape for one in sent for value in tensors(one).values()]
    ours = tensors(METHODS[name](open_set=True, **options).refresh(bank, 0, second))
    assert not sent
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    alone = tensors(METHODS[name](open_set=True, **options).refresh(bank, 0))
    assert all(torch.equal(value, alone[key]) for key, value in ours.items())
