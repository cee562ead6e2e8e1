"""Tables as text: Markdown, LaTeX, CSV, and for a terminal."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Mapping, Sequence

from uda.reports.cells import Line, Table
from uda.reports.results import Board, Setting, has_labels

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "→": r"$\to$",
    "–": "--",
}
HEAD_WIDTH = 16  # characters of a row's name that has become a column's
SCORE_COLUMNS = (
    *("h_score", "known_acc", "unknown_acc", "auroc", "oscr", "h3_score", "accuracy"),
    "oracle",
)
CSV_COLUMNS = (
    *("dataset", "scenario", "concepts", "source", "target", "pair"),
    *("row", "method", "augment", "seed", *SCORE_COLUMNS, "run"),
)


def markdown(table: Table, level: int = 2) -> str:
    """The table under a heading of ``level``, its notes below; the best in bold."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cells(line: Line) -> list[str]:
        return [f"**{cell.text}**" if cell.best else cell.text for cell in line.cells]

    lines = [f"{'#' * level} {table.title}\n", row(["", *table.columns])]
    lines.append("| --- |" + " ---: |" * len(table.columns))
    lines += [row([_escaped(line.title), *cells(line)]) for line in table.lines]
    if table.published:
        lines.append(row([f"*{table.published_source}:*", *[""] * len(table.columns)]))
        lines += [
            row([f"{_escaped(line.title)}, *published*", *cells(line)]) for line in table.published
        ]
    return "\n".join(lines) + "\n" + "".join(f"\n{note}\n" for note in table.notes)


def _escaped(title: str) -> str:
    return title.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")


def latex(table: Table) -> str:
    """The table as a booktabs ``table`` environment, no wider than the line; the best in bold."""

    def row(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    def line(one: Line) -> str:
        cells = [latex_text(cell.text) for cell in one.cells]
        bold = [rf"\textbf{{{t}}}" if c.best else t for c, t in zip(one.cells, cells, strict=True)]
        return row([latex_text(one.title), *bold])

    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(table.title)}. {latex_text(' '.join(table.notes))}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        row(["", *map(latex_text, table.columns)]),
        r"\midrule",
        *map(line, table.lines),
    ]
    if table.published:
        heading = rf"\emph{{published: {latex_text(table.published_source)}}}"
        lines += [
            r"\midrule",
            rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{{heading}}} \\",
            *map(line, table.published),
        ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}"]) + "\n"


def latex_text(text: str) -> str:
    """``text`` with what LaTeX takes for its own escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def csv_text(found: Mapping[Setting, Board]) -> str:
    """A line a finished run: its pair, row and seed, each score of the last epoch, the oracle's.

    Scores are in percent, unrounded; an empty field is a score that the scenario has not, or that
    is undefined.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for setting, board in found.items():
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


def per_class_csv(setting: Setting, board: Board) -> str:
    """A line a finished run and class: its accuracy in the last epoch, in percent; of private
    classes the share called unknown. Empty where no run has kept them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["pair", "row", "seed", "class", "accuracy"])
    lines = [
        [result.pair.name, row.title, result.seed, name, "" if accuracy is None else accuracy]
        for row in board.values()
        for result in row.results
        if has_labels(result.lines)
        for name, accuracy in result.lines[-1].get("per_class", {}).items()
    ]
    writer.writerows(lines)
    return out.getvalue() if lines else ""


def terminal(table: Table, width: int) -> str:
    """The table as aligned text within ``width`` characters where that can be; best: ``*``.

    One that is too wide is turned, its columns as lines, and if need be cut into several.
    """
    blocks = _blocks(table.columns, table.lines, width)
    if table.published:
        blocks.append([f"published: {table.published_source}"])
        blocks += _blocks(table.columns, table.published, width)
    text = "\n\n".join("\n".join(block) for block in blocks)
    marked = any(cell.best for line in table.lines for cell in line.cells)
    notes = [*(["* the best measured."] if marked else []), *table.notes]
    below = "\n".join(textwrap.fill(note, width) for note in notes)
    return f"{table.title}\n\n{text}\n\n{below}\n"


def _blocks(columns: Sequence[str], lines: Sequence[Line], width: int) -> list[list[str]]:
    titles = [line.title for line in lines]
    cells = [[cell.text + ("*" if cell.best else " ") for cell in line.cells] for line in lines]
    upright = [[title, *own] for title, own in zip(titles, cells, strict=True)]
    block = _aligned([["", *(f"{head} " for head in columns)], *upright])
    if max(map(len, block)) <= width:
        return [block]
    heads = [textwrap.wrap(title, HEAD_WIDTH, break_long_words=False) for title in titles]
    blocks = []
    while heads:
        count = len(heads)
        block = _turned(columns, heads, cells)
        while count > 1 and max(map(len, block)) > width:
            count -= 1
            block = _turned(columns, heads[:count], cells[:count])
        blocks.append(block)
        heads, cells = heads[count:], cells[count:]
    return blocks


def _turned(
    columns: Sequence[str], heads: Sequence[Sequence[str]], cells: Sequence[Sequence[str]]
) -> list[str]:
    height = max(map(len, heads))
    padded = [[""] * (height - len(head)) + list(head) for head in heads]
    above = [["", *(f"{head[k]} " for head in padded)] for k in range(height)]
    return _aligned(above + [[name, *own] for name, *own in zip(columns, *cells, strict=True)])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(size) if place == 0 else text.rjust(size)
            for place, (text, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
