"""Finished adaptations as the rows of tables: which of them belong together, and their scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from uda.dataset_spec import DatasetSpec, load_dataset_spec
from uda.identity import LATER, dataset_of
from uda.runs import Run, config_hash
from uda.sweep_plan import Expected

METHOD_TITLES = {
    "source_only": "Source-only",
    "adabn": "AdaBN",
    "shot_o": "SHOT-O",
    "glc": "GLC",
    "lead": "LEAD",
}
AUGMENT_TITLES = {
    "genmix": "GenMix",
    "mixup": "Mixup",
    "manifold_mixup": "Manifold Mixup",
    "cutmix": "CutMix",
    "resizemix": "ResizeMix",
    "fmix": "FMix",
    "saliencymix": "SaliencyMix",
    "guidedmixup": "GuidedMixup",
    "randaugment": "RandAugment",
    "autoaugment": "AutoAugment",
    "trivialaugment": "TrivialAugment",
    "augmix": "AugMix",
    "pixmix": "PixMix",
}
SCORES = {
    "h_score": "H-score",
    "known_acc": "known",
    "unknown_acc": "unknown",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "oscr": "OSCR",
    "h3_score": "H³-score",
}


@dataclass(frozen=True)
class Setting:
    """What one table is about: a dataset under a scenario. ``concepts`` as in `DataConfig`."""

    dataset: str
    scenario: str
    concepts: str

    @cached_property
    def spec(self) -> DatasetSpec:
        """The dataset's file."""
        return load_dataset_spec(self.dataset)

    def place(self, pair: Pair) -> tuple[int, int]:
        """Where ``pair`` stands among all: by source, then by target, as the dataset has them."""
        order = list(self.spec.domains)
        return order.index(pair.source), order.index(pair.target)

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
        """``EmojiHome, OPDA``."""
        disjoint = ", no picture's concept in both" if self.concepts == "disjoint" else ""
        return f"{self.spec.title}, {self.scenario.upper()}{disjoint}"

    @property
    def name(self) -> str:
        """The beginning of its files' names."""
        disjoint = "_disjoint" if self.concepts == "disjoint" else ""
        return f"{self.spec.name}_{self.scenario}{disjoint}"


@dataclass(frozen=True)
class Pair:
    """A source and a target domain; ``name`` as tables print it, ``Tw2Fl``."""

    source: str
    target: str
    name: str


