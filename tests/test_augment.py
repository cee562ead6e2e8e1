import pytest
import torch

from uda.augment import AUGMENTATIONS
from uda.augment.genmix import GenMixAugmentation

NAMES = ("a/0.png", "a/1.png", "b/0.png")


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8, generator=generator)


def prepared(images, store, **options):
    augmentation = GenMixAugmentation(num_fractals=2, **options)
    augmentation.prepare(images, NAMES[: len(images)], store, seed=0)
    return augmentation


def test_each_image_depends_on_its_own_id_and_seed_alone(images, tmp_path):
    augmentation = prepared(images, tmp_path, edits_per_image=2)
    ids, seeds = [2, 0, 2, 1], [5, 6, 9, 8]
    together = augmentation.images(images[ids], ids, seeds)
    assert together.shape == (4, 3, 24, 24)
    assert together.dtype == torch.uint8
    for image, number, seed in zip(together, ids, seeds, strict=True):
        alone = augmentation.images(images[number][None], [number], [seed])
        assert torch.equal(image, alone[0])
    assert not torch.equal(together[0], together[2])


def test_edits_are_made_once(images, tmp_path, monkeypatch):
    first = prepared(images, tmp_path)
    made = []
    edit = type(first.editor).edit
    monkeypatch.setattr(type(first.editor), "edit", lambda *a: made.append(1) or edit(*a))
    again = prepared(images, tmp_path)
    assert again.keys == first.keys
    assert not made
    assert torch.equal(again.edits, first.edits)


def test_edits_that_do_not_fit_in_memory_are_read_from_the_store(images, tmp_path, monkeypatch):
    loaded = prepared(images, tmp_path)
    monkeypatch.setattr("uda.augment.genmix.EDITS_IN_MEMORY", 0)
    reading = prepared(images, tmp_path)
    assert reading.edits is None
    ids, seeds = [0, 1], [3, 4]
    assert torch.equal(
        loaded.images(images[ids], ids, seeds), reading.images(images[ids], ids, seeds)
    )


def test_every_edit_is_drawn_in_time(images, tmp_path):
    augmentation = prepared(images[:1], tmp_path, edits_per_image=3, fractal_weight=0.0)
    results = {
        tuple(augmentation.images(images[:1], [0], [seed]).flatten().tolist())
        for seed in range(200)
    }
    assert len(results) == 12  # three edits, four sides


def test_stages_show_different_prompts(images, tmp_path):
    augmentation = prepared(images, tmp_path, edits_per_image=6)
    rows = augmentation.stages(images, [0, 1, 2], seed=0)
    assert list(rows[0]) == ["original", "edited", "mask", "hybrid", "fractal", "result"]
    assert torch.equal(rows[1]["original"], images[1])


def test_none_changes_nothing(images):
    augmentation = AUGMENTATIONS["none"]()
    assert augmentation.images(images, [0, 1, 2], [0, 0, 0]) is images
    y = torch.eye(3)
    assert augmentation.batch(images, y, 0) == (images, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": "winter"}, "augment.options.genmix.prompts: 'winter' is not one of in-domain"),
        ({"editor": "none"}, "augment.options.genmix.editor: 'none' is not one of filters"),
        ({"edits_per_image": 0}, "augment.options.genmix.edits_per_image"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GenMixAugmentation(**options)
