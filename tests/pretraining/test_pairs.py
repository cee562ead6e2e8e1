"""The pictures and views of a batch."""

from dataclasses import replace

import pytest
import torch
from helpers.training import CPU, SIZES

from uda.augment.base import Augmentation
from uda.augment.none import NoAugmentation
from uda.config import TrainConfig
from uda.pretraining import pairs as module
from uda.pretraining.pairs import ViewPairs
from uda.pretraining.views import random_views
from uda.training.source_batches import epoch_rows
from uda.training.state import Loop

LOOP = Loop(SIZES, seed=3, device=CPU)
COUNT = 10


class Marked(Augmentation):
    """Copies are brighter by 100."""

    name, title = "marked", "Marked"
    copies = True

    def images(self, images, ids, seeds):
        return images + 100


class EveryMarked(Marked):
    copies, every_image = False, True


def originals(px=32):
    """Return flat pictures, of which each value tells the row."""
    return torch.arange(COUNT, dtype=torch.uint8)[:, None, None, None].expand(COUNT, 3, px, px)


def view_pairs(augmentation=Marked, pairing="list", copies=1, loop=LOOP, images=None):
    settings = TrainConfig(steps=10, batch_size=4)
    images = originals() if images is None else images
    return ViewPairs(images, augmentation(), copies, settings, loop, pairing)


@pytest.fixture
def whole(monkeypatch):
    """Views are the whole pictures."""
    monkeypatch.setattr(module, "random_views", lambda images, px, flip, seeds: images)


def values(pair):
    """Return the pictures' values under both views, two lists."""
    return [(view[:, 0, 0, 0] * 255).round().int().tolist() for view in pair]


def batches(pairs, epoch=0):
    return [values(pair) for pair in pairs.epoch(epoch, pairs.steps_per_epoch)]


def test_a_list_has_copies_as_pictures_of_their_own(whole):
    pairs = view_pairs(copies=2)
    assert (pairs.num_rows, pairs.copies, pairs.steps_per_epoch) == (30, 2, 7)
    seen = []
    for first, second in batches(pairs):
        assert first == second, "two views of the same picture"
        seen += first
    rows = torch.cat(epoch_rows(30, 4, 0, 3))
    assert seen == [row if row < COUNT else row % COUNT + 100 for row in rows.tolist()]


def test_a_pair_is_a_view_of_the_picture_and_a_view_of_its_copy(whole):
    pairs = view_pairs(pairing="pair")
    assert (pairs.num_rows, pairs.copies, pairs.steps_per_epoch) == (10, 0, 2)
    for first, second in batches(pairs):
        assert max(first) < COUNT
        assert second == [value + 100 for value in first]


@pytest.mark.parametrize(("pairing", "added"), [("list", (100, 100)), ("pair", (0, 100))])
def test_augmentations_of_every_image_work_too(whole, pairing, added):
    pairs = view_pairs(EveryMarked, pairing)
    assert pairs.num_rows == COUNT
    rows = epoch_rows(COUNT, 4, 0, 3)
    for got, batch in zip(batches(pairs), rows, strict=True):
        assert got == [[row + more for row in batch.tolist()] for more in added]


def test_without_augmentation_both_pairings_are_the_same():
    images = torch.randint(0, 256, (COUNT, 3, 32, 32), dtype=torch.uint8)
    first, second = (
        next(view_pairs(NoAugmentation, pairing, images=images).epoch(0, 1))
        for pairing in ("list", "pair")
    )
    assert torch.equal(first.first, second.first)
    assert torch.equal(first.second, second.second)


def test_a_view_depends_on_seed_epoch_and_row_alone():
    images = torch.randint(0, 256, (COUNT, 3, 32, 32), dtype=torch.uint8)
    pairs = view_pairs(NoAugmentation, images=images)
    both = pairs.views(torch.tensor([5, 2, 7]), epoch=1)
    torch.manual_seed(9)
    alone = pairs.views(torch.tensor([2]), epoch=1)
    assert torch.equal(both[:, 1:2], alone)
    assert not torch.equal(alone[0], alone[1])
    assert not torch.equal(pairs.views(torch.tensor([2]), epoch=2), alone)
    other = view_pairs(NoAugmentation, images=images, loop=replace(LOOP, seed=4))
    assert not torch.equal(other.views(torch.tensor([2]), epoch=1), alone)


def test_batches_made_ahead_are_the_same(monkeypatch):
    images = torch.randint(0, 256, (COUNT, 3, 32, 32), dtype=torch.uint8)
    pairs, prefetch = view_pairs(images=images), module.prefetch
    before = list(pairs.epoch(0, 3))
    monkeypatch.setattr(module, "prefetch", lambda make, items, apart: prefetch(make, items, True))
    for old, new in zip(before, pairs.epoch(0, 3), strict=True):
        assert torch.equal(old.first, new.first)
        assert torch.equal(old.second, new.second)


@pytest.mark.parametrize("size", [(20, 33), (48, 48), (1, 1)])
def test_views_have_their_size_whatever_the_pictures(size):
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    views = random_views(images, 28, True, [0, 1])
    assert views.shape == (2, 3, 28, 28)
    assert views.dtype == torch.uint8


def test_no_view_is_mirrored_where_none_may_be():
    ramp = torch.arange(32, dtype=torch.uint8).mul(8).expand(1, 3, 32, 32)
    views = random_views(ramp.expand(40, 3, 32, 32), 28, False, range(40)).float().mean(dim=1)
    assert bool((views[:, :, -1] >= views[:, :, 0]).all())
    mirrored = random_views(ramp.expand(40, 3, 32, 32), 28, True, range(40)).float().mean(dim=1)
    assert 0 < int((mirrored[:, 0, -1] < mirrored[:, 0, 0]).sum()) < 40