def has_labels(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a picture of the target that these evaluations are of has a label, to score by."""
    return any(line.get("num_images", 1) for line in lines)


@dataclass(frozen=True)
class Result:
    """One finished adaptation. ``lines`` are its evaluations by epoch, the source model's first."""

    run: Run
    pair: Pair
    seed: int
    lines: Sequence[Mapping[str, Any]]

    def score(self, name: str) -> float:
        """The last epoch's score in percent; NaN where it is undefined."""
        value = self.lines[-1].get(name)
        return math.nan if value is None else float(value)

    def oracle(self, name: str) -> float:
        """The best score of an epoch of adaptation, chosen by target labels; NaN where there was
        none: a method that trains nothing has nothing to choose from."""
        values = [line[name] for line in self.lines if line["epoch"] and line[name] is not None]
        return max(values, default=math.nan)


@dataclass(frozen=True)
class Row:
    """One method and augmentation: ``results`` that differ in pair and seed alone, by pair.

    ``title`` is that of `row_title`, with what tells this row from another of the same method and
    augmentation, as " (rate=0.01)".
    """

    title: str
    method: str
    augment: str
    results: Sequence[Result]

    @property
    def seeds(self) -> list[int]:
        """All its seeds, in order."""
        return sorted({result.seed for result in self.results})

    def at(self, pair: Pair) -> list[Result]:
        """Its results on ``pair``, in order of their seeds."""
        return [result for result in self.results if result.pair == pair]

    def values(self, score: str) -> dict[tuple[Pair, int], float]:
        """The last epoch's ``score`` by (pair, seed); undefined ones are NaN."""
        return {(result.pair, result.seed): result.score(score) for result in self.results}


Board = Mapping[str, Row]


def row_title(method: str, augment: str) -> str:
    """A row's name as the papers print it: ``Source + GenMix``, ``LEAD``, ``LEAD + GenMix``."""
    title = METHOD_TITLES.get(method, method)
    if augment == "none":
        return title
    if augment == "checkpoint":
        return f"{title}, from a given checkpoint"
    plus = AUGMENT_TITLES.get(augment, augment)
    return f"{'Source' if method == 'source_only' else title} + {plus}"


def boards(runs: Sequence[Run], expected: Sequence[Expected] = ()) -> dict[Setting, Board]:
    """Setting -> row's title -> row, of the finished adaptations among ``runs``; baselines first,
    augmentations in the order of the runs.

    Runs of one row differ in pair and seed alone: where more than that differs under one method and
    augmentation, each configuration is a row of its own. It is called what the sweeps call it that
    ``expected`` its runs, if they agree, else by what is different.
    """
    planned = {one.run_folder: one.row_title for one in expected if not one.other_titles}
    found: dict[Setting, dict[tuple[str, str], list[Result]]] = {}
    for run in runs:
        if not (run.is_done and run.config["stage"] == "adapt"):
            continue
        source = run.config["source"]
        data = source["data"]
        setting = Setting(dataset_of(run), data["scenario"], data["concepts"])
        key = run.config["adapt"]["method"], source["augment"]["name"]
        pair = _pair(setting.spec, data["source"], run.config["target"], run)
        result = Result(run, pair, source["seed"], evaluations(run))
        found.setdefault(setting, {}).setdefault(key, []).append(result)
    return {setting: _rows(setting, by_key, planned) for setting, by_key in found.items()}


def evaluations(run: Run) -> list[dict[str, Any]]:
    """The scores of an adaptation that has finished, by epoch from 0. ValueError naming the run
    that has lost those of its last epoch."""
    lines = run.metrics("evaluate")
    last = run.config["adapt"].get("epochs")  # what trains nothing has none
    if not lines or last not in (None, lines[-1]["epoch"]):
        raise ValueError(
            f"{run.folder / 'metrics.jsonl'}: the last epoch's scores are not in it any more; "
            "delete the run's folder and make it again"
        )
    return lines


def first_stages(found: Sequence[Run]) -> dict[tuple[str, str], Path]:
    """The first picture of GenMix's stages of each (dataset, source), among the runs."""
    shown: dict[tuple[str, str], Path] = {}
    for run in found:
        path = run.folder / "genmix_stages.png"
        if run.config["stage"] == "train" and path.is_file():
            data = run.config["data"]
            shown.setdefault((data["dataset"], data["source"]), path)
    return shown


def _pair(spec: DatasetSpec, source: str, target: str, run: Run) -> Pair:
    for domain in (source, target):
        if domain not in spec.domains:
            raise ValueError(
                f"{run.folder}: its domain {domain!r} is none of {spec.title}'s any more "
                f"({', '.join(spec.domains)}); move the run elsewhere"
            )
    return Pair(source, target, spec.pair_name(source, target))


def pairs_of(setting: Setting, rows: Sequence[Row]) -> list[Pair]:
    """The pairs that have results, by source, then by target, in the dataset's order of domains."""
    return sorted({r.pair for row in rows for r in row.results}, key=setting.place)


def _rows(
    setting: Setting,
    found: Mapping[tuple[str, str], list[Result]],
    planned: Mapping[Path, str],
) -> dict[str, Row]:
    order = list(METHOD_TITLES)

    def rank(key: tuple[str, str]) -> tuple[Any, ...]:
        method, augment = key
        known = order.index(method) if method in order else len(order)
        return known, method, augment != "none"

    def of_source(key: str) -> bool:
        return key.startswith("source.") and not key.startswith("source.augment.")

    keys = sorted(found, key=rank)
    variants = [(key, own) for key in keys for own in _variants(found[key])]
    settings = [settings_of(own[0].run) for _, own in variants]
    # How sources were trained is compared over the whole table, the rest within a row's name.
    words = told_apart(settings, of_source)
    for key in keys:
        places = [place for place, (other, _) in enumerate(variants) if other == key]
        more = told_apart([settings[place] for place in places], lambda key: not of_source(key))
        for place, told in zip(places, more, strict=True):
            words[place] = ", ".join(filter(None, (words[place], told)))
    own_titles = [
        row_title(*key) + (f" ({told})" if told else "")
        for (key, _), told in zip(variants, words, strict=True)
    ]
    titles = list(own_titles)
    for place, (_, own) in enumerate(variants):
        names = {planned[one.run.folder] for one in own if one.run.folder in planned}
        if len(names) == 1:
            (titles[place],) = names
    # Two sweeps may call different things the same.
    titles = [
        own if titles.count(title) > 1 else title
        for title, own in zip(titles, own_titles, strict=True)
    ]
    rows = {}
    for title, (key, own), one in zip(titles, variants, settings, strict=True):
        if titles.count(title) > 1:
            title = f"{title} [{config_hash(one)}]"
        own = sorted(own, key=lambda result: (setting.place(result.pair), result.seed))
        rows[title] = Row(title, *key, own)
    return rows


def _variants(results: Sequence[Result]) -> list[list[Result]]:
    """Results grouped by configuration, in the order of their seeds."""
    ordered = sorted(results, key=lambda result: result.seed)
    variants: dict[str, list[Result]] = {}
    for result in ordered:
        variants.setdefault(config_hash(settings_of(result.run)), []).append(result)
    if _unique(ordered) and _is_checkpoint(ordered[0].run):
        return [ordered]  # each source model is a file of its own
    return list(variants.values())


def _unique(results: Sequence[Result]) -> bool:
    """Whether no pair has the same seed twice, and all differ in their checkpoint at most."""
    places = {(result.pair, result.seed) for result in results}
    rest = {config_hash(settings_of(result.run, file=False)) for result in results}
    return len(places) == len(results) and len(rest) == 1


def _is_checkpoint(run: Run) -> bool:
    return run.config["source"]["augment"]["name"] == "checkpoint"


def settings_of(run: Run, file: bool = True) -> dict[str, Any]:
    """A run's configuration without pair and seed, and without its checkpoint if not ``file``."""
    source = {key: value for key, value in run.config["source"].items() if key != "seed"}
    source["data"] = {key: value for key, value in source["data"].items() if key != "source"}
    if not file and "augment" in source:
        source["augment"] = {k: v for k, v in source["augment"].items() if k != "file"}
    return {"source": source, "adapt": run.config["adapt"]}


def told_apart(
    configurations: Sequence[Mapping[str, Any]], asked: Callable[[str], bool] = lambda key: True
) -> list[str]:
    """What tells each of nested ``configurations`` from the others, as "adapt.rate=0.01, epochs=3",
    by the dotted keys that are ``asked`` for.

    A value that more than half of them share goes without saying, and so does an absent one. Of
    settings that came later (`uda.identity.LATER`) the value from before goes without saying;
    those of adaptation and data are told otherwise, even if all share one.
    """
    settings = [dict(_flat(one)) for one in configurations]
    names = sorted({key for one in settings for key in one})
    usual: dict[str, str | None] = {}  # of the settings that are told
    for key in filter(asked, names):
        (value, count), *others = Counter(str(one.get(key)) for one in settings).most_common()
        later = key.removeprefix("source.")
        if later in LATER and (others or later.startswith(("adapt.", "data."))):
            usual[key] = str(LATER[later])
        elif others:
            usual[key] = value if 2 * count > len(settings) else None
    return [
        ", ".join(
            f"{_short(key, names)}={one[key]}"
            for key in usual
            if key in one and str(one[key]) != usual[key]
        )
        for one in settings
    ]


def _short(key: str, names: Sequence[str]) -> str:
    """The shortest end of a dotted ``key`` that no other of ``names`` has."""
    parts = key.split(".")
    for start in range(len(parts) - 1, 0, -1):
        end = ".".join(parts[start:])
        if sum(name == end or name.endswith(f".{end}") for name in names) == 1:
            return end
    return key


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
