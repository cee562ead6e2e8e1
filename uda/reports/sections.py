"""The sections of a report, made once: Markdown and HTML are two templates over them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic

import yaml

from uda.data.names import shortened
from uda.reports.chapter import Chapter
from uda.reports.differences import FEWEST, Difference, interval_text, signed
from uda.reports.figures import FIGURES, IN_DOMAIN_FIGURES
from uda.reports.figures.base import FigureKind, Subject
from uda.reports.figures.drawing import as_svg, save_png
from uda.reports.in_domain import Comparison
from uda.reports.report import Report
from uda.reports.results import Pair, first_stages
from uda.reports.samples import Samples, read_samples
from uda.reports.tables.in_domain import in_domain_table
from uda.reports.tables.table import Table
from uda.runs.folder import Run


@dataclass(frozen=True)
class FigureSection(Generic[Subject]):
    """The figures of a kind, and what stands above them on the page."""

    kind: FigureKind[Subject]
    subject: Subject

    @property
    def note(self) -> str:
        """The text below the heading."""
        return self.kind.describe(self.subject)

    @property
    def legend(self) -> Mapping[str, str]:
        """Colours by what they mean."""
        return self.kind.legend(self.subject)

    @cached_property
    def figures(self) -> list[tuple[str, str]]:
        """Titles and SVGs of the figures, drawn when the page asks for them."""
        drawings = self.kind.on_page(self.subject)
        return [(drawing.title, as_svg(drawing.figure, drawing.label)) for drawing in drawings]


def _sections(kinds: Mapping[str, FigureKind[Subject]], subject: Subject) -> list[Any]:
    """Return the sections of the ``kinds`` of figures that have any."""
    sections = (FigureSection(kind, subject) for kind in kinds.values())
    return [section for section in sections if section.figures]


@dataclass(frozen=True)
class SettingSection:
    """What a report has about a setting. Sample pictures are read under ``root``."""

    chapter: Chapter
    root: str

    @property
    def name(self) -> str:
        """The beginning of its anchors on the page."""
        return self.chapter.setting.name

    @property
    def title(self) -> str:
        """The heading."""
        return self.chapter.setting.title

    @property
    def tables(self) -> Mapping[str, Table]:
        """All tables, by name."""
        return self.chapter.tables

    @property
    def main_table(self) -> Table:
        """The table that stands first."""
        return self.tables[self._main_name]

    @property
    def difference_table(self) -> Table | None:
        """The table of paired differences."""
        return self.tables.get("difference")

    @property
    def more_tables(self) -> list[Table]:
        """All other tables, which the page folds away."""
        first = (self._main_name, "difference")
        return [table for name, table in self.tables.items() if name not in first]

    @property
    def _main_name(self) -> str:
        return next(name for name in self.tables if name != "difference")

    @property
    def summary(self) -> list[str]:
        """What augmentation changes, in a sentence each: what a reader wants to know first."""
        return [
            _sentence(difference)
            for difference in self.chapter.differences
            if difference.row.method == difference.baseline.method
        ]

    @cached_property
    def figures(self) -> list[FigureSection[Chapter]]:
        """The page's figures, by kind."""
        return _sections(FIGURES, self.chapter)

    def save_images(self, folder: Path) -> dict[str, list[tuple[str, str, list[str]]]]:
        """Save report.md's figures in ``folder``.

        Returns:
            Labels and file names of the figures below each table, by the table's name, and lines to
            stand below each figure.
        """
        setting, pairs = self.chapter.setting, self.chapter.pairs
        subjects: dict[str, Pair | None] = {pair.name: pair for pair in pairs}
        subjects[setting.main_score] = None
        if len(pairs) == 1:
            subjects["unscored"] = pairs[0]
        images: dict[str, list[tuple[str, str, list[str]]]] = {}
        for table in self.tables:
            images[table] = []
            for kind in FIGURES.values() if table in subjects else ():
                if drawing := kind.in_report(self.chapter, subjects[table]):
                    name = _file_name(setting.name, subjects[table], kind.name)
                    key = save_png(drawing.figure, folder / name)
                    images[table].append((drawing.label, name, key))
        return images

    @cached_property
    def samples(self) -> list[Samples]:
        """Sample pictures, of the pairs with private classes."""
        drawn = self.chapter.open_pairs
        return [read_samples(self.chapter.setting, pair, self.root) for pair in drawn]

    @property
    def without_predictions(self) -> str:
        """The names of labelled pairs that have no predictions to draw."""
        return ", ".join(pair.name for pair in self.chapter.pairs_without_predictions)


