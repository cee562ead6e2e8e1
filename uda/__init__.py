"""Source-free universal domain adaptation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uda.inference.model import TrainedModel


def load(checkpoint: Path | str, device: str = "auto", threshold: str = "") -> TrainedModel:
    """The model of a finished run, to be asked: ``uda.load("runs/lead-…")("photo.jpg").label``.

    ``checkpoint`` is a run's folder or a .pt in it, ``threshold`` another one than the method's:
    mixture, two-means or a number. See `uda.inference.model.load` and `TrainedModel`.
    """
    from uda.inference.model import load as load_model  # torch takes seconds to import

    return load_model(Path(checkpoint), device, threshold)
