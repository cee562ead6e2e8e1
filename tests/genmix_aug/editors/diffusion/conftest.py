"""The diffusion editor on a real pipeline of small random modules."""

import pytest

from genmix_aug.editors.diffusion import instruct_pix2pix
from genmix_aug.editors.diffusion.instruct_pix2pix import InstructPix2PixEditor


@pytest.fixture
def folder(tiny_pipeline):
    """Return the pipeline's folder, as diffusers saves it."""
    return tiny_pipeline


@pytest.fixture
def make(folder):
    """Return what makes editors that are quick enough for tests."""

    def make(**options):
        quick = {"model": str(folder), "steps": 2, "resolution": 64, "device": "cpu"}
        return InstructPix2PixEditor(**quick | options)

    return make


@pytest.fixture
def in_half(monkeypatch):
    """Let the CPU compute in half precision, which PyTorch can but the editor never does."""
    monkeypatch.setattr(
        instruct_pix2pix,
        "_compute_dtype",
        lambda precision, device: instruct_pix2pix.PRECISIONS[precision],
    )