def _file_name(setting: str, pair: Pair | None, kind: str) -> str:
    parts = (setting, pair.source, pair.target, kind) if pair else (setting, kind)
    return shortened("_".join(parts).replace("/", "_")) + ".png"


def _sentence(difference: Difference) -> str:
    """Return ``LEAD + GenMix against LEAD: +5.0 points, better in 11 of 12 pairs``."""
    row, baseline = difference.row.title, difference.baseline.title
    text = f"{row} against {baseline}: {signed(difference.mean)} points"
    values = {
        "pairs": difference.pair_means.tolist(),
        "seeds": difference.seed_means.tolist(),
    }
    intervals = [
        f"{interval_text(means)} over {len(means)} {unit}"
        for unit, means in values.items()
        if len(means) >= FEWEST
    ]
    text += f" (95 %: {'; '.join(intervals)})" if intervals else ""
    if any(len(means) > 1 for means in values.values()):
        text += f", better in {difference.better}"
    return text


@dataclass(frozen=True)
class InDomainSection:
    """What a report has about an in-domain comparison."""

    comparison: Comparison

    @cached_property
    def table(self) -> Table:
        """The comparison's table."""
        return in_domain_table(self.comparison)

    @cached_property
    def figures(self) -> list[FigureSection[Comparison]]:
        """The page's figures, by kind."""
        return _sections(IN_DOMAIN_FIGURES, self.comparison)


@dataclass(frozen=True)
class Again:
    """How the first of a row's ``count`` runs is made again.

    ``text`` is its experiment, with the ``command`` that takes it as ``file``; without a command it
    is the configuration in its folder.
    """

    title: str
    run: Run
    count: int

    @property
    def file(self) -> str:
        """The name of the experiment's file."""
        return f"{self.run.folder.name}.yaml"

    @property
    def command(self) -> str:
        """The commands, a line each; empty where the experiment was not kept."""
        if not self.run.experiment_text:
            return ""
        commands = ["train"] if self.run.augmentation != "checkpoint" else []
        commands += ["adapt"] if self.run.is_adaptation else []
        return "\n".join(f"uda {command} {shlex.quote(self.file)}" for command in commands)

    @property
    def text(self) -> str:
        """The experiment, or else the configuration."""
        return self.run.experiment_text or yaml_text(self.run.config)


class Sections:
    """The sections of a report."""

    def __init__(self, report: Report) -> None:
        self.title = report.title
        self.settings = [SettingSection(chapter, report.root) for chapter in report.chapters]
        self.in_domain = [InDomainSection(comparison) for comparison in report.comparisons]
        # By source: what GenMix makes of its images.
        self.stages = [(source, path) for (_, source), path in first_stages(report.runs).items()]
        self.unfinished = [run.folder.name for run in report.runs if not run.is_done]
        experiments = report.plan.experiments if report.plan else {}
        self.sweeps = {name: yaml_text(experiment) for name, experiment in experiments.items()}
        self.again = [
            Again(f"{chapter.setting.title}: {row.title}", row.results[0].run, len(row.results))
            for chapter in report.chapters
            for row in chapter.rows
        ] + [
            Again(f"{comparison.title}: {title}", runs[0], len(runs))
            for comparison in report.comparisons
            for title, runs in comparison.rows.items()
        ]
        self._chapters = report.chapters
        self.finished = sum(again.count for again in self.again)

    @property
    def not_drawn(self) -> str:
        """A line about the runs whose predictions cannot be drawn; empty without any."""
        reasons = [text for chapter in self._chapters for text in chapter.misfits.values()]
        if not reasons:
            return ""
        runs = "1 run" if len(reasons) == 1 else f"{len(reasons)} runs, the first"
        return f"Not in the figures, as the dataset's classes have changed: {runs}: {reasons[0]}"


def yaml_text(values: Mapping[str, Any]) -> str:
    """Return ``values`` as YAML, in their order."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
