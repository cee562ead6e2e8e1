import numpy as np
import pytest
from helpers.boards import CALLED, NAMES, SCORE, TRUE
from helpers.made_runs import finished, predict

from uda.data.scenarios import OtherClassesError
from uda.data.spec import load_dataset_spec
from uda.reports.figures.unknown_norm import norms_of
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


def test_predictions_beyond_the_classes_are_named(run, spec):
    for true, called in (([0, 9], [0, 0]), ([0, 0], [0, 7]), ([0, 0], [-1, 0])):
        predict(run, ["bar/0", "bar/1"], true, called, [0.1, 0.2])
        with pytest.raises(OtherClassesError, match=f"{run.folder}: its predictions' "):
            read_predictions(run, spec)


def test_predictions_of_another_type_are_named(run, spec):
    np.savez(run.folder / "predictions.npz", label=[0.5], true_label=[0], unknown_score=[0.1])
    with pytest.raises(ValueError, match=f"{run.folder}: in its predictions label is of the type"):
        read_predictions(run, spec)


def test_a_bank_of_fewer_pictures_than_the_predictions_is_named(run, spec):
    predict(run, ["bar/0", "bar/1"], [0, 3], [0, 3], [0.1, 0.9])
    predictions = read_predictions(run, spec)
    with pytest.raises(ValueError, match=f"{run.folder}: its bank is of other pictures"):
        predictions.h_scores(np.zeros(1, int), np.zeros(1), [0.5])
    with pytest.raises(ValueError, match=f"{run.folder}: its predictions are not of its 3 pict"):
        split_by_role(run, np.zeros(3))


@pytest.mark.parametrize("change", [{"means": np.zeros(3)}, {"shares": np.zeros((1, 2))}, None])
def test_norms_without_their_mixture_are_named(run, change):
    mixture = {name: np.array([0.2, 0.8]) for name in ("means", "deviations", "shares")}
    assert norms_of(run) == {}
    run.save_summary({"unknown_norm": np.zeros(3), **mixture})
    assert set(norms_of(run)) == {"unknown_norm", *mixture}
    run.save_summary({"unknown_norm": np.zeros(3), **({**mixture, **change} if change else {})})
    with pytest.raises(ValueError, match=f"{run.folder}: what it keeps for reports lacks norms"):
        norms_of(run)
