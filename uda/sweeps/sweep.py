"""Sweeps: every pair, method, augmentation and seed of an experiment, what is missing of it.

One source model serves every target and method, so the runs are those of two stages. They are told
apart from others by their folders' names alone: what is there already, from whichever sweep or
command, is not done again.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from uda.config import Experiment
from uda.data.partition import source_items, target_items
from uda.data.scenarios import class_split
from uda.data.spec import DatasetSpec, load_dataset_spec
from uda.runs import lock as locks
from uda.stages.build import experiment_on_folder
from uda.stages.console import say
from uda.sweeps.costs import in_words, seconds_of, size_in_words
from uda.sweeps.engine import cores, run_jobs
from uda.sweeps.plan import Job, default_name, plan
from uda.sweeps.record import write_plan


def sweep(experiment: Experiment, workers: int, dry_run: bool) -> None:
    """Say what the sweep consists of, and run what is missing of it.

    Raises ValueError, at the end, where runs failed; the others are done then.
    """
    if workers < 1:
        raise ValueError(f"workers: {workers} must be at least 1")
    experiment = experiment_on_folder(experiment)
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


def _check_pictures(jobs: Sequence[Job], spec: DatasetSpec) -> None:
    """That every domain is there, and fills a batch: one error now rather than one for each run."""
    from uda.training.train import total_steps

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
        like = [job.run for job in own if job.run.was_made_here] or [
            job.run for job in jobs if _alike(job, own[0]) and job.run.was_made_here
        ]
        costs = ("", "")
        if left and like:
            seconds_left = left * statistics.fmean(seconds_of(run) for run in like)
            bytes_left = left * statistics.fmean(run.size_bytes for run in like)
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
