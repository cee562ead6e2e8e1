import numpy as np
import pytest
import torch
from helpers.phone import tag

from uda.data import pixels as datasets
from uda.data.items import domain_items
from uda.data.partition import of_classes
from uda.data.pixels import PixelStore
from uda.data.views import centre_crop, draw_views, gathered_views, to_float, views


def test_a_target_has_the_same_pictures_in_another_order_without_labels(spec):
    items = of_classes(domain_items(spec, "Plain"), ["disc", "bar"], "Tiny")
    view = PixelStore().labelled(items, {"disc": 0, "bar": 1}, 24)
    assert view.images.shape == (8, 3, 24, 24)
    assert view.images.dtype == torch.uint8
    assert view.labels.tolist() == [1] * 4 + [0] * 4
    assert view.names[0] == "bar/00.png"
    target, in_order = PixelStore().unlabelled(items, 24)
    assert sorted(in_order, key=items.index) == items != in_order
    for image, item in zip(target.images, in_order, strict=True):
        assert torch.equal(image, view.images[items.index(item)])
    assert set(vars(target)) == {"images", "neighbours"}  # nothing that tells labels
    assert target.neighbours is None  # but where a stage names them


def test_pictures_are_turned_unless_they_are_to_stay_as_stored(spec):
    items = domain_items(spec, "Plain")[:1]
    stored = PixelStore().decode(items, 32)
    tag(items[0].path)
    assert torch.equal(PixelStore(upright=False).decode(items, 32), stored)
    assert torch.equal(PixelStore().decode(items, 32), stored.rot90(-1, (2, 3)))


def test_views_are_crops_and_mirrors_as_drawn():
    images = torch.arange(2 * 3 * 7 * 7, dtype=torch.uint8).view(2, 3, 7, 7)
    draws = draw_views(2, spare_px=2, flip=True, seed=(1, 2))
    for image, view, (top, left, mirror) in zip(
        images, views(images, 5, draws), draws, strict=True
    ):
        crop = image[:, top : top + 5, left : left + 5]
        assert torch.equal(view, crop.flip(-1) if mirror else crop)


def test_draws_depend_on_seed_and_row_and_cover_all():
    draws = draw_views(300, spare_px=2, flip=True, seed=(1, 2))
    assert np.array_equal(draws, draw_views(300, 2, True, (1, 2)))
    assert not np.array_equal(draws, draw_views(300, 2, True, (1, 3)))
    assert len({tuple(row) for row in draws.tolist()}) == 18  # nine positions, mirrored or not
    assert not draw_views(300, 2, False, (1, 2))[:, 2].any()


def test_centre_crop_and_resize():
    images = torch.zeros(1, 3, 7, 7, dtype=torch.uint8)
    images[..., 1:6, 1:6] = 255
    assert centre_crop(images, 5).min() == 255
    assert datasets.resize(images, 14).shape == (1, 3, 14, 14)
    assert datasets.resize(images, 7) is images
    x = to_float(images, torch.device("cpu"))
    assert x.max() == 1
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("side", "px"), [(7, 5), (9, 9), (73, 64)])
def test_a_gather_gives_the_views_of_the_loop(side, px):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, side, side), dtype=torch.uint8, generator=generator)
    draws = draw_views(6, side - px, True, (3,))
    looped = views(images, px, draws)
    assert looped.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(looped, gathered_views(images, px, torch.from_numpy(draws)))
    assert len(views(images[:0], px, draws[:0])) == 0


def test_draws_stay_what_they_were():
    # As in the first version: other draws would change the result of every run.
    drawn = draw_views(3, 9, True, (0, 101, 0)).tolist()
    assert drawn == [[1, 4, 1], [4, 0, 0], [9, 3, 1]]


@pytest.mark.parametrize("channels_last", [True, False])
def test_to_float_divides_by_255(channels_last):
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, 3, 1, 1)
    x = to_float(images, torch.device("cpu"), channels_last)
    assert torch.equal(x, images.float() / 255)
    assert x.is_contiguous(memory_format=torch.channels_last) == channels_last
