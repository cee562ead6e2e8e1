"""Labelled sheets of pictures."""

import pytest
import torch

from genmix_aug.contact_sheet import contact_sheet, save_png


def test_sheets_take_masks_and_any_shape(tmp_path):
    pictures = [torch.zeros(3, 10, 30, dtype=torch.uint8), torch.rand(9, 4)]
    sheet = contact_sheet([pictures], ["a very long row label " * 9], ["x", "y" * 200], 48)
    assert sheet.width < 48 * 5
    save_png(sheet, tmp_path / "s.png")
    with pytest.raises(ValueError, match="one label"):
        contact_sheet([pictures], ["a"], ["x"], 48)
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], [], ["x"], 48)
