"""Sweeps: every pair, method, augmentation and seed of an experiment, what is missing of it.

One source model serves every target and method, so the runs are those of two stages. They are told
apart from others by their folders' names alone: what is there already, from whichever sweep or
command, is not done again.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

from uda import locks
from uda.config import METHOD_KEYS, AdaptConfig, AugmentConfig, Experiment
from uda.console import say
from uda.dataset_spec import DatasetSpec, load_dataset_spec
from uda.experiment_data import of_folder, source_items, target_items
from uda.identity import adapt_run, augmentation_of, source_run
from uda.results import AUGMENT_TITLES, METHOD_TITLES, Setting
from uda.run_costs import bytes_of, in_words, ran_here, seconds_of, size_in_words
from uda.splits import class_split
from uda.stages import check_dimensions
from uda.sweep_plan import Expected, write_plan
from uda.workers import Job, cores, run_jobs


@dataclass(frozen=True)
class Row:
    """A table's row: a method on sources trained with an augmentation."""

    method_title: str
    augment_title: str
    title: str
    adapt: AdaptConfig
    augment: AugmentConfig


def sweep(experiment: Experiment, workers: int, dry_run: bool) -> None:
    """Say what the sweep consists of, and run what is missing of it.

    Raises ValueError, at the end, where runs failed; the others are done then.
    """
    if workers < 1:
        raise ValueError(f"workers: {workers} must be at least 1")
    experiment = of_folder(experiment)
    spec = load_dataset_spec(experiment.data.dataset, experiment.data.root)
    runs = Path(experiment.runs)
    jobs, expected = plan(experiment, spec)
    say(describe(experiment, spec, jobs, workers))
    if dry_run:
        return
    _check_pictures(jobs, spec)
    name = experiment.sweep.name or default_name(experiment, spec)
    write_plan(runs, name, asdict(experiment), expected)
    threads = experiment.threads or max(cores() // workers, 1)
    failures = run_jobs(jobs, workers, threads, started=locks.now(runs))
    if failures:
        say("\n".join(["", "Not done:", *failures]))
        raise ValueError(
            f"{len(failures)} of {len(jobs)} runs are missing; the same command tries them again"
        )
    say(f"All {len(jobs)} runs are done. Tables: uda report {runs}")


def default_name(experiment: Experiment, spec: DatasetSpec) -> str:
    """``emoji_home_opda``, as its tables' files are called; ``emoji_home_in_domain``."""
    data = experiment.data
    if not data.scenario:
        return f"{spec.name}_in_domain"
    return Setting(data.dataset, data.scenario, data.concepts).name


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
    if method_title == METHOD_TITLES["source_only"] and augment_title:
        return f"Source + {augment_title}"
    return f"{method_title} + {augment_title}" if augment_title else method_title


def _method(entry: str | dict[str, Any], settings: AdaptConfig) -> tuple[str, AdaptConfig]:
    given: dict[str, Any] = {"method": entry} if isinstance(entry, str) else dict(entry)
    # 1 and 1.0 are one run.
    given = {k: float(v) if METHOD_KEYS.get(k) is float else v for k, v in given.items()}
    title = given.pop("title", METHOD_TITLES.get(given["method"], given["method"]))
    options = _merged(settings.options, given.pop("options", {}))
    return title, replace(settings, **given, options=options)


def _augmentation(
    entry: str | dict[str, Any], settings: AugmentConfig
) -> tuple[str, AugmentConfig]:
    given: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
    plain = "" if given["name"] == "none" else AUGMENT_TITLES.get(given["name"], given["name"])
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


def _check_pictures(jobs: Sequence[Job], spec: DatasetSpec) -> None:
    """That every domain is there, and fills a batch: one error now rather than one for each run."""
    from uda.train import total_steps

    seen: set[tuple[str, str]] = set()
    for job in jobs:
        place = (job.experiment.data.source, job.experiment.data.target)
        if place in seen:
            continue
        seen.add(place)
        split = class_split(spec, job.experiment.data.scenario)
        if job.stage == "adapt":
            target_items(job.experiment, spec, split)
        else:
            items, _ = source_items(job.experiment, spec, split)
            total_steps(len(items), 0, job.experiment.train)


def describe(experiment: Experiment, spec: DatasetSpec, jobs: Sequence[Job], workers: int) -> str:
    """The plan as a table: how many runs of each kind there are, are done and are left, and how
    much time and disk those take, going by finished ones of their kind."""
    runs = Path(experiment.runs)
    scenario = experiment.data.scenario.upper() or "in one domain"
    seconds = space = 0.0
    unknown = False
    table = [("", "all", "done", "to do", "time left", "disk left")]
    for kind in dict.fromkeys(job.kind for job in jobs):
        own = [job for job in jobs if job.kind == kind]
        left = sum(not job.run.is_done for job in own)
        like = [job.run for job in own if ran_here(job.run)] or [
            job.run for job in jobs if _alike(job, own[0]) and ran_here(job.run)
        ]
        costs = ("", "")
        if left and like:
            seconds_left = left * statistics.fmean(seconds_of(run) for run in like)
            bytes_left = left * statistics.fmean(bytes_of(run) for run in like)
            costs = (in_words(seconds_left), size_in_words(bytes_left))
            seconds, space = seconds + seconds_left, space + bytes_left
        elif left:
            costs = ("unknown yet", "unknown yet")
            unknown = True
        table.append((kind, str(len(own)), str(len(own) - left), str(left), *costs))
    done = sum(job.run.is_done for job in jobs)
    least = "at least " if unknown else ""
    costs = (least + in_words(seconds / workers), least + size_in_words(space))
    counts = (str(len(jobs)), str(done), str(len(jobs) - done))
    at_a_time = "together" if workers == 1 else f"together, {workers} at a time"
    table.append((at_a_time, *counts, *(costs if seconds else ("", ""))))
    free = size_in_words(shutil.disk_usage(_existing(runs)).free)
    lines = [f"{spec.title}, {scenario}; runs in {runs}, where {free} are free", ""]
    return "\n".join([*lines, *_aligned(table), ""])


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns; those of counts flush right."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if i in (1, 2, 3) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("   ".join(cells).rstrip())
    return lines


def _alike(job: Job, other: Job) -> bool:
    """Whether two runs of different augmentations take about as long."""
    methods = (job.experiment.adapt.method, other.experiment.adapt.method)
    return job.stage == other.stage and (job.stage == "train" or methods[0] == methods[1])


def _existing(path: Path) -> Path:
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
