"""The engine of sweeps: this process for a run at a time, Ray for more, on a machine or a cluster.

Ray schedules: what a run needs are references to the results of others, a lost worker or node makes
Ray try its runs again, and these go on from their last finished epoch.
"""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from genmix_aug.cluster import cores, ray_cluster
from uda.config import Experiment
from uda.runs.folder import is_done
from uda.runs.lock import POLL_SECONDS, RunBusyError
from uda.stages.memory import lack_of_memory
from uda.stages.pretrain import make_pretraining_edits, pretrain
from uda.stages.source import make_edits, train
from uda.stages.target import adapt
from uda.sweeps.plan import Job

STAGES: dict[str, Callable[[Experiment], None]] = {
    "train": train,
    "adapt": adapt,
    "pretrain": pretrain,
    # What a job of the stage trains on, and nothing else.
    "train edits": make_edits,
    "adapt edits": make_edits,
    "pretrain edits": make_pretraining_edits,
}
RETRIES = 3  # of a run whose worker or node is lost
SLOT = "run"  # Ray's name for what each run on this machine takes one of


@dataclass(frozen=True)
class Engine:
    """Where a sweep's runs are made.

    Attributes:
        workers: Runs at a time on this machine; 1 makes them in this process, without Ray.
        cpus_per_run: Cores that each run takes, and its threads; None for an equal share of this
            machine's cores, or a core on a cluster.
        gpus_per_run: GPUs, or a fraction of one, that each run takes; None for an equal share of
            this machine's GPUs up to one, or one on a cluster that has GPUs.
        address: Of the Ray cluster to join ("auto" finds one); empty for this machine alone.
    """

    workers: int = 1
    cpus_per_run: float | None = None
    gpus_per_run: float | None = None
    address: str = ""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers: {self.workers} must be at least 1")
        for name in ("cpus_per_run", "gpus_per_run"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} must not be negative")

    @property
    def is_local(self) -> bool:
        """Whether runs are made in this process."""
        return self.workers == 1 and not self.address

    @property
    def cpus(self) -> float:
        """The cores that each run takes."""
        if self.cpus_per_run is not None:
            return self.cpus_per_run
        return 1 if self.address else max(cores() // self.workers, 1)

    def gpus(self, available: float) -> float:
        """Return the GPUs that each run takes, of those ``available``."""
        if self.gpus_per_run is not None:
            return self.gpus_per_run
        return min(1.0, available if self.address else available / self.workers)


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        error: A line that says what failed, and a traceback below it; empty if nothing did.
        busy: Whether another process is at work on the run.
        seconds: How long the job took.
    """

    error: str = ""
    busy: bool = False
    seconds: float = 0.0


class Progress:
    """What has become of a sweep's jobs, in lines and a bar for people."""

    def __init__(self, jobs: Sequence[Job], bar: tqdm[Any]) -> None:
        self.todo = [job for job in jobs if not job.run.is_done]
        self.failures: list[str] = []
        self.failed: set[Path] = set()
        self._total = len(jobs)
        self._num_done = len(jobs) - len(self.todo)
        self._bar = bar
        bar.update(self._num_done)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Note how a job ended. A failure is written into its run's folder."""
        if job.needs in self.failed:
            self._failure(job, f"waits for {job.needs.name if job.needs else ''}")
        elif outcome.error:
            job.run.write_error(outcome.error)
            self._failure(job, outcome.error.partition("\n")[0])
        else:
            job.run.clear_error()
            self.say(job, f"{_score(job)}{outcome.seconds:.0f} s")

    def say(self, job: Job, text: str) -> None:
        """Print what became of a job."""
        self._num_done += 1
        self.print(f"[{self._num_done}/{self._total}] {job.title}: {text}")
        self._bar.update()

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        tqdm.write(text)
        sys.stdout.flush()

    def _failure(self, job: Job, reason: str) -> None:
        self.failed.add(job.run.folder)
        self.failures.append(f"{job.title}: {reason}")
        self.say(job, reason)


def run_jobs(jobs: Sequence[Job], engine: Engine) -> list[str]:
    """Do the jobs that are not done yet.

    A run that another command is at work on is waited for. An interrupt stops all workers and is
    then raised.

    Args:
        jobs: The jobs, those that others need first.
        engine: Where they are done.

    Returns:
        A line for each job that failed, or that needs a failed job.
    """
    with tqdm(
        total=len(jobs), desc="sweep", unit="run", dynamic_ncols=True, disable=None
    ) as bar:  # fmt: skip
        progress = Progress(jobs, bar)
        if engine.is_local:
            _run_here(progress, engine)
        elif progress.todo:
            _run_on_ray(progress, engine)
        return progress.failures


# ---- in this process


def _run_here(progress: Progress, engine: Engine) -> None:
    waiting, has_said = progress.todo, False
    while waiting:
        left = [job for job in waiting if not _run_now(job, progress, engine)]
        if len(left) == len(waiting):
            if not has_said:
                progress.print(f"{len(left)} runs wait for another command at work on them")
            has_said = True
            time.sleep(POLL_SECONDS)
        waiting = left


def _run_now(job: Job, progress: Progress, engine: Engine) -> bool:
    """Do a job unless it has to wait for another command, and return whether it has ended."""
    if job.run.is_done:
        progress.say(job, "done by another command")
        return True
    outcome = Outcome()
    if job.needs not in progress.failed:
        if job.needs and not is_done(job.needs):
            return False
        with (
            open(os.devnull, "w", encoding="utf-8") as null,
            redirect_stdout(null),
            redirect_stderr(null),
        ):
            outcome = outcome_of(job, engine.cpus)
        if outcome.busy:
            return False
    progress.ended(job, outcome)
    return True


def outcome_of(job: Job, cpus: float, stage: str = "") -> Outcome:
    """Do a job, or only a ``stage`` of it, in this process, and return how it ended."""
    began = time.monotonic()
    threads = job.experiment.threads or max(int(cpus), 1)
    try:
        job.run.start()
        STAGES[stage or job.stage](replace(job.experiment, threads=threads))
    except RunBusyError:
        return Outcome(busy=True)
    except (ValueError, OSError) as error:
        return Outcome(error=" ".join(str(error).split()) or type(error).__name__)
    except Exception as error:  # a run's fault must not be the sweep's
        if reason := lack_of_memory(error):
            return Outcome(error=reason)
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(error=f"{line}\n{traceback.format_exc()}")
    return Outcome(seconds=time.monotonic() - began)


# ---- on Ray


def _run_on_ray(progress: Progress, engine: Engine) -> None:
    import ray

    cpus = max(math.ceil(engine.workers * engine.cpus), 1)
    with ray_cluster(engine.address, cpus, {SLOT: engine.workers}):
        jobs = _submit(progress.todo, engine)
        waiting = list(jobs)
        try:
            while waiting:
                ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=1.0)
                for ref in ready:
                    progress.ended(jobs[ref], _result(ref))
        finally:
            for ref in waiting:  # an interrupt; a cluster outlives this command
                ray.cancel(ref, force=True)


