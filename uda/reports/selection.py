"""How far choices made without labels fall short of the oracle's, over finished runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uda.reports.choices import choices_under
from uda.reports.results import Board, Result, Setting
from uda.reports.rows import boards
from uda.reports.tables.choices import selection_table, unscored_tables
from uda.reports.tables.table import Table
from uda.reports.tables.text import escaped, markdown, terminal
from uda.runs.files import write_text
from uda.sweeps.record import results_folder, runs_and_plan

Chosen = Mapping[str, Mapping[str, tuple[float, float | None]]]  # by choice's name and criterion


@dataclass
class Selection:
    """What is chosen of all runs of a setting: by row, for each of its results.

    ``passed_over`` names the runs of which nothing can be chosen, and says why.
    """

    setting: Setting
    board: Board
    chosen: dict[str, list[tuple[Result, Chosen]]] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)

    def collect(self) -> None:
        """Choose of all runs but those of source models."""
        for title, row in self.board.items():
            if row.method == "source_only":
                continue
            for result in row.results:
                try:
                    choices = {c.name: c.of(result) for c in choices_under(self.setting.scenario)}
                except (ValueError, OSError, KeyError) as error:  # no banks, or of old
                    self.passed_over.append(f"{result.run.folder.name} ({error})")
                else:
                    self.chosen.setdefault(title, []).append((result, choices))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row of the CSV file for each run, choice and criterion."""
        for title, results in self.chosen.items():
            for result, choices in results:
                about = {
                    "dataset": self.setting.spec.name,
                    "scenario": self.setting.scenario,
                    "concepts": self.setting.concepts,
                    "pair": result.pair.name,
                    "title": title,
                    "seed": result.seed,
                    "run": result.run.folder.name,
                }
                for name, criteria in choices.items():
                    for criterion, (value, score) in criteria.items():
                        chosen = {"criterion": criterion, "chosen": round(value, 4)}
                        yield {**about, "choice": name, **chosen, "score": score}

    def tables(self) -> Iterator[Table]:
        """Yield a table for each choice, then those of runs without labels."""
        for choice in choices_under(self.setting.scenario):
            scores = {
                title: [_scores(choices[choice.name]) for _, choices in results]
                for title, results in self.chosen.items()
            }
            if table := selection_table(self.setting, choice, scores):
                yield table
        if self.chosen:
            yield from unscored_tables(self.setting, self.board).values()


def _scores(criteria: Mapping[str, tuple[float, float | None]]) -> dict[str, float]:
    """Return the score of each criterion that has any: none of a run without labels."""
    return {name: score for name, (_, score) in criteria.items() if score is not None}


def write_selection(runs: Path, sweep: str = "", width: int = 0) -> str:
    """Write ``runs/selection.csv``, a line a (run, choice), and ``runs/selection.md``.

    Finished adaptations that kept their banks count, others are named. Where a target has no
    labels, what is chosen stands without a score.

    Args:
        sweep: Count only the runs of this sweep, and write into ``runs/sweeps/SWEEP`` instead.
        width: Columns of the text; 0 for the terminal's.

    Returns:
        The tables as text for a terminal.

    Raises:
        ValueError: where no finished adaptation has kept its banks.
    """
    import pandas as pd

    all_runs, plan = runs_and_plan(runs, sweep)
    selections = [
        Selection(setting, board)
        for setting, board in boards(all_runs, plan.expected if plan else ()).items()
    ]
    for selection in selections:
        selection.collect()
    rows = [row for selection in selections for row in selection.rows()]
    passed_over = [text for selection in selections for text in selection.passed_over]
    if not rows:
        raise ValueError(
            f"{runs}: no finished adaptation in it has kept its banks"
            + (f": {passed_over[0]}" if passed_over else "; run `uda adapt` first")
        )
    tables = [table for selection in selections for table in selection.tables()]
    out = results_folder(runs, sweep)
    table = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    write_text(out / "selection.csv", table)
    rest = ""
    if passed_over:
        rest = f"Passed over: {len(passed_over)} runs, the first {passed_over[0]}.\n"
    write_text(out / "selection.md", "\n".join([*map(markdown, tables), escaped(rest)]))
    written = f"Written to {out / 'selection.md'}, every run's choices to selection.csv"
    return "\n".join([*(terminal(table, width) for table in tables), rest + written])
