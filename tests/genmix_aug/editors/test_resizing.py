"""Sizes that images are edited at."""

import pytest
import torch

from genmix_aug.editors.resizing import resize, working_size


@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((24, 24), 512, (512, 512)),
        ((1024, 768), 512, (512, 384)),
        ((33, 47), 512, (360, 512)),
        ((500, 10), 512, (512, 64)),
        ((100, 99), 64, (64, 64)),
        ((1, 1), 64, (64, 64)),
    ],
    ids=str,
)
def test_working_size(size, resolution, expected):
    assert working_size(*size, resolution) == expected


def test_resizing_keeps_flat_colours_and_averages_fine_patterns():
    flat = torch.full((1, 3, 9, 13), 0.3)
    torch.testing.assert_close(resize(flat, 64, 96), torch.full((1, 3, 64, 96), 0.3))
    checks = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float().expand(1, 3, -1, -1)
    assert (resize(checks, 8, 8) - 0.5).abs().max() < 0.05
    sharp = resize(torch.eye(4).expand(1, 3, -1, -1), 50, 50)
    assert sharp.min() >= 0
    assert sharp.max() <= 1
    assert resize(flat, 9, 13) is flat
