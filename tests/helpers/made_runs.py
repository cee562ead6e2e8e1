"""Finished runs with made-up scores, for the tests of tables, report and page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uda.runs.folder import Run, open_run

PAIRS = (("Plain", "Dark"), ("Dark", "Plain"))


def finished(
    runs: Path,
    dataset: Path | str,
    method: str,
    augment: str,
    seed: int,
    scores: list[float | None],
    pair: tuple[str, str] = PAIRS[0],
    scenario: str = "opda",
    rate: float = 0.1,
    source: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
    answer: Mapping[str, object] | None = None,
) -> Run:
    """Make a finished adaptation with the main score of each epoch, from 0 on."""
    config = {
        "stage": "adapt",
        "source": {
            "data": {
                "dataset": str(dataset),
                "source": pair[0],
                "scenario": scenario,
                "concepts": "shared",
            },
            "train": {"rate": 1.0},
            "augment": {"name": augment},
            "seed": seed,
            **(source or {}),
        },
        "target": pair[1],
        # A method that trains nothing has no rate.
        "adapt": {
            "method": method,
            **({} if method == "source_only" else {"rate": rate}),
            **({"options": options} if options else {}),
        },
        **({"answer": answer} if answer else {}),
    }
    run = open_run(runs, f"{method}-{pair[0]}-{scenario}-{augment}-s{seed}", config)
    for epoch, score in enumerate(scores):
        if scenario == "pda":
            run.log(kind="evaluate", epoch=epoch, accuracy=score)
        else:
            run.log(
                kind="evaluate",
                epoch=epoch,
                h_score=score,
                known_acc=10.0,
                unknown_acc=20.0,
                auroc=60.0,
            )
    run.mark_done()
    return run


def predict(
    run: Run, names: list[str], true: list[int], called: list[int], score: list[float]
) -> None:
    """Give the run predictions, as `uda adapt` writes them (K = 3 on the tiny dataset's OPDA)."""
    np.savez(
        run.folder / "predictions.npz",
        label=np.array(called),
        true_label=np.array(true),
        is_private=np.array(true) >= 3,
        unknown_score=np.array(score, dtype=np.float32),
        name=np.array(names),
    )
