"""Workers, processes that each make a run at a time, and the schedule that gives them runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from uda.runs.folder import is_done
from uda.runs.lock import RunBusyError
from uda.stages.memory import lack_of_memory
from uda.stages.source import train
from uda.stages.target import adapt
from uda.sweeps.plan import Job

if TYPE_CHECKING:
    from typing_extensions import Never

# Spawned, not forked: torch's threads and CUDA do not outlive a fork.
PROCESSES = multiprocessing.get_context("spawn")
POLL_SECONDS = 2.0  # between looks at what others have done
STOP_SECONDS = 15.0  # for a worker to end by itself


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


def cores() -> int:
    """Return how many processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def run_jobs(jobs: Sequence[Job], workers: int, threads: int, started: float) -> list[str]:
    """Do the jobs that are not done yet.

    A job that another machine is at work on is passed over and waited for at the end. A job that
    failed on another machine is tried here, too, after the others: the fault may have been that
    machine's. An interrupt stops the workers and is then raised.

    Args:
        jobs: The jobs, those that others need first.
        workers: Jobs done at a time, each in a process; 1 does them in this process.
        threads: Threads of each worker.
        started: When the sweep began, by the disk's clock; failures since then are of this sweep.

    Returns:
        A line for each job that failed here, or that needs a failed job.
    """
    schedule = Schedule(jobs, started)
    with tqdm(
        total=len(jobs), initial=schedule.num_done, desc="sweep", unit="run",
        dynamic_ncols=True, disable=None,
    ) as bar:  # fmt: skip
        schedule.bar = bar
        if workers == 1:
            _run_here(schedule, threads)
        else:
            _run_in_processes(schedule, [Worker(number, threads) for number in range(workers)])
    return schedule.failures


def _run_here(schedule: Schedule, threads: int) -> None:
    while schedule.waiting:
        if job := schedule.next_job():
            with open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
                outcome = outcome_of(job, 0, threads)
            schedule.ended(job, outcome)
        else:
            time.sleep(POLL_SECONDS)


def _run_in_processes(schedule: Schedule, crew: Sequence[Worker]) -> None:
    try:
        while schedule.waiting or any(worker.job for worker in crew):
            for worker in crew:
                if worker.job is None and (job := schedule.next_job()):
                    worker.give(job)
                    schedule.running.append(job)
            for worker in wait_for(crew):
                job, outcome = worker.take()
                schedule.running.remove(job)
                schedule.ended(job, outcome)
    finally:
        for worker in crew:
            worker.ask_to_stop()
        for worker in crew:
            worker.stop()


class Schedule:
    """The order of the jobs: which comes next, and what became of the others."""

    def __init__(self, jobs: Sequence[Job], started: float) -> None:
        self.total = len(jobs)
        self.waiting = [job for job in jobs if not job.run.is_done]
        self.num_done = self.total - len(self.waiting)
        self.running: list[Job] = []
        self.failures: list[str] = []
        self.failed: set[Path] = set()
        self.started = started
        self.all = list(jobs)
        self.bar: tqdm[Never] | None = None
        self._said_waiting = False

    def next_job(self) -> Job | None:
        """Return the first job that can start now; jobs that failed elsewhere come last.

        Jobs that were done elsewhere are struck off.
        """
        for job in sorted(self.waiting, key=lambda job: _failed_since(job, self.started)):
            if job.run.is_done:
                self.waiting.remove(job)
                self._say(job, "done by another worker")
            elif job.needs in self.failed:
                self.waiting.remove(job)
                self._failure(job, f"waits for {job.needs.name if job.needs else ''}")
            elif self._is_free(job):
                self.waiting.remove(job)
                return job
        if self.waiting and not self.running and not self._said_waiting:
            self._said_waiting = True
            self._print(f"{len(self.waiting)} runs are left to other workers: waiting for them")
        return None

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Note how a worker's job ended."""
        if outcome.busy:  # another process was quicker: the job is looked at again
            self.waiting.append(job)
        elif outcome.error:
            job.run.write_error(outcome.error)
            self._failure(job, outcome.error.partition("\n")[0])
        else:
            job.run.clear_error()
            self._say(job, f"{_score(job)}{outcome.seconds:.0f} s")

    def _is_free(self, job: Job) -> bool:
        if job.needs and not is_done(job.needs):
            return False
        if job.run.holder:
            return False
        return not any(
            job.prepares == other.prepares and not other.run.has_metrics
            for other in self.all
            if job.prepares and other is not job
            if other in self.running or other.run.holder
        )

    def _failure(self, job: Job, reason: str) -> None:
        self.failed.add(job.run.folder)
        self.failures.append(f"{job.title}: {reason}")
        self._say(job, reason)

    def _say(self, job: Job, text: str) -> None:
        self.num_done += 1
        self._print(f"[{self.num_done}/{self.total}] {job.title}: {text}")
        if self.bar is not None:
            self.bar.update()

    def _print(self, text: str) -> None:
        tqdm.write(text)
        sys.stdout.flush()


