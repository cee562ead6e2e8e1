"""What tells the rows of a table apart, and what each is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uda.config import AnswerConfig
from uda.data.spec import DatasetSpec
from uda.methods import METHODS
from uda.reports.results import Board, Pair, Result, Row, Setting, row_title
from uda.runs.config import dotted
from uda.runs.folder import Run
from uda.runs.hashing import config_hash
from uda.stages.identity import added_settings, former_settings
from uda.sweeps.plan import join_words
from uda.sweeps.record import Expected

Key = tuple[str, str]  # (method, augmentation)


def boards(runs: Sequence[Run], expected: Sequence[Expected] = ()) -> dict[Setting, Board]:
    """Return the finished adaptations among ``runs`` by setting, then by the title of their row.

    Baselines come first, augmentations in the order of the runs. Runs of a row differ in pair and
    seed alone: where more than that differs under a method and augmentation, each configuration is
    a separate row. It is called what the sweeps call it that ``expected`` its runs, if they agree,
    else by what is different.
    """
    planned = {run.run_folder: run.row_title for run in expected if not run.other_titles}
    by_setting: dict[Setting, dict[Key, list[Result]]] = {}
    for run in runs:
        if not (run.is_done and run.is_adaptation):
            continue
        setting = Setting(run.dataset, run.scenario, run.concepts)
        try:
            spec = setting.spec
        except ValueError as error:
            raise ValueError(f"{run.folder}: {error}") from None
        pair = _pair(spec, run)
        result = Result(run, pair, run.seed, run.evaluations())
        results = by_setting.setdefault(setting, {})
        results.setdefault((run.method, run.augmentation), []).append(result)
    return {setting: _rows(setting, results, planned) for setting, results in by_setting.items()}


def _pair(spec: DatasetSpec, run: Run) -> Pair:
    for domain in (run.source_domain, run.target):
        if domain not in spec.domains:
            raise ValueError(
                f"{run.folder}: its domain {domain!r} is none of {spec.title}'s any more "
                f"({', '.join(spec.domains)}); move the run elsewhere"
            )
    return Pair(run.source_domain, run.target, spec.pair_name(run.source_domain, run.target))


def _rows(
    setting: Setting, by_key: Mapping[Key, Sequence[Result]], planned: Mapping[Path, str]
) -> dict[str, Row]:
    """Return the rows of a setting by title; ``planned`` are sweeps' titles by run's folder."""
    grouped = [
        (key, group) for key in sorted(by_key, key=_rank) for group in _variants(by_key[key])
    ]
    keys, variants = [key for key, _ in grouped], [group for _, group in grouped]
    settings = [settings_of(results[0].run) for results in variants]
    described = [
        join_words(row_title(*key), values.get("answer", "")) + (f" ({words})" if words else "")
        for key, values, words in zip(keys, settings, _words(keys, settings), strict=True)
    ]
    titles = list(described)
    for index, results in enumerate(variants):
        folders = {result.run.folder for result in results}
        names = {planned[folder] for folder in folders if folder in planned}
        if len(names) == 1:
            (titles[index],) = names
    # Two sweeps may call different things the same.
    titles = [
        description if titles.count(title) > 1 else title
        for title, description in zip(titles, described, strict=True)
    ]
    rows = {}
    for title, key, results, values in zip(titles, keys, variants, settings, strict=True):
        unique = f"{title} [{config_hash(values)}]" if titles.count(title) > 1 else title
        in_order = sorted(results, key=lambda result: (setting.order(result.pair), result.seed))
        rows[unique] = Row(unique, *key, in_order)
    return rows


def _rank(key: Key) -> tuple[int, str, bool]:
    """Return a key that sorts rows by `METHODS`, those without augmentation first."""
    method, augment = key
    order = list(METHODS)
    return order.index(method) if method in order else len(order), method, augment != "none"


def _words(keys: Sequence[Key], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what tells each row apart.

    How sources were trained is compared over the whole table, the rest among the rows of a key.
    """

    def is_of_source(name: str) -> bool:
        return name.startswith("source.") and not name.startswith("source.augment.")

    def is_of_key(name: str) -> bool:
        return not is_of_source(name) and name != "answer"  # which is in the title

    words = [[text] for text in distinguish(settings, is_of_source)]
    for key in dict.fromkeys(keys):
        indices = [index for index, other in enumerate(keys) if other == key]
        more = distinguish([settings[k] for k in indices], is_of_key)
        for index, text in zip(indices, more, strict=True):
            words[index].append(text)
    return [", ".join(filter(None, texts)) for texts in words]


