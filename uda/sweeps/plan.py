"""The runs of a sweep: every pair, method, augmentation and seed of an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

from uda.augment import title_of_augmentation
from uda.config import (
    METHOD_KEYS,
    AdaptConfig,
    AnswerConfig,
    AugmentConfig,
    Experiment,
    PretrainConfig,
)
from uda.data.scenarios import class_split
from uda.data.spec import DatasetSpec
from uda.methods import METHODS, title_of_method
from uda.pretraining import title_of_pretraining
from uda.runs.folder import Run
from uda.stages.build import check_dimensions
from uda.stages.identity import adapt_run, pretrain_run, source_run
from uda.stages.options import augmentation_of
from uda.sweeps.record import Expected, setting_name


@dataclass(frozen=True)
class Row:
    """A row of the tables: a method on source models trained with an augmentation."""

    method_title: str
    augment_title: str
    title: str
    adapt: AdaptConfig
    answer: AnswerConfig
    augment: AugmentConfig


def default_name(experiment: Experiment, spec: DatasetSpec) -> str:
    """Return ``emoji_home_opda``, as the tables' files are called, or ``emoji_home_in_domain``."""
    data = experiment.data
    if not data.scenario:
        return f"{spec.name}_in_domain"
    return setting_name(spec.name, data.scenario, data.concepts)


def plan(experiment: Experiment, spec: DatasetSpec) -> tuple[list[Job], list[Expected]]:
    """Plan the runs of a sweep.

    Returns:
        The jobs in the order in which they start: seed by seed, and sources first. Then the runs
        that tables are made of, in the tables' order: by pair, row and seed; none where backbones
        are pretrained, of which `uda probe` makes the table.

    Raises:
        ValueError: naming what the sweep asks for and the dataset or a method does not have.
    """
    if experiment.adapt.checkpoint:
        raise ValueError("adapt.checkpoint: a sweep trains its own source models; leave it out")
    if experiment.sweep.pretrainings:
        return _pretrainings(experiment, spec), []
    split = class_split(spec, experiment.data.scenario)
    pairs, rows = list(_pairs(experiment, spec)), list(_rows(experiment))
    jobs: dict[Path, Job] = {}
    expected: dict[tuple[int, int, int], Expected] = {}
    for seed in experiment.sweep.seeds:
        adaptations: dict[Path, Job] = {}
        for (i, pair), (k, row) in product(enumerate(pairs), enumerate(rows)):
            cell = _cell(experiment, pair, row, seed)
            if experiment.model.head == "bottleneck_wn":
                check_dimensions(cell, split, experiment.model.bottleneck_dim)
            job = training = _training(cell, spec, row)
            if row.adapt.start == "source" or not cell.data.target:
                jobs.setdefault(training.run.folder, training)
            if cell.data.target:
                job = _adaptation(cell, spec, row.title, training)
                if not row.answer.is_methods:  # of the model that answers as its method does
                    plain = replace(cell, answer=AnswerConfig())
                    adapted = _adaptation(plain, spec, _adapted_title(row), training)
                    adapted = adaptations.setdefault(adapted.run.folder, adapted)
                    job = replace(job, needs=adapted.run.folder)
                adaptations[job.run.folder] = job
            expected[i, k, seed] = _expected(cell, spec, row, job.run.folder)
        jobs |= adaptations
    _check_different(expected.values())
    return _needed(list(jobs.values())), [expected[key] for key in sorted(expected)]


def _pretrainings(experiment: Experiment, spec: DatasetSpec) -> list[Job]:
    """Return a job for every seed, domain, self-supervised method and augmentation."""
    if experiment.data.scenario:
        raise ValueError("sweep.pretrainings: in one domain; leave data.scenario out")
    settings = experiment.sweep
    pretrainings = [_pretraining(entry, experiment.pretrain) for entry in settings.pretrainings]
    augmentations = [_augmentation(entry, experiment.augment) for entry in settings.augmentations]
    jobs: dict[Path, Job] = {}
    domains = list(_pairs(experiment, spec))
    for seed, (domain, _), (title, pretrain), (augment_title, augment) in product(
        settings.seeds, domains, pretrainings, augmentations
    ):
        data = replace(experiment.data, source=domain, target="")
        cell = replace(experiment, data=data, pretrain=pretrain, augment=augment, seed=seed)
        kind = " + ".join(filter(None, [title, augment_title]))
        job = _of_source(kind, "pretrain", cell, spec, pretrain_run(cell, spec))
        if job.run.folder in jobs:
            other = jobs[job.run.folder].kind
            raise ValueError(f"sweep: {other!r} and {kind!r} are the same runs; leave one out")
        jobs[job.run.folder] = job
    return list(jobs.values())


