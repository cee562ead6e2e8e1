"""The figures of a report. A new kind is one file and one line here; pages have this order."""

from uda.reports.chapter import Chapter
from uda.reports.figures.base import FigureKind
from uda.reports.figures.confusion import ConfusionFigure
from uda.reports.figures.differences import DifferencesFigure
from uda.reports.figures.epochs import EpochsFigure
from uda.reports.figures.held_out import HeldOutFigure
from uda.reports.figures.thresholds import ThresholdsFigure
from uda.reports.figures.unknown_norm import UnknownNormFigure
from uda.reports.figures.unknown_scores import UnknownScoresFigure
from uda.reports.in_domain import Comparison

FIGURES: dict[str, FigureKind[Chapter]] = {
    figure.name: figure
    for figure in (
        DifferencesFigure(),
        EpochsFigure(),
        ThresholdsFigure(),
        UnknownScoresFigure(),
        ConfusionFigure(),
        UnknownNormFigure(),
    )
}
IN_DOMAIN_FIGURES: dict[str, FigureKind[Comparison]] = {
    figure.name: figure for figure in (HeldOutFigure(),)
}
