"""Training with augmentation, and source-free universal domain adaptation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uda.inference.model import TrainedModel


def load(checkpoint: Path | str, device: str = "auto", threshold: str = "") -> TrainedModel:
    """Load a finished run's model, to ask it: ``uda.load("runs/lead-…")("photo.jpg").label``.

    Args:
        checkpoint: A run's folder, or a .pt in it.
        device: auto, cpu, cuda or cuda:N.
        threshold: In place of the method's: mixture, two-means or a number.

    Returns:
        The model, see `uda.inference.model.TrainedModel`.
    """
    from uda.inference.model import load as load_model  # torch takes seconds to import

    return load_model(Path(checkpoint), device, threshold)
