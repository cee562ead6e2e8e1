"""Masks, pixel by pixel."""

import pytest
import torch

from genmix_aug.masks import SIDES, blend_width_for, seam, smooth_mask

SIZES = [(16, 16), (17, 23), (23, 16), (1, 9), (512, 8)]


def naive_mask(height, width, side, blend_width):
    """Each pixel by the definition: how far its centre lies past the middle, over the ramp."""
    mask = torch.zeros(height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            past = {
                "right": column + 0.5 - width / 2,
                "left": width / 2 - column - 0.5,
                "bottom": row + 0.5 - height / 2,
                "top": height / 2 - row - 0.5,
            }[side]
            if blend_width == 0:
                value = 0.5 if past == 0 else float(past > 0)
            else:
                value = min(1.0, max(0.0, past / blend_width + 0.5))
            mask[row, column] = value
    return mask


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("blend_width", [0, 1, 2, 5, 8])
def test_equals_a_loop_over_pixels(size, side, blend_width):
    height, width = size
    blend_width = min(blend_width, width if side in ("left", "right") else height)
    mask = smooth_mask(height, width, side, blend_width)
    assert mask.dtype == torch.float32
    assert mask.shape == size
    torch.testing.assert_close(mask.double(), naive_mask(height, width, side, blend_width))


@pytest.mark.parametrize("size", SIZES[:3], ids=str)
def test_opposite_sides_sum_to_one(size):
    for one, other in (("left", "right"), ("top", "bottom")):
        both = smooth_mask(*size, one, 7) + smooth_mask(*size, other, 7)
        torch.testing.assert_close(both, torch.ones(size))


def test_the_named_side_shows_the_edit():
    assert smooth_mask(64, 64, "left")[32, 0] == 1
    assert smooth_mask(64, 64, "right")[32, 0] == 0
    assert smooth_mask(64, 64, "top")[0, 32] == 1
    assert smooth_mask(64, 64, "bottom")[-1, 32] == 1


@pytest.mark.parametrize("length", [1, 2, 7, 16, 33])
def test_the_mask_is_0_or_1_outside_the_seam(length):
    for blend_width in range(length + 1):
        start, stop = seam(length, blend_width)
        mask = smooth_mask(3, length, "right", blend_width)
        assert (mask[:, :start] == 0).all()
        assert (mask[:, stop:] == 1).all()
        assert stop - start <= blend_width + 1


@pytest.mark.parametrize("blend_width", [-1, 33])
def test_a_ramp_that_does_not_fit_is_refused(blend_width):
    with pytest.raises(ValueError, match=rf"{blend_width} px does not fit .* 32 px"):
        smooth_mask(64, 32, "left", blend_width)


def test_unknown_sides_are_refused():
    with pytest.raises(ValueError, match="middle"):
        smooth_mask(8, 8, "middle", 2)


def test_the_papers_width_scales_with_the_size():
    assert [blend_width_for(size) for size in (512, 256, 128, 17, 1)] == [20, 10, 5, 1, 1]
