"""Finished in-domain runs with made-up scores."""

from __future__ import annotations

from uda.runs.folder import open_run

AUGMENT = {"name": "none", "copies": 0, "options": {}}


def finished(
    folder, top1=50.0, seed=0, augment=AUGMENT, seconds=10.0, edits=0.0, classes="", **data
):
    config = {
        "stage": "train",
        "data": {"dataset": "flowers_102", "source": "Flowers-102", "holdout": 0.2, **data},
        "train": {"rate": 0.1, **({"budget": "steps"} if augment["copies"] else {})},
        **({"classes": classes} if classes else {}),
        "augment": augment,
        "seed": seed,
    }
    run = open_run(folder, f"train-s{seed}", config)
    run.log(kind="prepare", seconds=edits)
    run.log(kind="train", epoch=1, seconds=seconds)
    scores = {
        "top1": top1, "top5": 90.0, "ece": 5.0, "corruption_acc": 20.0,
        "fgsm_error": {"1/255": 60.0, "8/255": 80.0}, "num_images": 30,
    }  # fmt: skip
    run.log(kind="evaluate", epoch=1, top1=1.0, top5=2.0, num_images=30)
    run.log(kind="final", epoch=1, checkpoint="last", **{**scores, "top1": top1 - 1})
    run.log(kind="final", epoch=2, checkpoint="best", **scores)
    run.mark_done()
    return run
