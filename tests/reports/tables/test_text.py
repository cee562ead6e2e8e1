import re

import pytest

from uda.reports.tables.table import Cell, Line, Table
from uda.reports.tables.text import latex, latex_text, markdown, terminal

SMALL = Table(
    "A & B",
    ("x_1", "average"),
    (Line("50% {of} #1", (Cell("1.0 ± 0.2", True), Cell("–"))),),
    ("A note: 100 $.",),
    (Line("LEAD", (Cell("2.0"), Cell("3.0"))),),
    "a paper",
)


def test_latex_is_whole():
    text = latex(SMALL)
    assert r"50\% \{of\} \#1 & \textbf{1.0 $\pm$ 0.2} & --" in text
    begun, ended = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
    assert begun == ended[::-1] == ["table", "tabular"]
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    cells = [len(re.findall(r"(?<!\\)&", row)) for row in rows if "multicolumn" not in row]
    assert set(cells) == {len(SMALL.columns)}
    assert text.index("50") < text.index("published: a paper") < text.index("LEAD")


def test_latex_escapes():
    assert latex_text(r"a\b~^") == r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}"
    assert latex_text("→ −1") == r"$\to$ $-$1"


def test_markdown_sets_published_rows_apart():
    lines = markdown(SMALL).splitlines()
    assert lines[0] == "## A & B"
    assert lines[4:7] == [
        "| 50% {of} #1 | **1.0 ± 0.2** | – |",
        "| *a paper:* |  |  |",
        "| LEAD, *published* | 2.0 | 3.0 |",
    ]


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_a_terminal_shows_every_cell(width):
    columns = tuple(f"P{k}" for k in range(12))
    cells = [[f"{10 * row + k}.0 ± 1.0" for k in range(12)] for row in range(4)]
    lines = tuple(
        Line(f"Row number {row}", tuple(map(Cell, values))) for row, values in enumerate(cells)
    )
    text = terminal(Table("T", columns, lines, ("A note that is long. " * 6,)), width)
    assert all(cell in text for values in cells for cell in values)
    assert max(map(len, text.splitlines())) <= width


def test_markdown_shows_names_as_they_are():
    name = "<img src=x onerror=a()> | _a_ *b* `c` ![d](http://e)\n# f"
    table = Table(name, (name,), (Line(name, (Cell("1.0"),)),), (name,))
    shown = name.replace("\n", " ")
    for letter in "\\`*_<|[]":
        shown = shown.replace(letter, f"\\{letter}")
    assert markdown(table).splitlines() == [
        f"## {shown}",
        "",
        f"|  | {shown} |",
        "| --- | ---: |",
        f"| {shown} | 1.0 |",
        "",
        shown,
    ]
