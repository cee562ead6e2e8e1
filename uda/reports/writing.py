"""Writes a report: report.md with figures, tables in every format, and an HTML page."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from uda.reports.chapter import Chapter
from uda.reports.frame import adaptation_records, in_domain_records, per_class_csv, results_csv
from uda.reports.report import Report, read_report
from uda.reports.samples import data_uri, reduced
from uda.reports.sections import Sections
from uda.reports.tables.text import escaped, latex, markdown, terminal
from uda.runs.files import remove_abandoned, write_text
from uda.runs.version import code_version

FOLDERS = ("figures", "tables")
FORMATS = ("md", "tex", "csv", "html")
STAGES_PX = 1200
LATEX_HEAD = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.\n"


class ReportWriter:
    """Writes the files of a report, from the sections that its templates share."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.sections = Sections(report)

    def write(self, formats: Sequence[str] = FORMATS) -> list[Path]:
        """Write what ``formats`` name into the folder, and return the files."""
        for folder in (self.report.folder, *map(self.report.folder.joinpath, FOLDERS)):
            remove_abandoned(folder)
        written = []
        if "md" in formats:
            written.append(self._write_markdown())
        for chapter in self.report.chapters:
            written += self._write_tables(chapter, formats)
        if compared := self.report.comparisons:
            tables = [section.table for section in self.sections.in_domain]
            texts = {
                "md": "\n".join(map(markdown, tables)),
                "tex": "\n".join(map(latex, tables)),
                "csv": results_csv(chain.from_iterable(map(in_domain_records, compared))),
            }
            written += self._write_texts("in_domain", texts, formats)
        if "html" in formats:
            written.append(self._write_page())
        return written

    def _write_markdown(self) -> Path:
        images = {
            section.name: section.save_images(self.report.folder / "figures")
            for section in self.sections.settings
        }
        return self._render("report.md", images=images, not_drawn=self.sections.not_drawn)

    def _write_page(self) -> Path:
        """Write the page, which fetches nothing from elsewhere and opens from disk."""
        written = time.strftime("%Y-%m-%d %H:%M")
        values = {"written": written, "version": code_version()}
        return self._render("report.html", "page.html", **values, not_drawn=self.sections.not_drawn)

    def _render(self, name: str, template: str = "", **values: Any) -> Path:
        """Write the file ``name`` from its template and the sections, and return its path."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=name.endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "markdown": markdown,
            "escaped": escaped,
            "relative": lambda path: Path(os.path.relpath(path, self.report.folder)).as_posix(),
            "data_uri": lambda path: data_uri(reduced(path, STAGES_PX)),
        }
        text = environment.get_template(template or name).render(**vars(self.sections), **values)
        write_text(self.report.folder / name, text)
        return self.report.folder / name

    def _write_tables(self, chapter: Chapter, formats: Sequence[str]) -> list[Path]:
        """Write ``tables/SETTING.md`` and so on, and return the files."""
        setting, board, tables = chapter.setting, chapter.board, chapter.tables.values()
        texts = {
            "md": "\n".join(map(markdown, tables)),
            "tex": LATEX_HEAD + "\n".join(map(latex, tables)),
            "csv": results_csv(adaptation_records(setting, board)),
        }
        written = self._write_texts(setting.name, texts, formats)
        if text := per_class_csv(board):
            written += self._write_texts(f"{setting.name}_per_class", {"csv": text}, formats)
        return written

    def _write_texts(
        self, name: str, texts: Mapping[str, str], formats: Sequence[str]
    ) -> list[Path]:
        """Write the texts of ``formats`` beside one another, and return the files."""
        written = []
        for suffix, text in texts.items():
            if suffix in formats:
                written.append(self.report.folder / "tables" / f"{name}.{suffix}")
                write_text(written[-1], text)
        return written

    def terminal_text(self, width: int = 0) -> str:
        """Return the main tables for a terminal of ``width`` columns; its width if 0."""
        tables = [section.table for section in self.sections.in_domain]
        tables += [table for chapter in self.report.chapters for table in chapter.main_tables]
        return "\n".join(terminal(table, width) for table in tables)


def write_report(
    runs: Path,
    title: str,
    formats: Sequence[str] = FORMATS,
    root: str = "",
    left_out: Sequence[str] = (),
    sweep: str = "",
    width: int = 0,
) -> str:
    """Write what ``formats`` name; unfinished runs are named, not counted.

    Args:
        runs: The folder of runs.
        formats: md: ``runs/report.md``, ``figures/*.png`` and ``tables/*.md``; tex and csv:
            ``tables/*.tex`` and ``*.csv``; html: ``report.html``.
        root: The folder of sample pictures; empty for the folder that the dataset's file names.
        left_out: Names of pairs that take no part in averages and differences.
        sweep: Count only the runs of this sweep, and write into ``runs/sweeps/SWEEP`` instead.
        width: Columns of the text; 0 for the terminal's.

    Returns:
        The main tables and the names of the files, as text for a terminal.

    Raises:
        ValueError: where nothing is finished, or naming an unknown format, pair or sweep.
    """
    if not formats:
        raise ValueError(f"--formats: names none of {', '.join(FORMATS)}")
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ValueError(f"--formats: {unknown[0]!r} is not one of {', '.join(FORMATS)}")
    writer = ReportWriter(read_report(runs, title, root, left_out, sweep))
    written = "\n".join(f"  {path}" for path in writer.write(formats))
    drawn = {"md", "html"} & {*formats}
    not_drawn = writer.sections.not_drawn if drawn else ""
    text = f"{writer.terminal_text(width)}\nWritten:\n{written}"
    return f"{text}\n{not_drawn}" if not_drawn else text
