"""Finished adaptations as rows of a table: which belong together, and their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda.augment import title_of_augmentation
from uda.data.spec import DatasetSpec, load_dataset_spec
from uda.evaluation.metrics import SCORES
from uda.methods import title_of_method
from uda.runs.folder import Run
from uda.sweeps.record import setting_name

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Setting:
    """What a table is about: a dataset under a scenario. ``concepts`` as in `DataConfig`."""

    dataset: str
    scenario: str
    concepts: str

    @cached_property
    def spec(self) -> DatasetSpec:
        """The dataset's file."""
        return load_dataset_spec(self.dataset)

    def order(self, pair: Pair) -> tuple[int, int]:
        """Return a key that sorts pairs by source, then target, as the dataset has its domains."""
        domains = list(self.spec.domains)
        return domains.index(pair.source), domains.index(pair.target)

    @property
    def main_score(self) -> str:
        """The score that the papers compare by: accuracy under PDA, else h_score."""
        return "accuracy" if self.scenario == "pda" else "h_score"

    @property
    def scores(self) -> tuple[str, ...]:
        """The main score, then those that it is made of or goes with."""
        if self.scenario == "pda":
            return ("accuracy",)
        return ("h_score", "known_acc", "unknown_acc", "auroc", "oscr", "h3_score")

    @property
    def title(self) -> str:
        """The heading of its tables: ``EmojiHome, OPDA``."""
        return f"{self.spec.title}, {self._scenario_title}"

    def pair_title(self, pair: Pair) -> str:
        """Return the heading of a pair's table: ``EmojiHome, Noto → Twemoji, OPDA``."""
        return f"{self.spec.title}, {pair.arrow}, {self._scenario_title}"

    @property
    def _scenario_title(self) -> str:
        disjoint = ", no picture's concept in both" if self.concepts == "disjoint" else ""
        return self.scenario.upper() + disjoint

    @property
    def name(self) -> str:
        """The beginning of its files' names."""
        return setting_name(self.spec.name, self.scenario, self.concepts)


@dataclass(frozen=True)
class Pair:
    """A source and a target domain; ``name`` as tables print it, ``Tw2Fl``."""

    source: str
    target: str
    name: str

    @property
    def arrow(self) -> str:
        """The pair as figures print it: ``Twemoji → Fluent3D``."""
        return f"{self.source} → {self.target}"


def has_labels(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether evaluations were scored on any labelled image of the target."""
    return any(line.get("num_images", 1) for line in lines)


@dataclass(frozen=True)
class Result:
    """A finished adaptation. ``lines`` are its evaluations by epoch, the source model's first."""

    run: Run
    pair: Pair
    seed: int
    lines: Sequence[Mapping[str, Any]]

    def score(self, name: str) -> float:
        """Return the last epoch's score in percent; NaN where it is undefined."""
        value = self.lines[-1].get(name)
        return math.nan if value is None else float(value)

    def oracle(self, name: str) -> float:
        """Return the best score of an epoch of adaptation, chosen by target labels.

        NaN for a method that trains nothing, which has nothing to choose from.
        """
        scores = [line.get(name) for line in self.lines if line["epoch"]]
        values = [score for score in scores if score is not None]
        return max(values, default=math.nan)


@dataclass(frozen=True)
class Row:
    """A method and augmentation: ``results`` that differ in pair and seed alone, by pair.

    ``title`` is that of `row_title`, with what tells this row from another of the same method and
    augmentation, as " (rate=0.01)".
    """

    title: str
    method: str
    augment: str
    results: Sequence[Result]

    @property
    def seeds(self) -> list[int]:
        """All seeds of the row, in order."""
        return sorted({result.seed for result in self.results})

    def at(self, pair: Pair) -> list[Result]:
        """Return the row's results on ``pair``, in order of their seeds."""
        return [result for result in self.results if result.pair == pair]

    @cached_property
    def scores(self) -> DataFrame:
        """The last epoch's scores in percent, NaN where undefined: a column for each score.

        Its index is the pair's name and the seed, in the order of ``results``; of a run that is
        there twice, as of a folder that was copied, one counts.
        """
        import pandas as pd

        cells = [(result.pair.name, result.seed) for result in self.results]
        index = pd.MultiIndex.from_tuples(cells, names=["pair", "seed"])
        values = [{name: result.score(name) for name in SCORES} for result in self.results]
        return pd.DataFrame(values, index)[~index.duplicated(keep="last")]

    def scores_at(self, pair: Pair, score: str) -> list[float]:
        """Return the last epoch's ``score`` on ``pair`` of each run that has kept it.

        NaN where it is undefined.
        """
        return [result.score(score) for result in self.at(pair) if score in result.lines[-1]]


Board = Mapping[str, Row]


def row_title(method: str, augment: str) -> str:
    """Return a row's name as the papers print it: ``Source + GenMix``, ``LEAD + GenMix``."""
    title = title_of_method(method)
    if augment == "none":
        return title
    if augment == "checkpoint":
        return f"{title}, from a given checkpoint"
    plus = title_of_augmentation(augment)
    return f"{'Source' if method == 'source_only' else title} + {plus}"


def first_stages(runs: Sequence[Run]) -> dict[tuple[str, str], Path]:
    """Return the first picture of GenMix's stages of each (dataset, source) among the runs."""
    stages: dict[tuple[str, str], Path] = {}
    for run in runs:
        if not run.is_adaptation and run.stages_png.is_file():
            stages.setdefault((run.dataset_name, run.source_domain), run.stages_png)
    return stages


def pairs_of(setting: Setting, rows: Sequence[Row]) -> list[Pair]:
    """Return the pairs that have results, in the order of `Setting.order`."""
    return sorted({r.pair for row in rows for r in row.results}, key=setting.order)
