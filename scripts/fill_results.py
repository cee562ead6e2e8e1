"""Write the tables of the docs and of README.md anew, from the packed runs in docs/results/, and
name the figures in their sentences that no table has.

python scripts/fill_results.py [--check]

A table stands between `<!-- table: FILE SWEEP NAME -->` and `<!-- end -->`: FILE is a packed file
without its suffix, SWEEP a sweep in it, NAME a table of the report (h_score, difference, …), or
in_domain. `without=Tw2Fl,No2Om` after NAME leaves pairs out of averages, `lines="LEAD; AdaBN"`
shows these lines of the table alone, in this order.

On the pages of results every figure with one decimal in a sentence has to stand in a table of its
section, or of the section that its paragraph links to: what the runs say now. With --check nothing
is written. The exit code is 1 where a figure has no table, and with --check where something would
change.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from uda.reports.report import read_report  # noqa: E402
from uda.reports.sections import Sections  # noqa: E402
from uda.reports.tables.table import Table  # noqa: E402
from uda.reports.tables.text import markdown  # noqa: E402
from uda.sweeps.packing import unpack  # noqa: E402

RESULT_PAGES = ("docs/results.md", "docs/adaptation.md", "README.md")
PAGES = (*RESULT_PAGES, "docs/methods.md", "docs/experiments.md")
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(
    r"(<!-- table: (\S+) (\S+) (\S+)(?: without=(\S+))?(?: lines=\"([^\"]+)\")? -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)

FIGURE = re.compile(r"(?<!BY )(?<![\w.,/=])[−+±]?\d{1,2}\.\d(?!\w|\.\d)")
ASIDE = re.compile(r"<!-- table.*?<!-- end -->|```.*?```", re.DOTALL)  # no sentences


@cache
def tables_of(runs: Path, sweep: str, left_out: tuple[str, ...]) -> dict[str, list[Table]]:
    """Return all tables of a sweep's runs, by name."""
    report = read_report(runs, left_out=left_out, sweep=sweep)
    tables = {"in_domain": [section.table for section in Sections(report).in_domain]}
    for chapter in report.chapters:
        for name, table in chapter.tables.items():
            tables.setdefault(name, []).append(table)
    return tables


def filled(text: str, folder: Path) -> str:
    """Return ``text`` with every block's table made anew from the packed files in ``folder``."""
    with tempfile.TemporaryDirectory() as unpacked:

        def fill(match: re.Match[str]) -> str:
            head, file, sweep, name, without, lines, end = match.groups()
            runs = Path(unpacked) / file
            if not runs.exists():
                unpack(folder / f"{file}.jsonl", runs)
            tables = tables_of(runs, sweep, tuple(without.split(",") if without else ())).get(name)
            if not tables:
                raise ValueError(f"{file}: its sweep {sweep} makes no table {name!r}")
            if lines:
                tables = [_with_lines(table, lines.split("; ")) for table in tables]
            return head + "\n".join(markdown(table, 4) for table in tables) + end

        return BLOCK.sub(fill, text)


def _with_lines(table: Table, titles: list[str]) -> Table:
    """Return ``table`` with the lines of ``titles`` alone, in their order."""
    by_title = {line.title: line for line in table.lines}
    if missing := [title for title in titles if title not in by_title]:
        raise ValueError(f"{table.title}: no line {missing[0]!r}; it has {'; '.join(by_title)}")
    return replace(table, lines=tuple(by_title[title] for title in titles))


def unsupported(pages: Mapping[str, str], name: str) -> list[str]:
    """Return a line for each figure in the sentences of the page ``name`` that no table has."""
    sections = {page: dict(_sections(text)) for page, text in pages.items()}
    figures = {
        (page, title): {
            figure.lstrip("+−±")
            for line in body.splitlines()
            if line.startswith("|")
            for figure in FIGURE.findall(line)
        }
        for page, bodies in sections.items()
        for title, body in bodies.items()
    }
    lines = []
    for title, body in sections[name].items():
        for paragraph in re.split(r"\n\n|\n- ", ASIDE.sub("", body)):
            known = set(figures[name, title])
            for page, anchor in re.findall(r"\(([\w./]*)#([\w-]+)\)", paragraph):
                path = (PurePosixPath(name).parent / page).as_posix() if page else name
                known |= figures.get((path, anchor), set())
            for figure in FIGURE.findall(paragraph):
                if figure.lstrip("+−±") not in known:
                    start = " ".join(paragraph.split())[:60]
                    lines.append(f"{name}: {figure} is in no table of its section: {start}…")
    return lines


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield the anchor and the text of each section; what is before the first has none."""
    first, *rest = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    yield "", first
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        yield re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"), body


def main() -> int:
    parser = argparse.ArgumentParser(description="Fill the tables of the docs and of README.md.")
    parser.add_argument("--check", action="store_true", help="only say whether they are as made")
    check = parser.parse_args().check
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
    made = {page: filled(text, RESULTS) for page, text in texts.items()}
    stale = [page for page in PAGES if made[page] != texts[page]]
    lines = [line for page in RESULT_PAGES for line in unsupported(made, page)]
    for page in () if check else stale:
        (ROOT / page).write_text(made[page], encoding="utf-8")
    if lines:
        print("\n".join(lines))
    if check and stale:
        print(f"{', '.join(stale)}: not as made; run python scripts/fill_results.py")
    elif not lines:
        print(f"{', '.join(stale)}: tables written" if stale else "The tables are as made.")
    return 1 if lines or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())
