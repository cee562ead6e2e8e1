"""Eq. 3 and 4 against float64 loops, and the fused path against both."""

import pytest
import torch

from genmix_aug.mixing.masks import SIDES, Box, box_mask, smooth_mask
from genmix_aug.mixing.mix import blend, concatenate, mix_box, mix_constant, mix_seam

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
BOXES = [Box(2, 7, 3, 8), Box(0, 9, 0, 8), Box(4, 4, 0, 8), Box(0, 1, 7, 8)]
SHARES = [0.0, 0.37, 0.5, 1.0]


def images(*shape, seed=0, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator).to(dtype)


def naive_mix(original, edited, fractal, mask, weight):
    """Apply Eq. 3 then 4 to an image [3, H, W], a pixel at a time in float64."""
    result = torch.zeros(original.shape, dtype=torch.float64)
    for channel, row, column in torch.cartesian_prod(*map(torch.arange, original.shape)).tolist():
        m = float(mask[row, column])
        at = (channel, row, column)
        hybrid = m * float(edited[at]) + (1 - m) * float(original[at])
        result[at] = (1 - weight) * hybrid + weight * float(fractal[at])
    return result


@pytest.mark.parametrize("size", [(9, 12), (11, 7), (6, 6)], ids=str)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("blend_width", [0, 3, 4])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_both_ways_equal_a_loop_over_pixels(size, side, blend_width, weight):
    original, edited, fractal = (images(3, *size, seed=seed) for seed in range(3))
    mask = smooth_mask(*size, side, blend_width)
    expected = naive_mix(original, edited, fractal, mask, weight)
    slow = blend(concatenate(original, edited, mask), fractal, weight)
    fast = mix_seam(original, edited, fractal, side, blend_width, weight)
    assert fast.dtype == slow.dtype == torch.uint8
    # Each of Eq. 3 and 4 rounds once; the fused path rounds once in all.
    assert (slow.double() - expected).abs().max() <= 1
    assert (fast.double() - expected).abs().max() <= 0.501
    assert (fast.int() - slow.int()).abs().max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_floats_stay_floats(dtype):
    original, edited, fractal = (images(2, 3, 9, 8, seed=s).to(dtype) / 255 for s in range(3))
    mixed = mix_seam(original, edited, fractal, ["top", "right"], 4)
    assert mixed.dtype == dtype
    for index, side in enumerate(["top", "right"]):
        mask = smooth_mask(9, 8, side, 4)
        expected = naive_mix(original[index], edited[index], fractal[index], mask, 0.2)
        tolerance = {torch.float64: 1e-6, torch.float32: 1e-6}.get(dtype, 2e-2)
        torch.testing.assert_close(mixed[index].double(), expected, atol=tolerance, rtol=0)


def masks_of(function, settings, height, width):
    """Return the mask of Eq. 3 that each setting of a fused function stands for, float [H, W]."""
    make = {
        mix_seam: lambda side: smooth_mask(height, width, side, 4),
        mix_box: lambda box: box_mask(height, width, box),
        mix_constant: lambda share: torch.full((height, width), share, dtype=torch.float64),
    }[function]
    return [make(setting) for setting in settings]


def fused(function, original, edited, fractal, settings, weight=0.2):
    more = (4, weight) if function is mix_seam else (weight,)
    return function(original, edited, fractal, settings, *more)


