"""Results that papers print, to stand beside measured ones: ``configs/published/DATASET.yaml``.

They are always marked *published*, and no mean, best value or difference of measured results has
them in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from uda.config import CONFIGS, read_yaml

FOLDER = CONFIGS / "published"


@dataclass(frozen=True)
class Published:
    """A table of a paper.

    ``metric`` is h_score or accuracy, in percent. ``values`` gives a row's value at each of
    ``pairs`` ("Ar2Cl"), ``averages`` its average as printed, ``source`` where all are printed.
    """

    source: str
    metric: str
    pairs: tuple[str, ...]
    values: Mapping[str, Mapping[str, float]]
    averages: Mapping[str, float]


def published(dataset: str, scenario: str) -> Published | None:
    """Return what papers print of ``dataset`` (a name, or the path of its file) under ``scenario``.

    None where they print nothing.

    Raises:
        ValueError: naming the row that has not a number for each pair.
    """
    path = FOLDER / f"{Path(dataset).stem}.yaml"
    raw = read_yaml(path) if path.is_file() else {}
    table = raw.get(scenario.upper())
    if table is None:
        return None
    pairs = tuple(table["pairs"])
    for name, row in table["methods"].items():
        if len(row["values"]) != len(pairs):
            raise ValueError(
                f"{path}: {scenario.upper()}: {name} has {len(row['values'])} values for "
                f"{len(pairs)} pairs"
            )
    return Published(
        raw["source"],
        table["metric"],
        pairs,
        {
            name: dict(zip(pairs, row["values"], strict=True))
            for name, row in table["methods"].items()
        },
        {name: row["average"] for name, row in table["methods"].items()},
    )
