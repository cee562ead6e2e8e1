import pytest
from helpers.boards import board_of, fill, texts
from helpers.made_runs import finished
from scipy import stats

from uda.reports.differences import differences, signed, t_interval
from uda.reports.tables.differences import difference_table
from uda.reports.tables.scores import score_table
from uda.reports.writing import write_report


def test_interval_is_that_of_scipy():
    values = [1.0, 2.5, -0.5, 4.0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((expected.low, expected.high))
    assert t_interval([1.0, 2.0]) is None
    assert t_interval([]) is None


def test_signed():
    assert [signed(v) for v in (1.24, -1.26, 0.04, -0.04)] == ["+1.2", "−1.3", "0.0", "0.0"]


def test_differences_are_paired_by_pair_and_seed(runs, dataset):
    plain = {(0, 0): 10.0, (0, 1): 20.0, (0, 2): 15.0, (1, 0): 30.0, (1, 1): 31.0, (1, 2): 38.0}
    gains = {(0, 0): 1.0, (0, 1): 2.0, (0, 2): 6.0, (1, 0): -1.0, (1, 1): -4.0, (1, 2): -1.0}
    fill(runs, dataset, {("lead", "none", *cell): v for cell, v in plain.items()})
    fill(runs, dataset, {("lead", "genmix", *p): v + gains[p] for p, v in plain.items()})
    finished(runs, dataset, "lead", "none", 7, [1.0, 90.0])  # nothing to pair it with
    setting, board = board_of(runs)
    (compared,) = differences(board, "h_score")
    assert compared.title == "LEAD + GenMix − LEAD"
    assert compared.pair_means.tolist() == pytest.approx([3.0, -2.0])
    assert compared.seed_means.tolist() == pytest.approx([0.0, -1.0, 2.5])
    table = difference_table(setting, board, "h_score")
    low, high = stats.ttest_1samp([0.0, -1.0, 2.5], 0).confidence_interval(0.95)
    # Two pairs are too few for an interval over pairs, so that column is left out.
    assert table.columns == ("mean", "95 %, over seeds", "better in", "by seed")
    assert texts(table, "LEAD + GenMix − LEAD") == [
        "+0.5",
        f"{signed(low)} to {signed(high)}",
        "1 of 2 pairs",
        "0.0 −1.0 +2.5",
    ]


def test_a_pair_left_out_is_shown_and_not_counted(runs, dataset):
    for pair in (0, 1):
        for augment, value in (("none", 10.0), ("genmix", 20.0 + 10 * pair)):
            fill(runs, dataset, {("lead", augment, pair, 0): value})
    setting, board = board_of(runs)
    table = score_table(setting, board, "h_score", left_out=["Pl2Da"])
    assert texts(table, "LEAD + GenMix") == ["20.0", "30.0", "30.0"]
    assert "Mean values without Pl2Da." in table.notes
    (compared,) = differences(board, "h_score", ["Pl2Da"])
    assert compared.mean == pytest.approx(20.0)
    difference = difference_table(setting, board, "h_score", ["Pl2Da"])
    assert "Mean values without Pl2Da." in difference.notes
    with pytest.raises(ValueError, match="--leave-out: 'X' is not one of Da2Pl, Pl2Da"):
        write_report(runs, "T", left_out=["X"])


def test_a_single_pair_counts_its_seeds(runs, dataset):
    for seed, gain in enumerate((1.0, 2.0, -3.0)):
        fill(runs, dataset, {("lead", "none", 0, seed): 10, ("lead", "genmix", 0, seed): 10 + gain})
    (compared,) = differences(board_of(runs)[1], "h_score")
    assert compared.better == "2 of 3 seeds"


def test_baselines_are_recognised_by_their_settings(runs, dataset):
    for method in ("source_only", "lead"):
        for augment in ("none", "genmix"):
            fill(runs, dataset, {(method, augment, 0, 0): 10.0})
    finished(runs, dataset, "lead", "genmix", 0, [1.0, 9.0], rate=0.5)  # no plain LEAD of that rate
    titles = {difference.title for difference in differences(board_of(runs)[1], "h_score")}
    assert titles == {
        "Source + GenMix − Source-only",
        "LEAD − Source-only",
        "LEAD + GenMix (adapt.rate=0.1) − LEAD",
        "LEAD + GenMix (adapt.rate=0.1) − Source + GenMix",
        "LEAD + GenMix (adapt.rate=0.5) − Source + GenMix",
    }


def test_genmix_is_compared_with_every_other_augmentation(runs, dataset):
    values = {"none": 10.0, "mixup": 12.0, "cutmix": 13.0, "genmix": 15.0}
    fill(runs, dataset, {("lead", name, 0, 0): value for name, value in values.items()})
    every = differences(board_of(runs)[1], "h_score")
    assert {difference.title for difference in every if not difference.is_main} == {
        "LEAD + GenMix − LEAD + Mixup",
        "LEAD + GenMix − LEAD + CutMix",
    }
    assert {difference.title: difference.mean for difference in every} == {
        "LEAD + Mixup − LEAD": 2,
        "LEAD + CutMix − LEAD": 3,
        "LEAD + GenMix − LEAD": 5,
        "LEAD + GenMix − LEAD + Mixup": 3,
        "LEAD + GenMix − LEAD + CutMix": 2,
    }


def test_other_training_is_no_baseline(runs, dataset):
    finished(runs, dataset, "lead", "none", 0, [1.0, 9.0], source={"train": {"rate": 2.0}})
    source = {"train": {"rate": 1.0, "budget": "steps"}}
    finished(runs, dataset, "lead", "genmix", 0, [1.0, 9.0], source=source)
    assert difference_table(*board_of(runs), "h_score") is None


def test_an_undefined_score_is_no_difference(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): None, ("lead", "genmix", 0, 0): 3.0})
    setting, board = board_of(runs)
    assert differences(board, "h_score") == []
    table = score_table(setting, board, "h_score")
    assert texts(table, "LEAD") == ["undefined"]


