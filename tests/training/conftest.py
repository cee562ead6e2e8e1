"""What tests of both loops observe or replace."""

import pytest
import torch


@pytest.fixture
def rates(monkeypatch):
    """The learning rates of SGD's parameter groups at each step."""
    rates, step = [], torch.optim.SGD.step

    def spy(optimizer, *args, **options):
        rates.append([group["lr"] for group in optimizer.param_groups])
        return step(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    return rates


@pytest.fixture
def make_batches_ahead(monkeypatch):
    """Let a module make batches in a thread while the network works, as it does on a GPU."""

    def patch(module):
        prefetch = module.prefetch
        monkeypatch.setattr(
            module, "prefetch", lambda make, items, apart: prefetch(make, items, True)
        )

    return patch
