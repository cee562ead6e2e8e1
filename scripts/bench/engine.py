"""Time what Ray costs by itself: sweeps whose runs do nothing, and edits that take a fixed time.

    python scripts/bench/engine.py [--runs 10000] [--workers 2] [--edits 400] [--edit-ms 50]

The runs are adaptations that need one of a tenth as many source models. A plain loop calls the same
function. Ray's time has its start and end in it; what is left of it is the schedule's. The editor
sleeps, so that more workers than cores are of use; they are timed once all of them have started.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from genmix_aug.codec import encode
from genmix_aug.editors.base import Editor
from genmix_aug.edits.fill import Filler, FillSettings, Originals
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore
from genmix_aug.edits.workers import Recipe, Workers, digests_of, fill_together, worker_pool
from genmix_aug.images import ImageFiles
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


class Sleeper(Editor):
    """An editor of known cost, which changes a bit of each pixel."""

    fingerprint = "sleeper"

    def __init__(self, seconds_an_image: float) -> None:
        self.seconds_an_image = seconds_an_image

    def edit(self, images: Tensor, prompts: list[str], seeds: list[int]) -> Tensor:
        time.sleep(self.seconds_an_image * len(images))
        return images ^ 1


def time_edits(folder: Path, count: int, seconds_an_image: float) -> None:
    """Print the edits a second of a plain loop and of 1, 2 and 4 workers."""
    (folder / "images").mkdir()
    for number in range(count):
        pixels = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
        (folder / "images" / f"{number}.png").write_bytes(encode(pixels, "png"))
    files = ImageFiles(sorted((folder / "images").iterdir()))
    originals = Originals(files, [path.name for path in files.paths], digests_of(files))
    requests = EditPlan(("snowy",), 1, Sleeper.fingerprint).requests(originals.digests)
    settings, make_editor = FillSettings(batch_size=4), partial(Sleeper, seconds_an_image)
    print(f"\n{count} edits of 64 px that take {seconds_an_image * 1e3:.0f} ms each")
    store = EditStore(folder / "loop")
    loop = timed(Filler(store, make_editor(), originals, requests, settings).fill)
    print(f"plain loop          {count / loop:8.1f} edits/s")
    for workers in (1, 2, 4):
        store = EditStore(folder / str(workers))
        recipe = Recipe(store, make_editor, Sleeper.fingerprint, settings=settings)
        began = time.perf_counter()
        with worker_pool(recipe, Workers(workers)) as pool:
            pool.wait_for_all()
            start = time.perf_counter() - began
            took = timed(partial(fill_together, pool, recipe, originals, requests))
        times, rate = loop / took, count / took
        print(
            f"{workers} on Ray            {rate:8.1f} edits/s  {times:6.2f} x the loop, "
            f"after {start:.1f} s to start"
        )


def time_runs(folder: Path, count: int, workers: int) -> None:
    """Print what runs that do nothing take, in a loop, in this process and on Ray."""
    engine._do = nothing  # what a worker of Ray's calls
    engine.outcome_of = lambda job, cpus, stage="": Outcome()
    engine.is_done = lambda folder: True  # of a source model
    jobs = planned(folder, count)
    stdout, sys.stdout = sys.stdout, open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115
    try:
        loop = timed(lambda: [nothing(job, 1, "") for job in jobs])
        here = timed(lambda: run_jobs(jobs, Engine()))
        few = timed(lambda: run_jobs(jobs[: 4 * workers], Engine(workers=workers)))
        ray = timed(lambda: run_jobs(jobs, Engine(workers=workers)))
    finally:
        sys.stdout = stdout
    print(f"{count:,} runs that do nothing, {workers} workers")
    print(f"plain loop          {loop:8.2f} s")
    print(f"in this process     {here:8.2f} s  {here / count * 1e3:6.2f} ms a run")
    print(f"Ray's start and end {few:8.2f} s")
    print(f"on Ray              {ray:8.2f} s  {(ray - few) / count * 1e3:6.2f} ms a run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--edits", type=int, default=400)
    parser.add_argument("--edit-ms", type=float, default=50.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.runs:
            time_runs(Path(folder), options.runs, options.workers)
        if options.edits:
            time_edits(Path(folder), options.edits, options.edit_ms / 1e3)


if __name__ == "__main__":
    main()
