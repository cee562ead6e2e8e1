"""The runs of a sweep: every pair, method, augmentation and seed of an experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

from uda.augment import title_of_augmentation
from uda.config import METHOD_KEYS, AdaptConfig, AugmentConfig, Experiment
from uda.data.scenarios import class_split
from uda.data.spec import DatasetSpec
from uda.methods import METHODS, title_of_method
from uda.runs.folder import Run
from uda.stages.build import check_dimensions
from uda.stages.identity import adapt_run, source_run
from uda.stages.options import augmentation_of
from uda.sweeps.record import Expected, setting_name


@dataclass(frozen=True)
class Row:
    """A table's row: a method on sources trained with an augmentation."""

    method_title: str
    augment_title: str
    title: str
    adapt: AdaptConfig
    augment: AugmentConfig


def default_name(experiment: Experiment, spec: DatasetSpec) -> str:
    """``emoji_home_opda``, as its tables' files are called; ``emoji_home_in_domain``."""
    data = experiment.data
    if not data.scenario:
        return f"{spec.name}_in_domain"
    return setting_name(spec.name, data.scenario, data.concepts)


def plan(experiment: Experiment, spec: DatasetSpec) -> tuple[list[Job], list[Expected]]:
    """The runs in the order in which they are started, seed by seed and sources first; and those
    of them that tables are made of, in the tables' order.

    Raises ValueError naming what the sweep asks for and there is not.
    """
    if experiment.adapt.checkpoint:
        raise ValueError("adapt.checkpoint: a sweep trains its own source models; leave it out")
    split = class_split(spec, experiment.data.scenario)  # where there is such a scenario
    columns, rows = list(_columns(experiment, spec)), list(_rows(experiment))
    jobs: dict[Path, Job] = {}
    expected: dict[tuple[int, int, int], Expected] = {}
    for seed in experiment.sweep.seeds:
        adaptations: list[Job] = []
        for (i, (source, target)), (k, row) in product(enumerate(columns), enumerate(rows)):
            own = replace(
                experiment,
                data=replace(experiment.data, source=source, target=target),
                adapt=row.adapt,
                augment=row.augment,
                seed=seed,
            )
            if experiment.model.head == "bottleneck_wn":
                check_dimensions(own, split, experiment.model.bottleneck_dim)
            training = _training(own, spec, row, bool(target))
            jobs.setdefault(training.run.folder, training)
            job = training
            if target:
                job = _adaptation(own, spec, row, training)
                adaptations.append(job)
            expected[i, k, seed] = Expected(
                source,
                target,
                _column_title(spec, source, target),
                experiment.data.scenario,
                row.method_title,
                row.augment_title,
                row.title,
                seed,
                job.run.folder,
                spec.name,
                experiment.data.concepts,
            )
        jobs |= {job.run.folder: job for job in adaptations}
    folders: dict[Path, Expected] = {}
    for one in expected.values():
        if other := folders.get(one.run_folder):
            raise ValueError(
                f"sweep: {other.row_title!r} and {one.row_title!r} are the same runs; leave one out"
            )
        folders[one.run_folder] = one
    needed = _needed(list(jobs.values()))
    return needed, [expected[place] for place in sorted(expected)]


def _needed(jobs: Sequence[Job]) -> list[Job]:
    """Without the source models that are not there, but all of whose adaptations are."""
    for_others = {job.needs for job in jobs if job.needs}
    for_left = {job.needs for job in jobs if job.needs and not job.run.is_done}
    return [
        job
        for job in jobs
        if job.run.is_done or job.run.folder in for_left or job.run.folder not in for_others
    ]


def _columns(experiment: Experiment, spec: DatasetSpec) -> Iterator[tuple[str, str]]:
    """(source, target) of each pair; without a scenario (domain, "")."""
    if experiment.data.scenario:
        known = {spec.pair_name(*pair): pair for pair in permutations(spec.domains, 2)}
        what = "pair"
    else:
        known = {spec.abbreviations[name]: (name, "") for name in spec.domains}
        known |= {name: (name, "") for name in spec.domains}
        what = "domain"
    wanted = experiment.sweep.pairs
    if wanted == ["all"]:
        wanted = list(dict.fromkeys(_column_title(spec, *pair) for pair in known.values()))
    for name in wanted:
        if name not in known:
            raise ValueError(
                f"sweep.pairs: {spec.title} has no {what} {name!r}; it has {', '.join(known)}, "
                "and [all] is all of them"
            )
    yield from dict.fromkeys(known[name] for name in wanted)


