"""Keys of edits, and the attempts that may stand for a request."""

import itertools

import pytest
from helpers.edits import random_images

from genmix_aug.digests import image_digest
from genmix_aug.edits.keys import attempts, edit_key


def test_everything_that_matters_changes_the_key():
    (image,) = random_images(1)
    other = image.clone()
    other[0, 0, 0] ^= 1
    variants = [
        (image, "snowy", 0, "a"),
        (other, "snowy", 0, "a"),
        (image.reshape(3, 9, 12), "snowy", 0, "a"),
        (image, "mosaic", 0, "a"),
        (image, "snowy", 1, "a"),
        (image, "snowy", 0, "b"),
    ]
    keys = {edit_key(image_digest(variant[0]), *variant[1:]) for variant in variants}
    assert len(keys) == len(variants)
    strided = image.permute(0, 2, 1).contiguous().permute(0, 2, 1)
    assert image_digest(strided) == image_digest(image)
    with pytest.raises(ValueError, match="uint8"):
        image_digest(image.float())


def test_attempts_begin_with_the_requests_own_seed_and_all_differ():
    first = list(itertools.islice(attempts("00", "snowy", 5, "a"), 4))
    assert [attempt.number for attempt in first] == [0, 1, 2, 3]
    assert (first[0].seed, first[0].key) == (5, edit_key("00", "snowy", 5, "a"))
    assert len({attempt.seed for attempt in first}) == len({attempt.key for attempt in first}) == 4
    assert all(attempt.key == edit_key("00", "snowy", attempt.seed, "a") for attempt in first)