JOINS = [(mix_seam, list(SIDES)), (mix_box, BOXES), (mix_constant, SHARES)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("function", "settings"), JOINS)
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_every_join_is_eq_3_and_4_with_its_mask(device, function, settings, weight, dtype):
    scale = 1 if dtype == torch.uint8 else 255
    original, edited, fractal = (
        (images(4, 3, 9, 8, seed=seed) / scale).to(dtype) for seed in range(3)
    )
    on_device = [part.to(device) for part in (original, edited, fractal)]
    mixed = fused(function, *on_device, settings, weight)
    assert (mixed.dtype, mixed.device) == (dtype, on_device[0].device)
    mixed = mixed.cpu().double()
    tolerance = {torch.uint8: 1, torch.float32: 1e-6, torch.float16: 2e-3}[dtype]
    for index, mask in enumerate(masks_of(function, settings, 9, 8)):
        parts = original[index], edited[index], fractal[index]
        expected = naive_mix(*parts, mask, weight)
        assert (mixed[index] - expected).abs().max() <= tolerance
        slow = blend(concatenate(*parts[:2], mask), parts[2], weight)
        assert (mixed[index] - slow.double()).abs().max() <= tolerance


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("function", "settings"), JOINS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_each_image_of_a_batch_is_as_if_alone(device, function, settings, dtype):
    scale = 1 if dtype == torch.uint8 else 255
    original, edited, fractal = (
        (images(6, 3, 9, 8, seed=seed) / scale).to(dtype).to(device) for seed in range(3)
    )
    order = [3, 0, 1, 0, 2, 3]
    chosen = [settings[index] for index in order]
    together = fused(function, original, edited, fractal, chosen)
    for index, setting in enumerate(chosen):
        parts = original[index], edited[index], fractal[index]
        assert torch.equal(together[index], fused(function, *parts, setting))
        assert torch.equal(together[index], fused(function, *parts, [setting]))
        of_one = (part[index : index + 1] for part in (original, edited, fractal))
        assert torch.equal(together[index : index + 1], fused(function, *of_one, [setting]))
    listed = fused(function, original, edited, list(fractal), chosen)
    assert torch.equal(listed, together)
    one_for_all = fused(function, original, edited, fractal[0], settings[0])
    each = fused(function, original, edited, fractal[:1].expand_as(original), [settings[0]] * 6)
    assert torch.equal(one_for_all, each)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_what_the_mask_hides_and_what_has_no_weight_is_not_read(dtype):
    original, edited, fractal = (images(2, 3, 9, 8, seed=seed).to(dtype) for seed in range(3))
    if dtype == torch.float32:
        edited[:, :, 7:] = torch.nan
        original[:, :, :2] = torch.inf
        fractal[:] = torch.nan
    seamed = mix_seam(original, edited, fractal, "top", 4, 0)
    assert seamed.isfinite().all()
    boxed = mix_box(original, edited, fractal, Box(0, 6, 0, 8), 0)
    assert boxed.isfinite().all()
    assert torch.equal(seamed[:, :, :2], boxed[:, :, :2])
    assert torch.equal(seamed[:, :, :2], edited[:, :, :2])
    assert torch.equal(seamed[:, :, 7:], original[:, :, 7:])


@pytest.mark.parametrize(("function", "settings"), JOINS)
def test_nothing_is_copied_to_the_cpu(function, settings):
    # Tensors of the device "meta" have no values: reading them on the host raises.
    original, edited, fractal = (torch.empty(4, 3, 9, 8, device="meta") for _ in range(3))
    for parts in ((original, edited, fractal), (t.byte() for t in (original, edited, fractal))):
        assert fused(function, *parts, settings).device.type == "meta"


def test_uint8_rounds_to_the_nearest_level():
    first, second = torch.full((3, 2, 2), 10, dtype=torch.uint8), torch.zeros(3, 2, 2).byte()
    assert (blend(first, second, 0.04) == 10).all()  # 9.6
    assert (blend(first, second, 0.06) == 9).all()  # 9.4
    half = torch.full((2, 2), 0.26)
    assert (concatenate(second, first, half) == 3).all()  # 2.6
    assert (mix_seam(first, first, second, "left", 0, 0.06) == 9).all()


def test_a_batch_is_its_images_one_by_one():
    original, edited, fractal = (images(4, 3, 15, 21, seed=seed) for seed in range(3))
    batch = mix_seam(original, edited, fractal, list(SIDES), 5)
    for index, side in enumerate(SIDES):
        alone = mix_seam(original[index], edited[index], fractal[index], side, 5)
        batched = mix_seam(
            original[index : index + 1], edited[index : index + 1], fractal[index], side, 5
        )
        assert torch.equal(batch[index], alone)
        assert torch.equal(batched[0], alone)
    assert torch.equal(
        mix_seam(original, edited, fractal[0], "top", 5),
        mix_seam(original, edited, fractal[:1].expand(4, -1, -1, -1), ["top"] * 4, 5),
    )


