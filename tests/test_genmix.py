"""GenMix: what is drawn, and that an image's result depends on its own seed alone."""

from collections import Counter

import pytest
import torch

from genmix_aug.genmix import GenMix, resize_fractals
from genmix_aug.masks import SIDES, smooth_mask
from genmix_aug.mix import blend, concatenate


def images(count, height=24, width=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator).byte()


def test_draws_depend_on_each_seed_alone_and_are_even():
    genmix = GenMix(images(5), blend_width=4)
    draws = genmix.draw(range(2000))
    again = genmix.draw([7, 3, 7])
    assert [again.sides[1], again.fractals[1]] == [draws.sides[3], draws.fractals[3]]
    assert again.sides[0] == again.sides[2] == draws.sides[7]
    pairs = Counter(zip(*draws, strict=True))
    assert len(pairs) == 4 * 5
    assert all(60 < count < 140 for count in pairs.values())


def test_sides_may_be_chosen():
    draws = GenMix(images(2), sides=("top", "left")).draw(range(50))
    assert set(draws.sides) == {"top", "left"}


@pytest.mark.parametrize("size", [(24, 24), (17, 23)], ids=str)
def test_a_result_does_not_depend_on_the_batch(size):
    genmix = GenMix(images(5, seed=9), blend_width=4)
    original, edited = images(6, *size), images(6, *size, seed=1)
    seeds = [11, 5, 8, 5, 2, 0]
    together = genmix(original, edited, seeds)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = genmix(original[order], edited[order], [seeds[k] for k in order])
    for place, k in enumerate(order):
        alone = genmix(original[k : k + 1], edited[k : k + 1], seeds[k : k + 1])
        assert torch.equal(alone[0], together[k])
        assert torch.equal(shuffled[place], together[k])
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
        shown = genmix(black, white, [seed])[0]
        expected = (smooth_mask(24, 24, side, 4) * 255).round().byte()
        assert torch.equal(shown, expected.expand(3, -1, -1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractals": images(2).float()}, "fractals must be uint8"),
        ({"fractals": images(2)[:0]}, "fractals must be uint8"),
        ({"sides": ("left", "middle")}, "sides must be among"),
        ({"sides": ()}, "sides must be among"),
        ({"fractal_weight": -0.1}, "fractal_weight"),
        ({"blend_width": -1}, "blend_width"),
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
        genmix(images(2), images(2).float(), [1, 2])
    with pytest.raises(ValueError, match="does not fit"):
        genmix(images(1, 3, 3), images(1, 3, 3), [1])
    assert set(genmix.draw(range(40)).sides) == set(SIDES)
