"""Results as CSV: a line for each finished run, unrounded."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping

from genmix_aug.lettering import printable
from uda.reports.results import Board, Setting, has_labels

SCORE_COLUMNS = (
    *("h_score", "known_acc", "unknown_acc", "auroc", "oscr", "h3_score", "accuracy"),
    "oracle",
)
CSV_COLUMNS = (
    *("dataset", "scenario", "concepts", "source", "target", "pair"),
    *("row", "method", "augment", "seed", *SCORE_COLUMNS, "run"),
)


def csv_text(boards: Mapping[Setting, Board]) -> str:
    """Return a line a finished run: its pair, row and seed, each score of the last epoch, the
    oracle's.

    Scores are in percent, unrounded; an empty field is a score that the scenario has not, or that
    is undefined.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for setting, board in boards.items():
        for row in board.values():
            for result in row.results:
                scores = {score: result.score(score) for score in SCORE_COLUMNS}
                scores["oracle"] = result.oracle(setting.main_score)
                writer.writerow(
                    {
                        "dataset": setting.spec.name,
                        "scenario": setting.scenario,
                        "concepts": setting.concepts,
                        "source": result.pair.source,
                        "target": result.pair.target,
                        "pair": result.pair.name,
                        "row": row.title,
                        "method": row.method,
                        "augment": row.augment,
                        "seed": result.seed,
                        "run": result.run.folder.name,
                        **{k: "" if math.isnan(v) else v for k, v in scores.items()},
                    }
                )
    return out.getvalue()


def per_class_csv(board: Board) -> str:
    """Return a line a finished run and class: its accuracy in the last epoch, in percent.

    Of private classes it is the share called unknown. Empty where no run has kept them.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["pair", "row", "seed", "class", "accuracy"])
    lines = [
        [
            result.pair.name,
            row.title,
            result.seed,
            printable(name),
            "" if accuracy is None else accuracy,
        ]
        for row in board.values()
        for result in row.results
        if has_labels(result.lines)
        for name, accuracy in result.lines[-1].get("per_class", {}).items()
    ]
    writer.writerows(lines)
    return out.getvalue() if lines else ""
