import pytest
import torch
from torch import nn

from uda.compute.optim import rate_factor, set_rate, sgd


def test_rates_follow_the_schedule():
    body, head = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = sgd(body.parameters(), head.parameters(), rate=0.01, weight_decay=1e-3)
    for step, factor in ((1, (1 + 10 / 4) ** -0.75), (4, 11**-0.75)):
        set_rate(optimizer, step, 4)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.001 * factor, 0.01 * factor])


def test_sgd_is_nesterov_with_decay_of_all_parameters():
    layer = nn.Linear(2, 1)
    optimizer = sgd([], layer.parameters(), rate=1.0, weight_decay=0.5)
    start = layer.bias.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.zeros(1, 2), torch.ones(1)
    optimizer.step()
    gradient = 1 + 0.5 * start
    torch.testing.assert_close(layer.bias.detach(), start - (gradient + 0.9 * gradient))


def test_schedules_follow_their_formulas():
    def factors(total, **settings):
        return [rate_factor(step, total, **settings) for step in range(1, total + 1)]

    assert factors(4) == pytest.approx([(1 + 10 * t / 4) ** -0.75 for t in (1, 2, 3, 4)])
    cosine = factors(4, schedule="cosine")
    assert cosine == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])
    steps = factors(10, schedule="step", milestones=(0.3, 0.6), step_factor=0.2)
    assert steps == pytest.approx([1] * 3 + [0.2] * 3 + [0.04] * 4)
    with pytest.raises(ValueError, match="train.schedule: 'wave'"):
        factors(2, schedule="wave")


def test_the_cosine_schedule_is_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    for step in range(1, 8):
        assert rate_factor(step, 7, "cosine") == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("schedule", ["inverse", "cosine", "step"])
def test_the_schedule_follows_an_even_warm_up(schedule):
    shares = {"milestones": (0.5,)}
    warm = [rate_factor(step, 12, schedule, 3, **shares) for step in range(1, 13)]
    assert warm[:3] == pytest.approx([0.25, 0.5, 0.75])
    if schedule == "step":
        assert warm[3:] == pytest.approx([1] * 3 + [0.1] * 6)
    else:
        assert warm[3:] == [rate_factor(step, 9, schedule) for step in range(1, 10)]
