"""Sweeps: the runs of every pair, method, augmentation and seed of an experiment.

A source model serves every target and method, so the runs are those of two stages. A run is known
by its folder's name alone: what another sweep or command has done already is not done again.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from uda.config import Experiment
from uda.data.partition import source_parts, target_items
from uda.data.scenarios import ClassSplit, class_split, split_of_run
from uda.data.spec import DatasetSpec, load_dataset_spec
from uda.stages.build import experiment_on_folder
from uda.stages.console import say
from uda.stages.identity import source_run
from uda.stages.pictures import RunPictures, source_summary, target_pictures, training_pictures
from uda.sweeps.costs import in_words, seconds_of, size_in_words
from uda.sweeps.engine import Engine, run_jobs
from uda.sweeps.plan import Job, default_name, plan
from uda.sweeps.record import write_plan


def sweep(experiment: Experiment, engine: Engine, dry_run: bool) -> None:
    """Print what the sweep consists of, and make the runs that are missing.

    Args:
        experiment: What to run; its section ``sweep`` says over what.
        engine: Where the runs are made.
        dry_run: Whether to print the plan only.

    Raises:
        ValueError: at the end, where runs failed; the others are done then.
    """
    experiment = experiment_on_folder(experiment)
    spec = load_dataset_spec(experiment.data.dataset, experiment.data.root)
    runs = Path(experiment.runs)
    jobs, expected = plan(experiment, spec)
    say(describe(experiment, spec, jobs, engine))
    _check_pictures(jobs, spec, dry_run)
    if dry_run:
        return
    if expected:
        name = experiment.sweep.name or default_name(experiment, spec)
        write_plan(runs, name, asdict(experiment), expected)
    failures = run_jobs(jobs, engine)
    if failures:
        say("\n".join(["", "Not done:", *failures]))
        raise ValueError(
            f"{len(failures)} of {len(jobs)} runs are missing; the same command tries them again"
        )
    command = f"report {runs}" if expected else f"probe {runs / 'pretrain-*'}"
    say(f"All {len(jobs)} runs are done. Tables: uda {command}")


def _check_pictures(jobs: Sequence[Job], spec: DatasetSpec, dry_run: bool) -> None:
    """Check that every domain exists, fills a batch, and is what runs that have begun are made of.

    So are the classes. It is an error now, not one for each run. A dry run needs no pictures.
    """
    checked: dict[tuple[object, ...], tuple[RunPictures, ClassSplit]] = {}
    wrong: list[str] = []
    for job in jobs:
        data, seed = job.experiment.data, job.experiment.seed
        # Where each class has a few, the seed chooses them.
        same = (data.source, data.target, data.images_per_class and seed)
        try:
            if same not in checked:
                checked[same] = _pictures(job, spec, dry_run)
        except ValueError:
            if dry_run:
                continue
            raise
        source = source_summary(source_run(job.experiment, spec)) if data.target else {}
        read, split = checked[same]
        pictures = replace(read, run=job.run, source=source)
        try:
            split_of_run(job.run, spec, split)
            if job.run.is_done and not dry_run:
                pictures.keep()  # moved pictures are not read again the next time
            else:
                pictures.check()
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        more = f" ({len(wrong) - 1} more of these runs are not, either)" if len(wrong) > 1 else ""
        raise ValueError(wrong[0] + more)


def _pictures(job: Job, spec: DatasetSpec, dry_run: bool) -> tuple[RunPictures, ClassSplit]:
    """Return the images of a job, and the dataset's classes by role."""
    experiment = job.experiment
    data, split = experiment.data, class_split(spec, experiment.data.scenario)
    if job.stage == "adapt":
        items = target_items(experiment, spec, split)
        return target_pictures(job.run, data.target, items), split
    parts = source_parts(experiment, spec, split)
    if not dry_run:  # as torch takes seconds to import
        from uda.training.train import total_steps

        total_steps(len(parts.train), 0, experiment.train)
    split = ClassSplit(parts.classes) if spec.reader else split
    return training_pictures(job.run, data.source, parts), split


def describe(experiment: Experiment, spec: DatasetSpec, jobs: Sequence[Job], engine: Engine) -> str:
    """Return the plan as a table for people.

    It says how many runs of each kind are planned, done and left, and how much time and disk those
    left take, going by finished runs of their kind.
    """
    runs = Path(experiment.runs)
    seconds = space = 0.0
    is_partial = False
    table = [("", "all", "done", "to do", "time left", "disk left")]
    for kind in dict.fromkeys(job.kind for job in jobs):
        same = [job for job in jobs if job.kind == kind]
        num_left = sum(not job.run.is_done for job in same)
        costs = ("", "")
        if num_left and (mean := _mean_cost(same, jobs)):
            seconds_left, bytes_left = num_left * mean[0], num_left * mean[1]
            costs = (in_words(seconds_left), size_in_words(bytes_left))
            seconds, space = seconds + seconds_left, space + bytes_left
        elif num_left:
            costs = ("unknown yet", "unknown yet")
            is_partial = True
        table.append((kind, *_counts(same), *costs))
    least = "at least " if is_partial else ""
    total = (least + in_words(seconds / engine.workers), least + size_in_words(space))
    at_a_time = f"together, {engine.workers} at a time" if engine.workers > 1 else "together"
    table.append((at_a_time, *_counts(jobs), *(total if seconds else ("", ""))))
    scenario = experiment.data.scenario.upper() or "in one domain"
    free = size_in_words(shutil.disk_usage(_existing(runs)).free)
    lines = [f"{spec.title}, {scenario}; runs in {runs}, where {free} are free", ""]
    return "\n".join([*lines, *_aligned(table), ""])


def _mean_cost(same: Sequence[Job], jobs: Sequence[Job]) -> tuple[float, float] | None:
    """Return the mean seconds and bytes of finished runs of a kind, or else of similar ones."""
    finished = [job.run for job in same if job.run.was_made_here] or [
        job.run for job in jobs if _is_similar(job, same[0]) and job.run.was_made_here
    ]
    if not finished:
        return None
    return (
        statistics.fmean(seconds_of(run) for run in finished),
        statistics.fmean(run.size_bytes for run in finished),
    )


def _is_similar(job: Job, other: Job) -> bool:
    """Return whether two jobs of different augmentations take about as long."""
    return (job.stage, _method_of(job)) == (other.stage, _method_of(other))


def _method_of(job: Job) -> str:
    """Return the name of the method by which a job adapts or pretrains; empty for a training."""
    methods = {"adapt": job.experiment.adapt.method, "pretrain": job.experiment.pretrain.method}
    return methods.get(job.stage, "")


def _counts(jobs: Sequence[Job]) -> tuple[str, str, str]:
    """Return how many jobs are planned, done and left."""
    num_done = sum(job.run.is_done for job in jobs)
    return str(len(jobs)), str(num_done), str(len(jobs) - num_done)


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Format rows as lines, with the columns of counts flush right."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if i in (1, 2, 3) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("   ".join(cells).rstrip())
    return lines


def _existing(path: Path) -> Path:
    """Return the nearest folder above ``path`` that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
