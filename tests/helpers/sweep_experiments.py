"""Experiments whose sweeps the tests plan, on EmojiHome and without its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uda.config import AdaptConfig, AugmentConfig, DataConfig, Experiment, SweepConfig
from uda.data.spec import load_dataset_spec

SPEC = load_dataset_spec("emoji_home")


def emoji_experiment(runs: Path | str = "runs", scenario: str = "opda", **sweep: Any) -> Experiment:
    """Return an experiment with the keys of ``sweep`` in its section `sweep`."""
    return Experiment(
        data=DataConfig(scenario=scenario),
        augment=AugmentConfig(options={"genmix": {"edits_per_image": 6}}),
        adapt=AdaptConfig(epochs=10),
        sweep=SweepConfig(**sweep),
        runs=str(runs),
    )