def test_inputs_stay_as_they_are_and_layouts_do_not_matter():
    original, edited, fractal = (images(2, 3, 8, 10, seed=seed) for seed in range(3))
    copies = [tensor.clone() for tensor in (original, edited, fractal)]
    expected = mix_seam(original, edited, fractal, "left", 4)
    for before, after in zip(copies, (original, edited, fractal), strict=True):
        assert torch.equal(before, after)
    last = [tensor.to(memory_format=torch.channels_last) for tensor in copies]
    assert torch.equal(mix_seam(*last, "left", 4), expected)


def test_an_empty_batch_is_an_empty_batch():
    for nothing in (images(0, 3, 8, 8), images(0, 3, 8, 8).float()):
        assert mix_seam(nothing, nothing, nothing, [], 4).shape == (0, 3, 8, 8)
        assert mix_box(nothing, nothing, nothing, []).shape == (0, 3, 8, 8)
        assert mix_constant(nothing, nothing, nothing, []).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edited": images(3, 8, 9)}, "alike"),
        ({"edited": images(3, 8, 8).float()}, "dtype"),
        ({"fractal": images(3, 8, 9)}, "shape"),
        ({"side": "middle"}, "middle"),
        ({"side": ["left", "top"]}, "2 sides for 1 images"),
        ({"blend_width": 9}, "does not fit"),
        ({"fractal": images(2, 3, 8, 8)}, "2 fractals for 1 images"),
        ({"fractal": []}, "0 fractals for 1 images"),
        ({"fractal": [images(3, 8, 9)]}, "shape"),
        ({"fractal_weight": 1.5}, "weight"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    good = {
        "original": images(3, 8, 8),
        "edited": images(3, 8, 8),
        "fractal": images(3, 8, 8),
        "side": "left",
        "blend_width": 4,
    }
    with pytest.raises(ValueError, match=message):
        mix_seam(**{**good, **change})


def test_boxes_and_shares_that_do_not_fit_are_refused():
    image = images(3, 8, 8)
    for box in (Box(0, 9, 0, 8), Box(0, 8, -1, 4)):
        with pytest.raises(ValueError, match="reach out of an image of 8 by 8 px"):
            mix_box(image, image, image, box)
    with pytest.raises(ValueError, match="share must be in"):
        mix_constant(image, image, image, 1.2)
    with pytest.raises(ValueError, match="2 boxes for 1 images"):
        mix_box(image, image, image, [Box(0, 1, 0, 1)] * 2)
    with pytest.raises(ValueError, match="0 shares for 1 images"):
        mix_constant(image, image, image, [])
    with pytest.raises(ValueError, match="devices: cpu and meta"):
        mix_seam(image, image.to("meta"), image, "left", 4)


def test_integers_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="int64"):
        blend(images(3, 4, 4).long(), images(3, 4, 4).long())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_images_are_joined_in_their_own_precision_or_better(dtype):
    """Images in float64 with a mask in float32, as `smooth_mask` makes it."""
    generator = torch.Generator().manual_seed(0)
    original, edited = torch.rand(2, 3, 8, 9, generator=generator, dtype=torch.float64).to(dtype)
    mask = torch.rand(8, 9, generator=generator)
    wide = mask.double()
    expected = wide * edited.double() + (1 - wide) * original.double()
    joined = concatenate(original, edited, mask)
    assert joined.dtype == dtype
    # What float32 rounds of numbers up to 1, and what the images' type does.
    allowed = 1e-15 if dtype == torch.float64 else 1e-7 + torch.finfo(dtype).eps / 2
    assert (joined.double() - expected).abs().max() <= allowed