def test_a_checkpoint_is_compared_with_itself(runs, dataset):
    for method, file, score in (
        ("source_only", "a", 10.0),
        ("lead", "a", 15.0),
        ("source_only", "b", 40.0),
        ("lead", "b", 41.0),
    ):
        source = {"augment": {"name": "checkpoint", "file": file}}
        scores = [score] if method == "source_only" else [1.0, score]
        finished(runs, dataset, method, "checkpoint", 0, scores, source=source)
    compared = differences(board_of(runs)[1], "h_score")
    assert sorted(round(difference.mean, 1) for difference in compared) == [1.0, 5.0]


def test_seeds_that_not_all_pairs_have_are_said(runs, dataset):
    for pair, seed, gain in ((0, 0, 1.0), (0, 1, 2.0), (0, 2, 3.0), (1, 0, 1.0), (1, 3, 9.0)):
        fill(
            runs,
            dataset,
            {("lead", "none", pair, seed): 10, ("lead", "genmix", pair, seed): 10 + gain},
        )
    notes = difference_table(*board_of(runs), "h_score").notes
    assert (
        "LEAD + GenMix − LEAD: not all pairs have the same seeds; the mean is over all that there "
        "are, by seed over seed 0." in notes
    )


def test_answers_are_compared_with_the_methods_and_methods_with_adabn(runs, dataset):
    answer = {"views": 6, "score": "cosine", "threshold": "two-means"}
    values = {"source_only": 30.0, "adabn": 35.0, "lead": 36.0}
    for method, value in values.items():
        fill(runs, dataset, {(method, "none", 0, 0): value})
        finished(runs, dataset, method, "none", 0, [value + 9], answer=answer)
    every = differences(board_of(runs)[1], "h_score")
    six = ", 6 views, cosine, two-means"
    assert {d.title: (d.mean, d.is_main) for d in every} == {
        "AdaBN − Source-only": (5, True),
        "LEAD − Source-only": (6, True),
        "LEAD − AdaBN": (1, False),
        f"Source-only{six} − Source-only": (9, False),
        f"AdaBN{six} − AdaBN": (9, False),
        f"LEAD{six} − LEAD": (9, False),
        f"AdaBN{six} − Source-only{six}": (5, True),
        f"LEAD{six} − Source-only{six}": (6, True),
        f"LEAD{six} − AdaBN{six}": (1, False),
    }
