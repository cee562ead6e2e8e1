"""What tells the rows of a table apart, and what each is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from uda.data.spec import DatasetSpec
from uda.methods import METHODS
from uda.reports.results import Board, Pair, Result, Row, Setting, row_title
from uda.runs.folder import Run
from uda.runs.hashing import config_hash
from uda.stages.identity import added_settings
from uda.sweeps.record import Expected


def rows_of(
    setting: Setting,
    found: Mapping[tuple[str, str], list[Result]],
    planned: Mapping[Path, str],
) -> dict[str, Row]:
    order = list(METHODS)

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
    return run.augmentation == "checkpoint"


def settings_of(run: Run, file: bool = True) -> dict[str, Any]:
    """A run's configuration without pair and seed, and without its checkpoint if not ``file``."""
    source = {key: value for key, value in run.source.items() if key != "seed"}
    source["data"] = {key: value for key, value in source["data"].items() if key != "source"}
    if not file and "augment" in source:
        source["augment"] = {k: v for k, v in source["augment"].items() if k != "file"}
    return {"source": source, "adapt": run.adapt}


def told_apart(
    configurations: Sequence[Mapping[str, Any]], asked: Callable[[str], bool] = lambda key: True
) -> list[str]:
    """What tells each of nested ``configurations`` from the others, as "adapt.rate=0.01, epochs=3",
    by the dotted keys that are ``asked`` for.

    A value that more than half of them share is left out, and so is an absent value. Of settings
    that were added later (`uda.stages.identity.added_settings`) the former value is left out; other
    values of adaptation and data are named even if all share them.
    """
    settings = [dict(_flat(one)) for one in configurations]
    names = sorted({key for one in settings for key in one})
    added = added_settings()
    usual: dict[str, str | None] = {}  # of the settings that are told
    for key in filter(asked, names):
        (value, count), *others = Counter(str(one.get(key)) for one in settings).most_common()
        later = key.removeprefix("source.")
        if later in added and (others or later.startswith(("adapt.", "data."))):
            usual[key] = str(added[later])
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
        if not (run.is_done and run.is_adaptation):
            continue
        setting = Setting(run.dataset, run.scenario, run.concepts)
        key = run.method, run.augmentation
        pair = _pair(setting.spec, run.source_domain, run.target, run)
        result = Result(run, pair, run.seed, run.evaluations())
        found.setdefault(setting, {}).setdefault(key, []).append(result)
    return {setting: rows_of(setting, by_key, planned) for setting, by_key in found.items()}


def _pair(spec: DatasetSpec, source: str, target: str, run: Run) -> Pair:
    for domain in (source, target):
        if domain not in spec.domains:
            raise ValueError(
                f"{run.folder}: its domain {domain!r} is none of {spec.title}'s any more "
                f"({', '.join(spec.domains)}); move the run elsewhere"
            )
    return Pair(source, target, spec.pair_name(source, target))