def _column_title(spec: DatasetSpec, source: str, target: str) -> str:
    return spec.pair_name(source, target) if target else spec.abbreviations[source]


def _rows(experiment: Experiment) -> Iterator[Row]:
    """Every method with every augmentation; without a scenario every augmentation."""
    settings = experiment.sweep
    methods = [_method(entry, experiment.adapt) for entry in settings.methods]
    if not experiment.data.scenario:
        methods = [("", experiment.adapt)]
    augmentations = [_augmentation(entry, experiment.augment) for entry in settings.augmentations]
    titles: set[str] = set()
    for (method_title, adapt), (augment_title, augment) in product(methods, augmentations):
        title = _row_title(method_title, augment_title)
        if title in titles:
            raise ValueError(f"sweep: two rows are called {title!r}; give one of them a title")
        titles.add(title)
        yield Row(method_title, augment_title, title, adapt, augment)


def _row_title(method_title: str, augment_title: str) -> str:
    if not method_title:
        return augment_title or "No augmentation"
    if method_title == METHODS["source_only"].title and augment_title:
        return f"Source + {augment_title}"
    return f"{method_title} + {augment_title}" if augment_title else method_title


def _method(entry: str | dict[str, Any], settings: AdaptConfig) -> tuple[str, AdaptConfig]:
    given: dict[str, Any] = {"method": entry} if isinstance(entry, str) else dict(entry)
    # 1 and 1.0 are one run.
    given = {k: float(v) if METHOD_KEYS.get(k) is float else v for k, v in given.items()}
    title = given.pop("title", title_of_method(given["method"]))
    options = _merged(settings.options, given.pop("options", {}))
    return title, replace(settings, **given, options=options)


def _augmentation(
    entry: str | dict[str, Any], settings: AugmentConfig
) -> tuple[str, AugmentConfig]:
    given: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
    plain = "" if given["name"] == "none" else title_of_augmentation(given["name"])
    title = given.pop("title", plain)
    options = _merged(settings.options, given.pop("options", {}))
    return title, replace(settings, **given, options=options)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name, those of ``over`` laid over those of ``base`` key by key."""
    merged = dict(base)
    for name, own in over.items():
        below = base.get(name) or {}
        mappings = isinstance(own, Mapping) and isinstance(below, Mapping)
        merged[name] = {**below, **own} if mappings else own
    return merged


def _training(experiment: Experiment, spec: DatasetSpec, row: Row, is_source: bool) -> Job:
    own = replace(experiment, data=replace(experiment.data, target=""))
    short = spec.abbreviations[experiment.data.source]
    kind = " + ".join(["train", row.augment_title] if row.augment_title else ["train"])
    edits = augmentation_of(own).wanted_edits
    return Job(
        title=f"{kind} {short} s{experiment.seed}",
        kind=kind,
        stage="train",
        experiment=own,
        run=source_run(own, spec),
        needs=None,
        prepares=f"{short} {edits}" if edits else "",
    )


def _adaptation(experiment: Experiment, spec: DatasetSpec, row: Row, source: Job) -> Job:
    pair = spec.pair_name(experiment.data.source, experiment.data.target)
    return Job(
        title=f"{row.title} {pair} s{experiment.seed}",
        kind=row.title,
        stage="adapt",
        experiment=experiment,
        run=adapt_run(experiment, spec),
        needs=source.run.folder,
        prepares="",
    )


@dataclass(frozen=True)
class Job:
    """One run to be made: ``stage`` (train or adapt) of ``experiment``.

    ``needs`` is the folder of the run that has to be done before. Of jobs with the same
    ``prepares`` (edits in the shared store; empty for none) one starts first, and the others once
    it has made them. ``kind`` is the same for jobs that cost the same.
    """

    title: str
    kind: str
    stage: str
    experiment: Experiment
    run: Run
    needs: Path | None
    prepares: str
