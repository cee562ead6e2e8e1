"""What every kind of figure is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from uda.reports.results import Pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Subject = TypeVar("Subject")  # a Chapter, or a Comparison in one domain


@dataclass(frozen=True)
class Drawing:
    """A drawn figure: ``title`` heads it on the page, ``label`` says what it shows to those who
    cannot see it."""

    title: str
    label: str
    figure: Figure


class FigureKind(Generic[Subject]):
    """A kind of figure: what the page and report.md show of a chapter (or a comparison).

    Attributes:
        name: The end of its files' names and of its anchor on the page.
        title: Its heading on the page.
        note: The text below the heading.
        panels: How wide its figures are on the page: empty, ``small``, ``large`` or ``confusion``.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    note: ClassVar[str] = ""
    panels: ClassVar[str] = ""

    def describe(self, subject: Subject) -> str:
        """Return the text below the heading."""
        return self.note

    def legend(self, subject: Subject) -> Mapping[str, str]:
        """Return the colours of the page's legend by what they mean; none by default."""
        return {}

    def on_page(self, subject: Subject) -> Iterator[Drawing]:
        """Yield the figures of the page; none by default."""
        return iter(())

    def in_report(self, subject: Subject, pair: Pair | None) -> Drawing | None:
        """Return the figure that report.md shows below the table of ``pair``, or of all pairs where
        it is None; no figure by default."""
        return None
