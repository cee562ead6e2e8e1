"""GenMix: what is drawn, and that an image's result depends on its seed alone."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from genmix_aug.images import from_picture, to_picture
from genmix_aug.mixing.genmix import JOINS, GenMix, parse_settings, resize_fractals
from genmix_aug.mixing.masks import SIDES, blend_width_for, cutmix_box, smooth_mask
from genmix_aug.mixing.mix import blend, concatenate

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def images(count, height=24, width=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator).byte()


def test_draws_depend_on_each_seed_alone_and_are_even():
    genmix = GenMix(images(5), blend_width=4)
    draws = genmix.draw(range(2000))
    again = genmix.draw([7, 3, 7])
    assert [again.sides[1], again.fractals[1]] == [draws.sides[3], draws.fractals[3]]
    assert again.sides[0] == again.sides[2] == draws.sides[7]
    pairs = Counter(zip(draws.sides, draws.fractals, strict=True))
    assert len(pairs) == 4 * 5
    assert all(60 < count < 140 for count in pairs.values())


def test_sides_and_fractals_of_known_seeds_stay():
    """Those that were drawn before other joins existed (recorded then)."""
    draws = GenMix(images(5)).draw([0, 1, 2, 3, 1234567, 2**62])
    assert draws.sides == ["bottom", "left", "right", "right", "left", "right"]
    assert draws.fractals == [3, 4, 2, 1, 0, 4]


def test_shares_and_centres_are_uniform_and_independent():
    draws = GenMix(images(2)).draw(range(2000))
    values = torch.tensor([(s, *c) for s, c in zip(draws.shares, draws.centres, strict=True)])
    assert ((values >= 0) & (values < 1)).all()
    for column in values.T:
        counts = torch.histc(column, 10, 0, 1)
        assert ((counts > 150) & (counts < 250)).all()
    assert (torch.corrcoef(values.T) - torch.eye(3)).abs().max() < 0.08


def test_sides_may_be_chosen():
    draws = GenMix(images(2), sides=("top", "left")).draw(range(50))
    assert set(draws.sides) == {"top", "left"}


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("size", [(24, 24), (17, 23)], ids=str)
def test_a_result_does_not_depend_on_the_batch(size, join):
    genmix = GenMix(images(5, seed=9), blend_width=4, join=join)
    original, edited = images(6, *size), images(6, *size, seed=1)
    seeds = [11, 5, 8, 5, 2, 0]
    together = genmix(original, edited, seeds)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = genmix(original[order], edited[order], [seeds[k] for k in order])
    for position, k in enumerate(order):
        alone = genmix(original[k : k + 1], edited[k : k + 1], seeds[k : k + 1])
        assert torch.equal(alone[0], together[k])
        assert torch.equal(shuffled[position], together[k])
    assert not torch.equal(together[0], genmix(original[:1], edited[:1], [12345])[0]), (
        "another seed, another result"
    )


def test_stages_are_the_steps_of_the_result():
    genmix = GenMix(images(3, 32, 32, seed=9), blend_width=5)
    original, edited = images(2, 21, 30)
    stages = genmix.stages(original, edited, seed=4)
    assert list(stages) == ["original", "edited", "mask", "hybrid", "fractal", "result"]
    side = genmix.draw([4]).sides[0]
    assert torch.equal(stages["mask"], smooth_mask(21, 30, side, 5))
    assert torch.equal(stages["hybrid"], concatenate(original, edited, stages["mask"]))
    assert torch.equal(stages["result"], blend(stages["hybrid"], stages["fractal"]))
    fast = genmix(original[None], edited[None], [4])[0]
    assert (fast.int() - stages["result"].int()).abs().max() <= 1


def test_fractals_of_another_size_are_resized_the_same_at_once_or_as_drawn():
    genmix = GenMix(images(4, 40, 40, seed=3), blend_width=3)
    original, edited = images(5, 16, 20), images(5, 16, 20, seed=1)
    resized = genmix.at_size(16, 20)
    assert resized.fractals.shape == (4, 3, 16, 20)
    assert torch.equal(resized(original, edited, range(5)), genmix(original, edited, range(5)))
    same = images(2)
    assert resize_fractals(same, 24, 24) is same


def test_no_fractal_weight_leaves_the_hybrid():
    genmix = GenMix(images(2), blend_width=4, fractal_weight=0)
    white, black = torch.full((1, 3, 24, 24), 255).byte(), torch.zeros(1, 3, 24, 24).byte()
    for seed in range(8):
        side = genmix.draw([seed]).sides[0]
        mixed = genmix(black, white, [seed])[0]
        expected = (smooth_mask(24, 24, side, 4) * 255).round().byte()
        assert torch.equal(mixed, expected.expand(3, -1, -1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractals": images(2).float()}, "fractals must be uint8"),
        ({"fractals": images(2)[:0]}, "fractals must be uint8"),
        ({"sides": ("left", "middle")}, "sides must be among"),
        ({"sides": ()}, "sides must be among"),
        ({"fractal_weight": -0.1}, "fractal_weight"),
        ({"blend_width": -2}, "blend_width must be px, 0 .* or -1 .*, not -2"),
        ({"join": "cut"}, "join must be one of seam, cutmix, mixup, edited, original, not 'cut'"),
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GenMix(**{"fractals": images(2), **options})


def test_batches_that_do_not_fit_are_refused():
    genmix = GenMix(images(2), blend_width=4)
    with pytest.raises(ValueError, match="1 seeds for 2 images"):
        genmix(images(2), images(2), [1])
    with pytest.raises(ValueError, match="edited must be uint8"):
        genmix(images(2), images(2).int(), [1, 2])
    with pytest.raises(ValueError, match="dtype"):
        genmix(images(2), images(2).float(), [1, 2])
    with pytest.raises(ValueError, match="original must be"):
        genmix(images(2)[:, :2], images(2)[:, :2], [1, 2])
    for first, seeds in ((images(2), 1), (images(2)[0], [1])):
        with pytest.raises(ValueError, match="takes an int as its seed"):
            genmix(first, first, seeds)
    picture = to_picture(images(1)[0])
    with pytest.raises(ValueError, match="not Tensor and Image"):
        genmix(images(1)[0], picture, 1)
    with pytest.raises(ValueError, match="2 originals, 1 edits and 2 seeds"):
        genmix([picture] * 2, [picture], [1, 2])
    with pytest.raises(ValueError, match="does not fit"):
        genmix(images(1, 3, 3), images(1, 3, 3), [1])
    assert set(genmix.draw(range(40)).sides) == set(SIDES)


@pytest.mark.parametrize("weight", [0.0, 0.2])
@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("as_float", [False, True])
def test_stages_show_every_join(join, weight, as_float):
    genmix = GenMix(images(3, 32, 32, seed=9), 5, weight, join=join)
    original, edited = images(2, 21, 30)
    in_bytes = genmix.stages(original, edited, 0)["fractal"]
    if as_float:
        original, edited = original / 255, edited / 255
        assert torch.equal(genmix.stages(original, edited, 0)["fractal"], in_bytes / 255)
    close = 1e-6 if as_float else 1
    for seed in range(8):
        stages = genmix.stages(original, edited, seed)
        result = genmix(original, edited, seed)
        assert (result.double() - stages["result"].double()).abs().max() <= close
        mask, draws = stages["mask"], genmix.draw([seed])
        assert (mask.dtype, mask.shape) == (torch.float32, (21, 30))
        assert torch.equal(stages["hybrid"], concatenate(original, edited, mask))
        if join == "cutmix":
            box = cutmix_box(21, 30, draws.shares[0], draws.centres[0])
            assert mask.sum() == (box.bottom - box.top) * (box.right - box.left)
            assert mask[box.top : box.bottom, box.left : box.right].all()
        expected = {"mixup": draws.shares[0], "edited": 1.0, "original": 0.0}.get(join)
        if expected is not None:
            assert (mask == torch.tensor(expected)).all()
        if weight == 0 and join in ("edited", "original"):
            assert torch.equal(result, edited if join == "edited" else original)
            assert result.data_ptr() not in (edited.data_ptr(), original.data_ptr())


def test_cutmix_shows_half_of_the_edit_less_what_is_clipped():
    genmix = GenMix(images(1), fractal_weight=0, join="cutmix")
    white, black = torch.ones(3, 32, 32), torch.zeros(3, 32, 32)
    means = [genmix(black, white, seed).mean().item() for seed in range(600)]
    # A naive estimate of the mean: sides of sqrt(lambda), a uniform centre, clipped.
    rng = np.random.default_rng(0)
    half, (down, across) = np.sqrt(rng.random(100_000)) / 2, rng.random((2, 100_000))
    spans = [np.minimum(at + half, 1) - np.maximum(at - half, 0) for at in (down, across)]
    expected = (spans[0] * spans[1]).mean()
    assert abs(np.mean(means) - expected) < 4 * np.std(means) / math.sqrt(600) + 0.02


@pytest.mark.parametrize("size", [(1, 1), (7, 1), (1, 7), (2, 9), (31, 33)], ids=str)
def test_bytes_and_floats_are_resized_alike(size):
    fractals = images(2, 24, 24)
    wide = torch.nn.functional.interpolate(fractals.float(), size, mode="bilinear", antialias=True)
    assert (resize_fractals(fractals, *size).float() - wide).abs().max() <= 1.01
    original, edited = (images(1, *size, seed=seed)[0] for seed in (1, 2))
    assert GenMix(fractals)(original, edited, 3).shape == (3, *size)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_what_comes_in_comes_out(join, dtype, device):
    genmix = GenMix(images(3, 40, 40, seed=5), blend_width=None, join=join)
    original, edited = images(4, 17, 22), images(4, 17, 22, seed=1)
    expected = genmix(original, edited, range(4))
    scale = 1 if dtype == torch.uint8 else 255
    pair = [(part / scale).to(dtype).to(device) for part in (original, edited)]
    mixed = genmix(*pair, range(4))
    assert (mixed.dtype, mixed.shape, mixed.device) == (dtype, pair[0].shape, pair[0].device)
    assert (mixed.cpu().float() * scale - expected.float()).abs().max() <= 1.01
    assert torch.equal(genmix(pair[0][2], pair[1][2], 2), mixed[2])


@pytest.mark.parametrize("join", JOINS)
def test_pictures_in_pictures_out(join):
    genmix = GenMix(images(3, 40, 40, seed=5), blend_width=3, join=join)
    sizes = [(17, 22), (24, 24)]
    pairs = [(images(1, *size)[0], images(1, *size, seed=1)[0]) for size in sizes]
    expected = [genmix(*pair, seed) for seed, pair in enumerate(pairs)]
    first, second = ([to_picture(pair[k]) for pair in pairs] for k in range(2))
    pictures = genmix(first, second, [0, 1])
    assert [type(picture) for picture in pictures] == [Image.Image] * 2
    assert [picture.size for picture in pictures] == [(22, 17), (24, 24)]
    for picture, tensor in zip(pictures, expected, strict=True):
        assert torch.equal(from_picture(picture), tensor)
    assert torch.equal(from_picture(genmix(first[1], second[1], 1)), expected[1])
    assert genmix([], [], []) == []
    grey = first[1].convert("L")
    assert genmix(grey, second[1], 1).mode == "RGB"


def test_an_image_of_torchvision_stays_one():
    genmix = GenMix(images(3), blend_width=3)
    original, edited = images(2)
    mixed = genmix(tv_tensors.Image(original), edited, 5)
    assert type(mixed) is tv_tensors.Image
    assert torch.equal(mixed.as_subclass(torch.Tensor), genmix(original, edited, 5))


def test_images_on_a_device_are_not_copied_to_the_cpu():
    # Tensors of the device "meta" have no values: reading them on the host raises.
    original = torch.empty(4, 3, 20, 22, device="meta")
    for join in JOINS:
        genmix = GenMix(images(3), blend_width=3, join=join)
        assert genmix(original, original, range(4)).device.type == "meta"
        assert genmix(original.byte(), original.byte(), range(4)).device.type == "meta"


def test_no_width_is_the_papers_for_the_size():
    scaled = GenMix(images(3), blend_width=None)
    for size in ((60, 90), (24, 24), (7, 5)):
        original, edited = images(2, *size)
        fixed = GenMix(scaled.fractals, blend_width_for(min(size)))
        assert torch.equal(scaled(original, edited, 3), fixed(original, edited, 3))
        assert torch.equal(
            scaled.stages(original, edited, 3)["mask"], fixed.stages(original, edited, 3)["mask"]
        )


def test_one_meaning_of_the_width_everywhere():
    """0 is the paper's, scaled, as in configurations; -1 a hard cut."""
    original, edited = images(2)
    scaled = GenMix(images(3), blend_width=None)
    zero = GenMix(images(3), blend_width=0)
    assert zero == scaled
    assert torch.equal(zero(original, edited, 3), scaled(original, edited, 3))
    hard = GenMix(images(3), blend_width=-1, fractal_weight=0)
    hard.check_size(24, 24)
    seen = set()
    for seed in range(20):
        side = hard.draw([seed]).sides[0]
        mask = smooth_mask(24, 24, side, 0)
        assert set(mask.unique().tolist()) == {0, 1}
        assert torch.equal(hard.stages(original, edited, seed)["mask"], mask)
        assert torch.equal(hard(original, edited, seed), concatenate(original, edited, mask))
        seen.add(side)
    assert seen == set(SIDES)


