"""Time what the engine of sweeps costs by itself: runs that do nothing, in this process and on Ray.

    python scripts/bench/engine.py [--runs 10000] [--workers 2]

The runs are adaptations that need one of a tenth as many source models. A plain loop calls the same
function. Ray's time has its start and end in it; what is left of it is the schedule's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from uda.config import Experiment
from uda.runs.folder import open_run
from uda.sweeps import engine
from uda.sweeps.engine import Engine, Outcome, run_jobs
from uda.sweeps.plan import Job


def planned(runs: Path, count: int) -> list[Job]:
    """Return jobs of ``count`` runs, none of which has a folder."""
    experiment = Experiment(runs=str(runs))

    def job(number: int, stage: str, needs: Job | None) -> Job:
        run = open_run(runs, f"{stage}-{number}", {"stage": stage, "seed": number})
        return Job(run.folder.name, stage, stage, experiment, run, needs and needs.run.folder, "")

    sources = [job(number, "train", None) for number in range(count // 10)]
    rest = range(count - len(sources))
    return sources + [job(number, "adapt", sources[number % len(sources)]) for number in rest]


def nothing(job: Job, cpus: float, stage: str, *needs: Outcome) -> Outcome:
    """Stand in for a run."""
    return Outcome()


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of ``work``."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    engine._do = nothing  # what a worker of Ray's calls
    engine.outcome_of = lambda job, cpus, stage="": Outcome()
    engine.is_done = lambda folder: True  # of a source model
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        jobs = planned(runs, options.runs)
        stdout, sys.stdout = sys.stdout, open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115
        try:
            loop = timed(lambda: [nothing(job, 1, "") for job in jobs])
            here = timed(lambda: run_jobs(jobs, Engine()))
            first = jobs[: 4 * options.workers]
            few = timed(lambda: run_jobs(first, Engine(workers=options.workers)))
            ray = timed(lambda: run_jobs(jobs, Engine(workers=options.workers)))
        finally:
            sys.stdout = stdout
    count = len(jobs)
    print(f"{count:,} runs that do nothing, {options.workers} workers")
    print(f"plain loop          {loop:8.2f} s")
    print(f"in this process     {here:8.2f} s  {here / count * 1e3:6.2f} ms a run")
    print(f"Ray's start and end {few:8.2f} s")
    print(f"on Ray              {ray:8.2f} s  {(ray - few) / count * 1e3:6.2f} ms a run")


if __name__ == "__main__":
    main()
