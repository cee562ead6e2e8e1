"""Masks, pixel by pixel."""

import math

import pytest
import torch

from genmix_aug.mixing.masks import (
    SIDES,
    Box,
    blend_width_for,
    box_mask,
    cutmix_box,
    seam,
    smooth_mask,
)

SIZES = [(16, 16), (17, 23), (23, 16), (1, 9), (512, 8)]


def naive_mask(height, width, side, blend_width):
    """Compute each pixel by the definition: how far its centre lies past the middle."""
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
    for side, other in (("left", "right"), ("top", "bottom")):
        both = smooth_mask(*size, side, 7) + smooth_mask(*size, other, 7)
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


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_centred_box_has_the_share_of_the_area(size):
    height, width = size
    for share in (0.0, 0.1, 0.5, 0.999, 1.0):
        box = cutmix_box(*size, share, (0.5, 0.5))
        down, across = int(height * math.sqrt(share)), int(width * math.sqrt(share))
        assert (box.bottom - box.top, box.right - box.left) == (down, across)
        mask = box_mask(*size, box)
        assert mask.dtype == torch.float32
        assert mask.shape == size
        assert mask.sum() == down * across


def test_a_box_is_clipped_at_the_border():
    # Of 0.25 of 8 x 12: 4 x 6 about the pixel of the centre.
    assert cutmix_box(8, 12, 0.25, (0.0, 0.0)) == Box(0, 2, 0, 3)
    assert cutmix_box(8, 12, 0.25, (0.999, 0.5)) == Box(5, 8, 3, 9)
    assert cutmix_box(8, 12, 0.25, (1.0, 1.0)) == Box(5, 8, 8, 12)
    assert cutmix_box(1, 1, 1.0, (1.0, 0.0)) == Box(0, 1, 0, 1)


def test_a_box_mask_is_1_in_the_box_alone():
    box = Box(1, 3, 2, 5)
    mask = box_mask(4, 6, box)
    for row in range(4):
        for column in range(6):
            assert mask[row, column] == (1 <= row < 3 and 2 <= column < 5)
    assert box_mask(4, 6, Box(2, 2, 0, 6)).sum() == 0


@pytest.mark.parametrize("box", [(1.1, (0.5, 0.5)), (0.5, (0.5, -0.1))])
def test_shares_and_centres_out_of_range_are_refused(box):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        cutmix_box(8, 8, *box)