def _failed_since(job: Job, started: float) -> bool:
    failed = job.run.error_time
    return failed is not None and failed >= started


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


class Worker:
    """A process that does a job at a time; it starts with its first job, and anew if it dies."""

    def __init__(self, number: int, threads: int) -> None:
        self.number = number
        self.threads = threads
        self.job: Job | None = None
        self.process: multiprocessing.process.BaseProcess | None = None
        self.connection: Connection | None = None

    def give(self, job: Job) -> None:
        """Send a job to the process, which is started if it is not running."""
        if self.process is None or not self.process.is_alive():
            self.connection, theirs = PROCESSES.Pipe()
            self.process = PROCESSES.Process(
                target=work, args=(theirs, self.number, self.threads), name=f"sweep-{self.number}"
            )
            self.process.start()
            theirs.close()  # so that the process's death ends the connection
        assert self.connection is not None
        self.job = job
        with suppress(BrokenPipeError):  # died meanwhile: take() says so
            self.connection.send(job)

    def take(self) -> tuple[Job, Outcome]:
        """Return the job, and how it ended: the process may have died of it."""
        assert self.connection is not None
        assert self.job is not None
        job, self.job = self.job, None
        try:
            return job, self.connection.recv()
        except (EOFError, OSError):
            return job, Outcome(error=self._death())

    def _death(self) -> str:
        assert self.process is not None
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"its process ended with exit code {code}"
        name = signal.Signals(-code).name
        why = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{why}"

    def ask_to_stop(self) -> None:
        """Tell the process to leave its run at once; the last finished epoch is kept."""
        if self.process and self.process.is_alive():
            self.process.terminate()

    def stop(self) -> None:
        """Wait for the process's end, and kill it if it does not come."""
        if self.process:
            self.process.join(STOP_SECONDS)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()


def wait_for(crew: Sequence[Worker]) -> list[Worker]:
    """Return the workers that are done with their jobs, after `POLL_SECONDS` at most."""
    busy = {worker.connection: worker for worker in crew if worker.job and worker.connection}
    if not busy:
        time.sleep(POLL_SECONDS)
        return []
    return [
        busy[ready] for ready in wait(list(busy), POLL_SECONDS) if isinstance(ready, Connection)
    ]


def work(connection: Connection, number: int, threads: int) -> None:
    """Do jobs in a worker's process, until it is stopped or the process that started it is gone."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch and its like are imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent sees to it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    with suppress(EOFError):
        while True:
            connection.send(outcome_of(connection.recv(), number, threads))


def outcome_of(job: Job, number: int, threads: int) -> Outcome:
    """Do the job in this process, and return how it ended."""
    began = time.monotonic()
    stage = {"train": train, "adapt": adapt}[job.stage]
    try:
        job.run.start()
        device = _device(job.experiment.device, number)
        stage(replace(job.experiment, threads=threads, device=device))
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


def _device(name: str, number: int) -> str:
    """Return the device of a worker: of several GPUs each takes another."""
    if name != "auto":
        return name
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{number % count}" if count > 1 else name


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
