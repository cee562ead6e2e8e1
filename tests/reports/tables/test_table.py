import math

from uda.reports.tables.table import mean_and_deviation


def test_mean_and_deviation():
    assert mean_and_deviation([38.7, 45.8, 38.1]) == "40.9 ± 4.3"
    assert mean_and_deviation([40.0]) == "40.0"
    assert mean_and_deviation([]) == "–"
    assert mean_and_deviation([40.0, math.nan]) == "undefined"