def _pretraining(
    entry: str | dict[str, Any], settings: PretrainConfig
) -> tuple[str, PretrainConfig]:
    """Return an entry's title and its settings."""
    keys: dict[str, Any] = {"method": entry} if isinstance(entry, str) else dict(entry)
    title = keys.pop("title", title_of_pretraining(keys["method"]))
    options = _merged(settings.options, keys.pop("options", {}))
    return title, replace(settings, **keys, options=options)


def _cell(experiment: Experiment, pair: tuple[str, str], row: Row, seed: int) -> Experiment:
    """Return the experiment of a cell of the tables."""
    data = replace(experiment.data, source=pair[0], target=pair[1])
    return replace(
        experiment, data=data, adapt=row.adapt, answer=row.answer, augment=row.augment, seed=seed
    )


def _expected(cell: Experiment, spec: DatasetSpec, row: Row, run_folder: Path) -> Expected:
    data = cell.data
    return Expected(
        source=data.source,
        target=data.target,
        pair=_column_title(spec, data.source, data.target),
        scenario=data.scenario,
        method_title=row.method_title,
        augment_title=row.augment_title,
        row_title=row.title,
        seed=cell.seed,
        run_folder=run_folder,
        dataset=spec.name,
        concepts=data.concepts,
    )


def _check_different(expected: Iterable[Expected]) -> None:
    rows: dict[Path, str] = {}
    for run in expected:
        if run.run_folder in rows:
            raise ValueError(
                f"sweep: {rows[run.run_folder]!r} and {run.row_title!r} are the same runs; leave "
                "one out"
            )
        rows[run.run_folder] = run.row_title


def _needed(jobs: Sequence[Job]) -> list[Job]:
    """Drop the runs that are missing, but that no run still to be made needs."""
    others = {job.needs for job in jobs}
    needed: set[Path | None] = set()
    kept = []
    for job in reversed(jobs):  # those that need others come after them
        folder = job.run.folder
        if job.run.is_done or folder in needed or folder not in others:
            kept.append(job)
        if not job.run.is_done and (folder in needed or folder not in others):
            needed.add(job.needs)
    return kept[::-1]


def _pairs(experiment: Experiment, spec: DatasetSpec) -> Iterator[tuple[str, str]]:
    """Yield the (source, target) of each column; without a scenario (domain, "")."""
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
    """Yield every method with its augmentations; without a scenario every augmentation."""
    settings = experiment.sweep
    augmentations = [_augmentation(entry, experiment.augment) for entry in settings.augmentations]
    methods = [
        (_method(entry, experiment), _augmentations_of(entry, augmentations))
        for entry in settings.methods
    ]
    if not experiment.data.scenario:
        methods = [(("", "", experiment.adapt, experiment.answer), augmentations)]
    titles: set[str] = set()
    for (method, words, adapt, answer), augment_title, augment in (
        (method, *augmentation) for method, its in methods for augmentation in its
    ):
        title = join_words(_row_title(method, augment_title), words)
        if title in titles:
            raise ValueError(f"sweep: two rows are called {title!r}; give one of them a title")
        titles.add(title)
        yield Row(join_words(method, words), augment_title, title, adapt, answer, augment)


def join_words(title: str, words: str) -> str:
    """Return ``LEAD, 6 views``: a row's title, and how its rows answer, if that is to be said."""
    return f"{title}, {words}" if words else title


def _row_title(method_title: str, augment_title: str) -> str:
    if not method_title:
        return augment_title or "No augmentation"
    if method_title == METHODS["source_only"].title and augment_title:
        return f"Source + {augment_title}"
    return f"{method_title} + {augment_title}" if augment_title else method_title


def _adapted_title(row: Row) -> str:
    """Return what jobs of a row's adaptations are called, before these answer anew."""
    return _row_title(title_of_method(row.adapt.method), row.augment_title)