def _variants(results: Sequence[Result]) -> list[list[Result]]:
    """Return results grouped by configuration, in the order of their seeds.

    Those that answer otherwise than their method come last.
    """
    ordered = sorted(results, key=lambda result: result.seed)
    variants: dict[str, list[Result]] = {}
    for result in ordered:
        variants.setdefault(config_hash(settings_of(result.run)), []).append(result)
    if ordered[0].run.augmentation == "checkpoint" and _differ_in_checkpoint(ordered):
        return [ordered]  # each source model is a separate file
    return sorted(variants.values(), key=lambda results: bool(results[0].run.answer))


def _differ_in_checkpoint(results: Sequence[Result]) -> bool:
    """Return whether no pair has a seed twice, and all differ in their checkpoint at most."""
    cells = {(result.pair, result.seed) for result in results}
    rest = {config_hash(settings_of(result.run, file=False)) for result in results}
    return len(cells) == len(results) and len(rest) == 1


def settings_of(run: Run, file: bool = True) -> dict[str, Any]:
    """Return a run's configuration without pair and seed, and without its checkpoint unless
    ``file``; how it answers, if not as its method does, in words."""
    source = {key: value for key, value in run.source.items() if key != "seed"}
    source["data"] = {key: value for key, value in source["data"].items() if key != "source"}
    if not file and "augment" in source:
        source["augment"] = {k: v for k, v in source["augment"].items() if k != "file"}
    answer = {"answer": AnswerConfig(**run.answer).title} if run.answer else {}
    return {"source": source, "adapt": run.adapt, **answer}


def distinguish(
    configurations: Sequence[Mapping[str, Any]],
    is_compared: Callable[[str], bool] = lambda key: True,
) -> list[str]:
    """Return what distinguishes each of nested ``configurations``: "adapt.rate=0.01, epochs=3".

    A value that more than half of them share is left out, and so is an absent value. Of settings
    that were added later (`uda.stages.identity.added_settings`) the former value is left out; other
    values of adaptation and data are named even if all share them.

    Args:
        is_compared: Whether a dotted key is looked at.
    """
    settings = [dict(dotted(configuration)) for configuration in configurations]
    names = sorted({key for values in settings for key in values})
    added, former = added_settings(), former_settings()
    usual: dict[str, str | None] = {}  # of the settings that are named
    for key in filter(is_compared, names):
        counts = Counter(str(values.get(key)) for values in settings).most_common()
        (value, count), *others = counts
        later = key.removeprefix("source.")
        if later in former and not others:
            continue  # all have today's default, or none has
        if later in added and (others or later.startswith(("adapt.", "data."))):
            usual[key] = str(added[later])
        elif others:
            usual[key] = value if 2 * count > len(settings) else None
    return [
        ", ".join(
            f"{_short(key, names)}={values[key]}"
            for key in usual
            if key in values and str(values[key]) != usual[key]
        )
        for values in settings
    ]


def _short(key: str, names: Sequence[str]) -> str:
    """Return the shortest end of a dotted ``key`` that no other of ``names`` has."""
    parts = key.split(".")
    for start in range(len(parts) - 1, 0, -1):
        end = ".".join(parts[start:])
        if sum(name == end or name.endswith(f".{end}") for name in names) == 1:
            return end
    return key
