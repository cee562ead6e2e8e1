import numpy as np
import pytest
from helpers.boards import CALLED, NAMES, SCORE, TRUE
from helpers.made_runs import finished, predict

from uda.data.scenarios import ClassSplit
from uda.reports.predictions import PRIVATE, SHARED, read_predictions, split_by_role

SPLIT = ClassSplit(("bar", "cross"), ("disc",), ("ring", "square"))


@pytest.fixture
def run(runs, dataset):
    """An adaptation that has finished."""
    return finished(runs, dataset, "lead", "none", 0, [1, 2])


def test_confusion_and_cut_are_those_of_the_predictions(run):
    predict(run, NAMES, TRUE, CALLED, SCORE)
    predictions = read_predictions(run, SPLIT)
    assert predictions.cut == pytest.approx(0.5)
    shares, rows, columns = predictions.confusion()
    assert rows == ["bar", "cross", "private"]
    assert columns == ["bar", "cross", "only in source", "unknown"]
    expected = [[0.5, 0, 0, 0.5], [0, 0, 1, 0], [0, 1 / 3, 0, 2 / 3]]
    np.testing.assert_allclose(shares, expected)


def test_pictures_that_nobody_knows_take_no_part(run):
    predict(run, NAMES, [-1, 0, 1, -1, 3, 4], CALLED, SCORE)
    predictions = read_predictions(run, SPLIT)
    assert predictions.true_label.tolist() == [0, 1, 3, 4]
    shares, rows, _ = predictions.confusion()
    assert rows == ["bar", "cross", "private"]
    assert shares[2].tolist() == [0.0, 0.5, 0.0, 0.5]
    predict(run, NAMES, [-1] * 6, CALLED, SCORE)
    assert read_predictions(run, SPLIT) is None


def test_no_cut_where_the_score_does_not_decide(run):
    predict(run, NAMES[:2], [0, 0], [0, 3], [0.9, 0.1])
    assert read_predictions(run, SPLIT).cut is None
    predict(run, NAMES[:2], [0, 0], [0, 0], [0.9, 0.1])
    predictions = read_predictions(run, SPLIT)
    assert predictions.cut is None
    shares, rows, columns = predictions.confusion()
    assert (rows, columns) == (["bar", "cross"], ["bar", "cross", "only in source"])
    assert np.isnan(shares[1]).all(), "a class without a picture"


def test_values_are_split_by_the_role_of_the_class(run):
    values = np.arange(6.0)
    predict(run, NAMES, TRUE, CALLED, SCORE)
    parts = split_by_role(run, values)
    assert {role: part.tolist() for role, part in parts.items()} == {
        SHARED: [0, 1, 2],
        PRIVATE: [3, 4, 5],
    }
    scores = read_predictions(run, SPLIT).scores_by_role
    np.testing.assert_allclose(scores[PRIVATE], [0.8, 0.3, 0.7])
    predict(run, NAMES, [0] * 6, CALLED, SCORE)
    assert split_by_role(run, values).keys() == {SHARED}
    predict(run, NAMES, [-1] * 6, CALLED, SCORE)
    assert split_by_role(run, values).keys() == {"all pictures"}