def test_settings_are_read_as_command_lines_give_them():
    parsed = parse_settings("cutmix", "left, top", 0.3, 5)
    assert (parsed.join, parsed.sides) == ("cutmix", ("left", "top"))
    assert (parsed.fractal_weight, parsed.blend_width) == (0.3, 5)
    assert parse_settings("seam", "left", 0.2, 0).blend_width is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [-0.1, 1.1, 255.0, float("nan"), float("inf")])
def test_floats_outside_0_to_1_are_refused(dtype, value):
    genmix = GenMix(images(2), blend_width=4)
    good = (images(2) / 255).to(dtype)
    bad = good.clone()
    bad[1, 2, 3, 4] = value
    assert genmix(good, good, [1, 2]).dtype == dtype
    for first, second, name in ((bad, good, "original"), (good, bad, "edited")):
        with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\], not .* to "):
            genmix(first, second, [1, 2])
        with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\], not .* to "):
            genmix.stages(first[1], second[1], 0)


def test_a_rounding_outside_0_to_1_is_none():
    genmix = GenMix(images(2), blend_width=4)
    good = images(2) / 255
    genmix(good + 5e-4, good - 5e-4, [1, 2])
    genmix(torch.empty(0, 3, 24, 24), torch.empty(0, 3, 24, 24), [])


