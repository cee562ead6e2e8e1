"""Images that tests of several augmentations take."""

import pytest
import torch


@pytest.fixture
def pictures():
    """Smooth images as they are stored, uint8 [6, 3, 24, 24]: interpolation hardly matters."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((6, 3, 4, 4), generator=generator) * 255
    fine = torch.nn.functional.interpolate(coarse, (24, 24), mode="bicubic", align_corners=True)
    return fine.clamp(0, 255).to(torch.uint8)


@pytest.fixture
def images():
    """A batch of odd size, [5, 3, 23, 18] in [0, 1], each image with a bright spot elsewhere."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((5, 3, 23, 18), generator=generator) * 0.2
    for image, (row, column) in zip(
        images, [(4, 4), (17, 12), (5, 14), (18, 3), (11, 9)], strict=True
    ):
        image[:, row - 2 : row + 3, column - 2 : column + 3] += 0.7
    return images


@pytest.fixture
def targets():
    """Soft targets [5, 4] of the batch; the fifth image belongs to no class."""
    return torch.eye(5)[:, :4] * 0.9 + 0.025
