"""Filling a store from images in memory, and what the transform then finds."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from genmix_aug.editors import EDITORS
from genmix_aug.edits.fill import FillSettings
from genmix_aug.edits.samples import fill_store
from genmix_aug.edits.store import EditStore
from genmix_aug.images import to_picture
from genmix_aug.mixing.genmix import GenMix
from genmix_aug.screening.checks import Verdict
from genmix_aug.transform import GenMixTransform


def some_images(count=3, height=24, width=20):
    generator = torch.Generator().manual_seed(0)
    small = torch.randint(0, 256, (count, 3, 4, 5), generator=generator).byte()
    return torch.nn.functional.interpolate(small, (height, width), mode="bilinear")


class Labelled(Dataset):
    def __init__(self, images, shape):
        self.images, self.shape = images, shape

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        image = to_picture(self.images[number]) if self.shape == "dict" else self.images[number]
        label = torch.tensor(number)
        return {"label": label, "image": image} if self.shape == "dict" else (image, label)


KINDS = {
    "tensor": lambda images: images,
    "list": list,
    "pictures": lambda images: [to_picture(image) for image in images],
    "tensor dataset": lambda images: TensorDataset(images, torch.arange(len(images))),
    "dataset": lambda images: Labelled(images, "tuple"),
    "dataset of dicts": lambda images: Labelled(images, "dict"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_transform_finds_what_was_filled(tmp_path, kind):
    images = some_images()
    keys = fill_store(KINDS[kind](images), tmp_path / "edits")
    assert [len(each) for each in keys] == [2, 2, 2]
    store = EditStore(tmp_path / "edits")
    assert sorted(key for each in keys for key in each) == store.keys()
    fractals = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    augment = GenMixTransform(store.root, genmix=GenMix(fractals, join="edited"), probability=1)
    for image, keys_of_image in zip(images, keys, strict=True):
        seen = augment(image)
        assert seen.shape == image.shape
        expected = [augment.genmix(image, store.read(key), 0) for key in keys_of_image]
        assert any(torch.equal(seen, each) for each in expected)


def test_every_kind_gets_the_same_edits_and_they_are_made_once(tmp_path, monkeypatch):
    images = some_images()
    store = EditStore(tmp_path)
    first = fill_store(images, store, prompts="in_domain", per_image=3, seed=4)

    def refuse(*_):
        raise AssertionError("edited again")

    monkeypatch.setattr(EDITORS["filters"], "edit_each", refuse)
    for kind in KINDS.values():
        assert fill_store(kind(images), store, EDITORS["filters"](), "in-domain", 3, 4) == first
    with pytest.raises(AssertionError, match="edited again"):
        fill_store(images, store, seed=5)


def test_sizes_may_differ_and_the_rejected_are_left_out(tmp_path):
    images = [*some_images(2), *some_images(1, 30, 11)]

    def screen(originals, edits):
        return [Verdict("flat" if image.shape[1] == 30 else "", {}) for image in originals]

    settings = FillSettings(screen=screen, redraws=1)
    keys = fill_store(images, tmp_path, per_image=1, settings=settings)
    assert [len(each) for each in keys] == [1, 1, 0]
    assert len(EditStore(tmp_path).rejected_keys()) == 2


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([np.zeros((8, 8, 3), np.uint8)], {}, r"sample 0 \(ndarray\) holds no image.*ToImage"),
        ([torch.rand(3, 8, 8)], {}, "sample 0: its image must be uint8"),
        ([torch.zeros(1, 8, 8).byte()], {}, "sample 0: its image must be uint8"),
        ([("a", 1)], {}, r"sample 0 \(tuple\) holds no image"),
        ([torch.tensor(1)], {}, "holds no image"),
        ([], {"per_image": 0}, "per_image must be at least 1"),
        ([], {"editor": "filter"}, "unknown editor 'filter': choose from filters, neural_style"),
        ([], {"prompts": "snowi"}, "unknown prompt 'snowi'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, images, options, message):
    with pytest.raises(ValueError, match=message):
        fill_store(images, tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()
