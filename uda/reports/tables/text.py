"""Tables as text: Markdown, LaTeX, and for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from genmix_aug.lettering import aligned
from uda.reports.tables.table import Line, Table

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
MARKDOWN = "\\`*_<|[]"
HEAD_WIDTH = 16  # characters of a row's name that has become a column's
DEFAULT_WIDTH, MAX_WIDTH = 100, 140  # of a terminal, in characters


def markdown(table: Table, level: int = 2) -> str:
    """Return the table under a heading of ``level``, its notes below; the best in bold."""

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cells(line: Line) -> list[str]:
        return [f"**{cell.text}**" if cell.best else cell.text for cell in line.cells]

    lines = [f"{'#' * level} {escaped(table.title)}\n", row(["", *map(escaped, table.columns)])]
    lines.append("| --- |" + " ---: |" * len(table.columns))
    lines += [row([escaped(line.title), *cells(line)]) for line in table.lines]
    if table.published:
        lines.append(row([f"*{table.published_source}:*", *[""] * len(table.columns)]))
        lines += [
            row([f"{escaped(line.title)}, *published*", *cells(line)]) for line in table.published
        ]
    notes = (f"\n{escaped(note)}\n" for note in table.notes)
    return "\n".join(lines) + "\n" + "".join(notes)


def escaped(text: str) -> str:
    """Return a text as Markdown shows it: names may hold HTML, pictures' addresses, lines' ends."""
    plain = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in MARKDOWN else letter for letter in plain)


def latex(table: Table) -> str:
    """Return a booktabs ``table`` environment, no wider than the line; the best in bold."""

    def row(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    def line_text(line: Line) -> str:
        cells = [(latex_text(cell.text), cell.best) for cell in line.cells]
        bold = [rf"\textbf{{{text}}}" if best else text for text, best in cells]
        return row([latex_text(line.title), *bold])

    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(table.title)}. {latex_text(' '.join(table.notes))}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        row(["", *map(latex_text, table.columns)]),
        r"\midrule",
        *map(line_text, table.lines),
    ]
    if table.published:
        heading = rf"\emph{{published: {latex_text(table.published_source)}}}"
        lines += [
            r"\midrule",
            rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{{heading}}} \\",
            *map(line_text, table.published),
        ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}"]) + "\n"


def latex_text(text: str) -> str:
    """Return ``text`` with LaTeX's special characters escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def terminal(table: Table, width: int = 0) -> str:
    """Return the table as aligned text within ``width`` characters where that can be; best: ``*``.

    A table that is too wide is turned, its columns as lines, and if need be cut into several.

    Args:
        width: 0 for the terminal's width, which is `MAX_WIDTH` at most.
    """
    width = width or min(shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns, MAX_WIDTH)
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
    upright = [[title, *texts] for title, texts in zip(titles, cells, strict=True)]
    block = aligned([["", *(f"{head} " for head in columns)], *upright])
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
    return aligned(above + [list(texts) for texts in zip(columns, *cells, strict=True)])
