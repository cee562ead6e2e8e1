import pytest
import torch
from torch import nn

from uda.optim import set_rate, sgd


def test_rates_follow_the_schedule():
    body, head = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = sgd(body.parameters(), head.parameters(), rate=0.01, weight_decay=1e-3)
    for step, factor in ((1, (1 + 10 / 4) ** -0.75), (4, 11**-0.75)):
        set_rate(optimizer, step, 4)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.001 * factor, 0.01 * factor])


def test_it_is_nesterov_with_decay_on_everything():
    layer = nn.Linear(2, 1)
    optimizer = sgd([], layer.parameters(), rate=1.0, weight_decay=0.5)
    start = layer.bias.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.zeros(1, 2), torch.ones(1)
    optimizer.step()
    gradient = 1 + 0.5 * start
    torch.testing.assert_close(layer.bias.detach(), start - (gradient + 0.9 * gradient))
