import numpy as np
import pytest
from helpers.boards import CALLED, NAMES, SCORE, TRUE
from helpers.made_runs import finished, predict

from uda.data.spec import load_dataset_spec
from uda.reports.predictions import PRIVATE, SHARED, read_predictions, split_by_role


@pytest.fixture
def run(runs, dataset):
    """An adaptation that has finished."""
    return finished(runs, dataset, "lead", "none", 0, [1, 2])


@pytest.fixture
def spec(dataset):
    return load_dataset_spec(str(dataset))


def test_confusion_and_cut_are_those_of_the_predictions(run, spec):
    predict(run, NAMES, TRUE, CALLED, SCORE)
    predictions = read_predictions(run, spec)
    assert predictions.cut == pytest.approx(0.5)
    shares, rows, columns = predictions.confusion()
    assert rows == ["bar", "cross", "private"]
    assert columns == ["bar", "cross", "only in source", "unknown"]
    expected = [[0.5, 0, 0, 0.5], [0, 0, 1, 0], [0, 1 / 3, 0, 2 / 3]]
    np.testing.assert_allclose(shares, expected)


def test_pictures_that_nobody_knows_take_no_part(run, spec):
    predict(run, NAMES, [-1, 0, 1, -1, 3, 4], CALLED, SCORE)
    predictions = read_predictions(run, spec)
    assert predictions.true_label.tolist() == [0, 1, 3, 4]
    shares, rows, _ = predictions.confusion()
    assert rows == ["bar", "cross", "private"]
    assert shares[2].tolist() == [0.0, 0.5, 0.0, 0.5]
    predict(run, NAMES, [-1] * 6, CALLED, SCORE)
    assert read_predictions(run, spec) is None


def test_no_cut_where_the_score_does_not_decide(run, spec):
    predict(run, NAMES[:2], [0, 0], [0, 3], [0.9, 0.1])
    assert read_predictions(run, spec).cut is None
    predict(run, NAMES[:2], [0, 0], [0, 0], [0.9, 0.1])
    predictions = read_predictions(run, spec)
    assert predictions.cut is None
    shares, rows, columns = predictions.confusion()
    assert (rows, columns) == (["bar", "cross"], ["bar", "cross", "only in source"])
    assert np.isnan(shares[1]).all(), "a class without a picture"


def test_classes_are_those_that_the_run_had(run, spec):
    """Rows and columns are called by the run's order of classes, not the dataset's present one."""
    run.save_classes(("cross", "bar", "disc"))
    predict(run, ["cross/0.png", "bar/0.png", "bar/1.png"], [0, 1, 1], [1, 1, 3], SCORE[:3])
    shares, rows, columns = read_predictions(run, spec).confusion()
    assert (rows, columns[:2]) == (["cross", "bar"], ["cross", "bar"])
    np.testing.assert_allclose(shares, [[0, 1, 0, 0], [0, 0.5, 0, 0.5]])


def test_a_class_whose_name_or_role_has_changed_is_named(run, spec):
    predict(run, NAMES, [0, 0, 2, 3, 3, 4], CALLED, SCORE)
    with pytest.raises(ValueError, match="its target has 'disc', a class of the source alone"):
        read_predictions(run, spec)
    run.save_classes(("bar", "zebra", "disc"))
    with pytest.raises(ValueError, match="with the class 'zebra', where 'cross' is expected"):
        read_predictions(run, spec)


def test_values_are_split_by_the_role_of_the_class(run, spec):
    values = np.arange(6.0)
    predict(run, NAMES, TRUE, CALLED, SCORE)
    parts = split_by_role(run, values)
    assert {role: part.tolist() for role, part in parts.items()} == {
        SHARED: [0, 1, 2],
        PRIVATE: [3, 4, 5],
    }
    scores = read_predictions(run, spec).scores_by_role
    np.testing.assert_allclose(scores[PRIVATE], [0.8, 0.3, 0.7])
    predict(run, NAMES, [0] * 6, CALLED, SCORE)
    assert split_by_role(run, values).keys() == {SHARED}
    predict(run, NAMES, [-1] * 6, CALLED, SCORE)
    assert split_by_role(run, values).keys() == {"all pictures"}