def _method(
    entry: str | dict[str, Any], experiment: Experiment
) -> tuple[str, str, AdaptConfig, AnswerConfig]:
    """Return an entry's title, what its answer adds to a title of ours, and its settings."""
    settings = experiment.adapt
    keys: dict[str, Any] = {"method": entry} if isinstance(entry, str) else dict(entry)
    keys.pop("augmentations", None)
    # 1 and 1.0 make the same run.
    keys = {key: float(v) if METHOD_KEYS.get(key) is float else v for key, v in keys.items()}
    answer = replace(experiment.answer, **_answer_keys(keys.pop("answer", {})))
    words = "" if "title" in keys else answer.title
    title = keys.pop("title", title_of_method(keys["method"]))
    options = _merged(settings.options, keys.pop("options", {}))
    return title, words, replace(settings, **keys, options=options), answer


def _answer_keys(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry's keys of `answer`. Raises ValueError naming an unknown key."""
    known = {name: type(value) for name, value in vars(AnswerConfig()).items()}
    if unknown := sorted(keys.keys() - known.keys()):
        raise ValueError(
            f"sweep.methods: answer: unknown key {unknown[0]!r}; known: {', '.join(known)}"
        )
    # A threshold may be written as a number.
    return {key: known[key](value) for key, value in keys.items()}


def _augmentation(
    entry: str | dict[str, Any], settings: AugmentConfig
) -> tuple[str, AugmentConfig]:
    keys: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
    name_title = "" if keys["name"] == "none" else title_of_augmentation(keys["name"])
    title = keys.pop("title", name_title)
    options = _merged(settings.options, keys.pop("options", {}))
    return title, replace(settings, **keys, options=options)


def _augmentations_of(
    entry: str | dict[str, Any], augmentations: Sequence[tuple[str, AugmentConfig]]
) -> list[tuple[str, AugmentConfig]]:
    """Return those of ``augmentations`` that a method's entry names, by name or title, or all."""
    wanted = None if isinstance(entry, str) else entry.get("augmentations")
    if wanted is None:
        return list(augmentations)
    names = {name for title, augment in augmentations for name in (title, augment.name) if name}
    if unknown := [name for name in wanted if name not in names]:
        raise ValueError(
            f"sweep.methods: augmentations: {unknown[0]!r} is not one of the sweep's: "
            f"{', '.join(augment.name for _, augment in augmentations)}"
        )
    return [pair for pair in augmentations if pair[0] in wanted or pair[1].name in wanted]


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the options of ``over`` over those of ``base``, by name and key."""
    merged = dict(base)
    for name, options in over.items():
        below = base.get(name) or {}
        mappings = isinstance(options, Mapping) and isinstance(below, Mapping)
        merged[name] = {**below, **options} if mappings else options
    return merged


def _training(experiment: Experiment, spec: DatasetSpec, row: Row) -> Job:
    experiment = replace(experiment, data=replace(experiment.data, target=""))
    kind = " + ".join(["train", row.augment_title] if row.augment_title else ["train"])
    return _of_source(kind, "train", experiment, spec, source_run(experiment, spec))


def _of_source(kind: str, stage: str, experiment: Experiment, spec: DatasetSpec, run: Run) -> Job:
    """Return a job that learns from the source's pictures and needs no other job."""
    short = spec.abbreviations[experiment.data.source]
    edits = augmentation_of(experiment.augment).wanted_edits
    return Job(
        title=f"{kind} {short} s{experiment.seed}",
        kind=kind,
        stage=stage,
        experiment=experiment,
        run=run,
        needs=None,
        prepares=f"{short} {edits}" if edits else "",
    )


def _adaptation(experiment: Experiment, spec: DatasetSpec, title: str, source: Job) -> Job:
    """Return an adaptation of what ``source`` trains, if it starts from that."""
    pair = spec.pair_name(experiment.data.source, experiment.data.target)
    starts = experiment.adapt.start == "source"
    return Job(
        title=f"{title} {pair} s{experiment.seed}",
        kind=title,
        stage="adapt",
        experiment=experiment,
        run=adapt_run(experiment, spec),
        needs=source.run.folder if starts else None,
        prepares="" if starts else source.prepares,
    )


@dataclass(frozen=True)
class Job:
    """A run that is to be made.

    Attributes:
        title: The job's name in lines for people.
        kind: The same for jobs that cost the same.
        stage: ``train``, ``adapt`` or ``pretrain``.
        experiment: What the stage is called with.
        run: The run that the stage makes.
        needs: Folder of the run that has to be done before.
        prepares: The edits that the job makes in the shared store; empty for none. Of jobs with
            the same edits a single job starts first, and the others once it has made them.
    """

    title: str
    kind: str
    stage: str
    experiment: Experiment
    run: Run
    needs: Path | None
    prepares: str
