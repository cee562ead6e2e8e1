"""Batches of equal sizes, and how much waits for them."""

from collections import Counter

import pytest
import torch

from genmix_aug.batching import batches
from genmix_aug.editors import EDITORS


def blank(height, width):
    return torch.zeros(3, height, width, dtype=torch.uint8)


def test_every_image_comes_once_in_a_batch_of_its_size():
    sizes = [(4, 1 + number % 7) for number in range(40)]
    images = [blank(*size) for size in sizes]
    seen = Counter()
    for batch in batches(enumerate(images), 3):
        assert 1 <= len(batch) <= 3
        assert len({image.shape for _, image in batch}) == 1
        seen.update(number for number, _ in batch)
    assert seen == Counter(range(40))


@pytest.mark.parametrize("side", [1, 10, 40])
def test_what_waits_is_bounded_by_bytes(side):
    """Sizes all differ, so none fills up: at most the bound and an image wait."""
    sizes = []

    def numbered():
        for k in range(60):
            sizes.append(3 * side * (side + k))
            yield k, blank(side, side + k)

    bound, taken = 3 * side * side * 9, 0
    for batch in batches(numbered(), 2, max_waiting_bytes=bound):
        assert sum(sizes) - taken <= bound + sizes[-1]
        taken += sum(image.nbytes for _, image in batch)
    assert taken == sum(sizes)


def test_an_image_over_the_bound_goes_at_once():
    images = [blank(50, 50)] * 3
    assert [len(batch) for batch in batches(enumerate(images), 2, max_waiting_bytes=10)] == [
        1,
        1,
        1,
    ]


def photographs(count=200):
    """Yield images of a photo folder's sizes: five shapes, cropped by a few px."""
    generator = torch.Generator().manual_seed(0)
    sides = [(300, 400), (400, 300), (300, 300), (225, 400), (267, 400)]
    for number in range(count):
        height, width = sides[number % 5]
        less = torch.randint(0, 2, (2,), generator=generator).tolist()
        scale = 1 + int(torch.randint(0, 9, (), generator=generator)) / 4
        yield number, blank(round(height * scale) - less[0], round(width * scale) - less[1])


def test_photographs_fill_their_batches_where_the_editor_resizes_them():
    """By their sizes hardly any two go together."""

    def mean(group):
        sizes = [len(batch) for batch in batches(photographs(), 8, group)]
        assert sum(sizes) == 200
        return 200 / len(sizes)

    diffusion, filters = EDITORS["instruct-pix2pix"](resolution=128), EDITORS["filters"]()
    assert mean(filters.group) == 8
    assert mean(diffusion.group) > 6
    assert mean(lambda height, width: (height, width)) < 2


def test_large_photos_go_in_small_batches():
    photo = torch.zeros(1, dtype=torch.uint8).expand(3, 3000, 4000)  # 36 MB
    made = batches(((k, photo) for k in range(5)), 16)
    assert [len(batch) for batch in made] == [2, 2, 1]
    small = torch.zeros(1, dtype=torch.uint8).expand(3, 1000, 1000)
    assert [len(batch) for batch in batches(((k, small) for k in range(16)), 16)] == [16]
