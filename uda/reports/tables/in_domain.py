"""The table of augmentations in one domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from uda.config import read_yaml
from uda.reports.in_domain import Comparison, edit_seconds, overheads
from uda.reports.published import FOLDER
from uda.reports.tables.table import (
    Cell,
    Line,
    Table,
    cells_of,
    lines_of,
    mean_and_deviation,
    same_seeds,
    seeds_text,
)
from uda.runs.folder import Run

NOTE = (
    "In percent, mean ± standard deviation over seeds; on held-out pictures, at the last epoch or"
    " the one that the validation part chose. Calibration error: expected, over 15 bins."
    " FGSM error: under attacks of so large a step in float32 on images in [0, 1]."
    " Corrupted: top-1 under seven corruptions of five strengths (ours, after ImageNet-C's)."
    " Overhead: (T - T_none) / T_none of the training steps' time T of the same seed, on a CPU"
    " the process's own."
    " Edits: seconds of making them, by the run that took longest; runs that found them made spent"
    " little."
)
PUBLISHED = "GenMix (arXiv 2412.02366), whose schedules are not printed"
SCORES = {  # a column's name, and its head
    "top1": "top-1",
    "top5": "top-5",
    "validation": "validation",
    "ece": "calibration error",
    "fgsm_error_1": "FGSM error 1/255",
    "fgsm_error_8": "FGSM error 8/255",
    "corruption_acc": "corrupted",
}
LOWER = ("ece", "fgsm_error_1", "fgsm_error_8")  # is better
COSTS = ("overhead, %", "edits, s", "seeds")

Scores = Mapping[str, float | None]


def in_domain_table(compared: Comparison) -> Table:
    """Return a table of scores, overhead and the edits' time: a line for each augmentation."""
    scores = [[_scores(run) for run in runs] for runs in compared.rows.values()]
    validated = any(run["validation"] is not None for runs in scores for run in runs)
    names = [name for name in SCORES if name != "validation" or validated]
    same = same_seeds([run.seed for run in runs] for runs in compared.rows.values())
    columns = [cells_of(_column(scores, name), mark=same, lower=name in LOWER) for name in names]
    costs = (_cost_cells(compared, title) for title in compared.rows)
    columns += map(list, zip(*costs, strict=True))
    images = {(run.held_out_scores() or {}).get("num_images", "some") for run in compared.runs}
    notes = [NOTE + f" {' or '.join(map(str, sorted(images)))} held-out pictures."]
    if compared.missing:
        gaps = [f"{title} {seeds_text(seeds)}" for title, seeds in compared.missing.items()]
        notes.append(f"Not there: {'; '.join(gaps)}.")
    lines = _published(compared, names)
    return Table(
        compared.title,
        (*(SCORES[name] for name in names), *COSTS),
        lines_of(compared.rows, columns),
        tuple(notes),
        lines,
        f"Table {compared.published} of {PUBLISHED}" if lines else "",
    )


def _column(scores: Sequence[Sequence[Scores]], name: str) -> list[list[float]]:
    """Return each row's values of a score, as far as its runs have it."""
    return [[value for run in runs if (value := run[name]) is not None] for runs in scores]


def _cost_cells(compared: Comparison, title: str) -> tuple[Cell, Cell, Cell]:
    """Return the cells of a row under `COSTS`."""
    runs = compared.rows[title]
    overhead = "–"
    if runs[0].augmentation != "none":
        overhead = mean_and_deviation(overheads(runs, compared.plain)).replace("-", "−")
    seconds = max(map(edit_seconds, runs))
    seeds = " ".join(str(run.seed) for run in runs)
    return Cell(overhead), Cell(f"{seconds:.0f}" if seconds >= 0.5 else "–"), Cell(seeds)


def _scores(run: Run) -> Scores:
    """Return `SCORES` of the run's result, in percent; None where it has none."""
    result = run.held_out_scores() or {}
    attacks = result.get("fgsm_error") or {}
    epoch = result.get("epoch")
    chosen = [line for line in run.metrics("validate") if line["epoch"] == epoch]
    flat = {
        **result,
        "validation": chosen[-1].get("top1") if chosen else None,
        "fgsm_error_1": attacks.get("1/255"),
        "fgsm_error_8": attacks.get("8/255"),
    }
    return {name: flat.get(name) for name in SCORES}


def _published(compared: Comparison, names: Sequence[str]) -> tuple[Line, ...]:
    """Return the rows of the paper's table on the dataset.

    Its FGSM column is left out: for most rows it is 100 - top-1.
    """
    table = read_yaml(FOLDER / "in_domain.yaml").get(str(compared.published), {})
    rows = table.get(compared.spec.title.replace(" ", "-"), table.get("any", {}))
    costs = [Cell("–")] * len(COSTS)
    return tuple(
        Line(row, (*(Cell(f"{v[name]:.1f}" if name in v else "–") for name in names), *costs))
        for row, v in rows.items()
    )
