"""Fast AutoAugment: its operations against the released code's, its tables, its draws."""

from pathlib import Path

import numpy as np
import pytest
import torch

from uda.augment import policy_operations
from uda.augment.fast_autoaugment import POLICIES, FastAutoAugmentation
from uda.augment.policy_operations import OPERATIONS, cutout, operate

RELEASED = {
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "autocontrast": "AutoContrast",
}
# torchvision rounds these otherwise than Pillow.
ROUNDED = ("autocontrast", "contrast", "color")


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "fast_autoaugment.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "cutout"])
def test_an_operation_is_the_released_one(golden, name):
    image = torch.from_numpy(golden["image"]).permute(2, 0, 1)
    expected = golden[RELEASED.get(name, name.title())].astype(int)
    for level, picture in zip(golden["levels"], expected, strict=True):
        operation = OPERATIONS[name]
        result = operation.apply(image, operation.value(float(level)))
        assert result.dtype == torch.uint8
        difference = np.abs(result.permute(1, 2, 0).numpy().astype(int) - picture)
        assert difference.max() <= (1 if name in ROUNDED else 0)


def test_cutout_is_the_released_one(golden):
    image = torch.from_numpy(golden["image"]).permute(2, 0, 1)
    before = image.clone()
    for level, picture in zip(golden["levels"], golden["Cutout"], strict=True):
        px = OPERATIONS["cutout"].value(float(level)) * 32
        result = cutout(image, px, tuple(golden["cutout_xy"]))
        assert np.array_equal(result.permute(1, 2, 0).numpy(), picture)
    assert torch.equal(image, before)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_operations_keep_odd_sizes(name, level):
    image = torch.arange(3 * 5 * 8, dtype=torch.uint8).view(3, 5, 8)
    result = operate(image, name, level)
    assert (result.dtype, result.shape) == (image.dtype, image.shape)


def test_signs_are_drawn_evenly(pictures):
    torch.manual_seed(0)
    left = operate(pictures[0], "translate_x", 1.0)
    mirrored = [bool((operate(pictures[0], "translate_x", 1.0) == left).all()) for _ in range(200)]
    assert 70 < sum(mirrored) < 130
    assert torch.equal(operate(pictures[0], "translate_x", 0.5), pictures[0])


@pytest.mark.parametrize(
    ("policy", "pairs", "first"),
    [("imagenet", 498, None), ("cifar10", 493, ["contrast", "translate_x"]), ("svhn", 497, None)],
)
def test_tables_are_pairs_of_operations(policy, pairs, first):
    augmentation = FastAutoAugmentation(policy=policy)
    operations = np.array(augmentation.operations)
    assert operations.shape == (pairs, 2)
    assert set(operations.flat) == set(range(15))
    if first:
        assert [list(OPERATIONS)[number] for number in operations[0]] == first
    for table in (augmentation.chances, augmentation.levels):
        values = np.array(table)
        assert values.shape == (pairs, 2)
        assert values.min() >= 0
        assert values.max() <= 1
        assert values.mean() == pytest.approx(0.5, abs=0.1)


def test_policies_differ(pictures):
    seeds = list(range(6))
    results = [FastAutoAugmentation(policy=p).images(pictures, seeds, seeds) for p in POLICIES]
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


def test_an_images_operations_are_a_pair_each_with_its_chance(pictures, monkeypatch):
    applied = []
    monkeypatch.setattr(
        policy_operations, "operate", lambda image, *step: applied.append(step) or image
    )
    augmentation = FastAutoAugmentation()
    augmentation.operations = [[0, 1], [2, 3]]
    augmentation.chances = [[1.0, 0.25], [0.0, 1.0]]
    augmentation.levels = [[0.1, 0.2], [0.3, 0.4]]
    drawn = []
    for seed in range(400):
        applied.clear()
        augmentation.images(pictures[:1], [0], [seed])
        drawn.append(tuple(applied))
    first, second, third = ("shear_x", 0.1), ("shear_y", 0.2), ("translate_y", 0.4)
    assert drawn.count((third,)) == pytest.approx(200, abs=40)
    assert drawn.count((first,)) == pytest.approx(150, abs=40)
    assert drawn.count((first, second)) == pytest.approx(50, abs=25)
    assert set(drawn) == {(third,), (first,), (first, second)}
