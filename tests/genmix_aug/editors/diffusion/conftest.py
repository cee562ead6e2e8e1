"""The diffusion editor on a real pipeline of small random modules."""

import pytest

from genmix_aug.editors.diffusion import editor as diffusion_editor
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
        diffusion_editor,
        "_compute_dtype",
        lambda precision, device: diffusion_editor.PRECISIONS[precision],
    )
