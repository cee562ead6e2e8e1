"""YOCO: where it cuts, and that the halves are transformed apart."""

from pathlib import Path

import numpy as np
import pytest
import torch

from uda.augment.each_image import transformed
from uda.augment.yoco import BASES, YOCOAugmentation


def test_yoco_is_the_released_code():
    with np.load(Path(__file__).parents[1] / "golden" / "yoco.npz") as golden:
        image = torch.from_numpy(golden["image"])
        expected = [torch.from_numpy(golden[f"c{seed}_out_flip"])[0] for seed in range(4)]
        draws = [float(golden[f"c{seed}_u"]) for seed in range(4)]
    augmentation = YOCOAugmentation()
    augmentation.base = lambda half: half.flip(-1)
    results = augmentation.images(image.expand(4, -1, -1, -1), range(4), range(4))
    for seed, result in enumerate(results):
        assert float(torch.rand((), generator=torch.Generator().manual_seed(seed))) == draws[seed]
        assert torch.equal(result, expected[seed])


@pytest.mark.parametrize("base", BASES)
def test_halves_are_the_bases_in_turn(base, pictures):
    alone = BASES[base]().transform

    def expected(image):
        if torch.rand(()) > 0.5:
            return torch.cat([alone(image[..., :12]), alone(image[..., 12:])], -1)
        return torch.cat([alone(image[:, :12]), alone(image[:, 12:])], -2)

    seeds = list(range(6))
    results = YOCOAugmentation(base=base).images(pictures, seeds, seeds)
    assert torch.equal(results, transformed(pictures, seeds, expected))


@pytest.mark.parametrize("size", [(1, 5), (5, 1), (1, 1)])
def test_a_picture_too_thin_to_cut_stays_whole(size):
    image = torch.full((1, 3, *size), 9, dtype=torch.uint8)
    augmentation = YOCOAugmentation()
    augmentation.base = lambda half: 255 - half
    for seed in range(6):
        assert torch.equal(augmentation.images(image, [0], [seed]), 255 - image)