def _submit(jobs: Sequence[Job], engine: Engine) -> dict[Any, Job]:
    """Hand the jobs to Ray, each with references to what it needs; return their references."""
    import ray

    gpus = engine.gpus(ray.cluster_resources().get("GPU", 0))
    slots = {} if engine.address else {SLOT: 1}
    costs: dict[str, Any] = {"num_cpus": engine.cpus, "num_gpus": gpus, "resources": slots}
    task = ray.remote(**costs, max_retries=RETRIES)(_do)
    made: dict[Path | None, Any] = {}
    edits = _edits(jobs, task, engine)
    refs = {}
    for job in jobs:
        needs = [ref for ref in (made.get(job.needs), edits.get(job.prepares)) if ref is not None]
        made[job.run.folder] = ref = task.remote(job, engine.cpus, "", *needs)
        refs[ref] = job
    return refs


def _edits(jobs: Sequence[Job], task: Any, engine: Engine) -> dict[str, Any]:
    """Hand to Ray the edits that several jobs need; a single job makes its edits itself."""
    by_edits: dict[str, list[Job]] = {}
    for job in jobs:
        by_edits.setdefault(job.prepares, []).append(job)
    return {
        edits: task.remote(same[0], engine.cpus, f"{same[0].stage} edits")
        for edits, same in by_edits.items()
        if edits and len(same) > 1
    }


def _do(job: Job, cpus: float, stage: str, *needs: Outcome) -> Outcome:
    """Do a job, or a stage of it, in a worker of Ray's, once another command has let go of it."""
    if failed := next((need for need in needs if need.error), None):
        return failed
    while (outcome := outcome_of(job, cpus, stage)).busy:
        time.sleep(POLL_SECONDS)
    return outcome


def _result(ref: Any) -> Outcome:
    """Return a job's outcome; it may have lost its workers."""
    import ray

    try:
        outcome: Outcome = ray.get(ref)
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return Outcome(error=f"its worker was lost {RETRIES + 1} times: {lines[0].strip()}")
    return outcome


def _score(job: Job) -> str:
    """Return ``H-score 54.0, ``; empty for a source model."""
    lines = job.run.metrics("evaluate")
    if not lines:
        return ""
    titles = {"accuracy": "accuracy", "h_score": "H-score", "top1": "top-1"}
    for key, title in titles.items():
        if key in lines[-1]:
            value = lines[-1][key]
            return f"{title} {'undefined' if value is None else f'{value:.1f}'}, "
    return ""
