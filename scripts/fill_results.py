"""Write the tables of the docs and of README.md anew, from the packed runs in docs/results/.

python scripts/fill_results.py [--check]

A table stands between `<!-- table: FILE SWEEP NAME -->` and `<!-- end -->`: FILE is a packed file
without its suffix, SWEEP a sweep in it, NAME a table of the report (h_score, difference, …), or
in_domain. `without=Tw2Fl,No2Om` after NAME leaves pairs out of averages, `lines="LEAD; AdaBN"`
shows these lines of the table alone, in this order. With --check nothing is written, and the exit
code is 1 where something would change.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from uda.reports.report import read_report  # noqa: E402
from uda.reports.sections import Sections  # noqa: E402
from uda.reports.tables.table import Table  # noqa: E402
from uda.reports.tables.text import markdown  # noqa: E402
from uda.sweeps.packing import unpack  # noqa: E402

PAGES = tuple(
    ROOT / name
    for name in ("docs/results.md", "docs/methods.md", "docs/experiments.md", "README.md")
)
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(
    r"(<!-- table: (\S+) (\S+) (\S+)(?: without=(\S+))?(?: lines=\"([^\"]+)\")? -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)


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


def main() -> int:
    parser = argparse.ArgumentParser(description="Fill the tables of the docs and of README.md.")
    parser.add_argument("--check", action="store_true", help="only say whether they are as made")
    check = parser.parse_args().check
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fresh = filled(text, RESULTS)
        if fresh == text:
            continue
        stale.append(page.relative_to(ROOT))
        if not check:
            page.write_text(fresh, encoding="utf-8")
    if check and stale:
        print(f"{', '.join(map(str, stale))}: not as made; run python scripts/fill_results.py")
        return 1
    print(f"{', '.join(map(str, stale))}: tables written" if stale else "The tables are as made.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