@pytest.mark.parametrize(
    "seed", [np.int64(7), torch.tensor(7), np.array(7), np.uint8(7)], ids=lambda s: type(s).__name__
)
def test_a_seed_is_any_whole_number(seed):
    genmix = GenMix(images(5), blend_width=4)
    original, edited = images(2)
    expected = genmix(original, edited, 7)
    assert torch.equal(genmix(original, edited, seed), expected)
    assert torch.equal(genmix.stages(original, edited, seed)["original"], original)
    pictures = to_picture(original), to_picture(edited)
    assert torch.equal(from_picture(genmix(*pictures, seed)), expected)
    assert torch.equal(genmix(original[None], edited[None], [seed])[0], expected)


@pytest.mark.parametrize("seeds", [torch.tensor([7]), np.array([7]), (7,), range(7, 8)])
def test_one_seed_in_a_row_is_that_of_a_batch(seeds):
    genmix = GenMix(images(5), blend_width=4)
    original, edited = images(2)
    batch = genmix(original[None], edited[None], seeds)
    assert torch.equal(batch[0], genmix(original, edited, 7))


@pytest.mark.parametrize("seed", [1.0, "7", None, torch.tensor(1.0), [1.5], np.float64(2)])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(ValueError, match="seeds must be whole numbers"):
        GenMix(images(2), blend_width=4)(*images(2), seed)


def test_fractals_shrink_without_aliasing_and_keep_their_colour():
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 200
    small = resize_fractals(stripes, 16, 20)
    assert small.dtype == torch.uint8
    assert (small.float() - 100).abs().max() < 20
    flat = torch.full((2, 3, 10, 10), 77, dtype=torch.uint8)
    assert (resize_fractals(flat, 23, 31) == 77).all()


def test_it_survives_pickling():
    genmix = GenMix(images(3), blend_width=None, join="mixup")
    copy = pickle.loads(pickle.dumps(genmix))
    original, edited = images(2)
    assert torch.equal(copy(original, edited, 3), genmix(original, edited, 3))
