import csv
import io
import math
import re
from dataclasses import replace

import pytest
from helpers.made_runs import PAIRS, finished
from helpers.tiny import make_dataset
from scipy import stats

from uda.reports.cells import Cell, Line, Table, mean_and_deviation
from uda.reports.differences import differences, signed, t_interval
from uda.reports.report import setting_tables, write_report
from uda.reports.results import row_title
from uda.reports.rows import boards
from uda.reports.table_text import csv_text, latex, latex_text, markdown, per_class_csv, terminal
from uda.reports.tables import difference_table, oracle_table, score_table, summary_table
from uda.runs.folder import find_runs
from uda.sweeps.record import Expected


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "tiny", per_class=1)


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def board_of(runs):
    ((setting, board),) = boards(find_runs(runs)).items()
    return setting, board


def fill(runs, dataset, values, scenario="opda"):
    """``values`` by (method, augment, pair's number, seed)."""
    for (method, augment, pair, seed), value in values.items():
        own = [value] if method == "source_only" else [1.0, value]
        finished(runs, dataset, method, augment, seed, own, PAIRS[pair], scenario)


def texts(table, title):
    (line,) = [line for line in table.lines if line.title == title]
    return [cell.text for cell in line.cells]


def test_row_titles():
    assert row_title("source_only", "none") == "Source-only"
    assert row_title("source_only", "genmix") == "Source + GenMix"
    assert row_title("lead", "none") == "LEAD"
    assert row_title("lead", "genmix") == "LEAD + GenMix"


def test_mean_and_deviation():
    assert mean_and_deviation([38.7, 45.8, 38.1]) == "40.9 ± 4.3"
    assert mean_and_deviation([40.0]) == "40.0"
    assert mean_and_deviation([]) == "–"
    assert mean_and_deviation([40.0, math.nan]) == "undefined"


def test_interval_is_that_of_scipy():
    values = [1.0, 2.5, -0.5, 4.0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((expected.low, expected.high))
    assert t_interval([1.0, 2.0]) is None
    assert t_interval([]) is None


def test_signed():
    assert [signed(v) for v in (1.24, -1.26, 0.04, -0.04)] == ["+1.2", "−1.3", "0.0", "0.0"]


def test_the_average_is_over_pairs_in_each_seed_first(runs, dataset):
    values = {
        ("lead", "none", 0, 0): 10.0,
        ("lead", "none", 0, 1): 20.0,
        ("lead", "none", 1, 0): 30.0,
        ("lead", "none", 1, 1): 60.0,
    }
    fill(runs, dataset, values)
    table = score_table(*board_of(runs), "h_score")
    assert table.columns == ("Pl2Da", "Da2Pl", "average")
    # Seeds' averages are 20 and 40: their deviation is 14.1, not that of the four values.
    assert texts(table, "LEAD") == ["15.0 ± 7.1", "45.0 ± 21.2", "30.0 ± 14.1"]
    assert not any("Not there" in note for note in table.notes)


def test_the_summary_has_each_tables_average(runs, dataset):
    for seed in (0, 1):
        for pair in (0, 1):
            fill(runs, dataset, {("lead", "none", pair, seed): 10.0 + 20 * pair + 4 * seed})
    fill(runs, dataset, {("lead", "genmix", 0, 0): 50.0})
    setting, board = board_of(runs)
    scores = ["h_score", "known_acc"]
    table = summary_table(setting, board, scores)
    assert table.columns == ("H-score", "known")
    for place, score in enumerate(scores):
        whole = score_table(setting, board, score)
        for row in board:
            assert texts(table, row)[place] == texts(whole, row)[-1]
    assert texts(table, "LEAD")[0] == "22.0 ± 2.8"
    assert texts(table, "LEAD + GenMix") == ["–", "–"]
    assert "Rows without a figure lack pairs." in table.notes[0]
    fewer = summary_table(setting, board, scores, left_out=["Da2Pl"])
    assert texts(fewer, "LEAD")[0] == "12.0 ± 2.8"
    assert texts(fewer, "LEAD + GenMix")[0] == "50.0"
    assert fewer.notes[1] == "Mean values without Da2Pl."


def test_a_missing_cell_takes_no_part_in_an_average(runs, dataset):
    values = {("lead", "none", pair, seed): 10.0 for pair in (0, 1) for seed in (0, 1)}
    del values["lead", "none", 1, 1]
    values["glc", "none", 0, 0] = 50.0
    fill(runs, dataset, values)
    table = score_table(*board_of(runs), "h_score")
    assert texts(table, "LEAD") == ["10.0 ± 0.0", "10.0", "10.0"]
    assert texts(table, "GLC") == ["50.0", "–", "–"]
    assert "LEAD: average over seed 0 alone: the others lack pairs." in table.notes
    assert "Not there: GLC: Da2Pl; LEAD: Da2Pl seed 1." in table.notes
    (best,) = [line for line in table.lines if line.title == "LEAD"]
    assert [cell.best for cell in best.cells] == [False, False, False]


def test_what_a_sweep_expects_is_missed_by_name(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): 10.0})

    def expected(pair, seed, title):
        source, target = PAIRS[pair]
        name = ("Pl2Da", "Da2Pl")[pair]
        folder = runs / f"{title}-{name}-{seed}"
        return Expected(
            source, target, name, "opda", title, "", title, seed, folder, "tiny", "shared"
        )

    plan = [expected(0, 1, "LEAD"), expected(1, 0, "LEAD"), expected(0, 0, "GLC")]
    table = score_table(*board_of(runs), "h_score", plan)
    assert table.columns == ("Pl2Da", "Da2Pl", "average")
    assert texts(table, "LEAD") == ["10.0", "–", "–"]
    assert table.notes[-1] == "Not there: LEAD: Pl2Da seed 1, Da2Pl; GLC: Pl2Da."
    for other in ({"dataset": "other"}, {"concepts": "disjoint"}, {"scenario": "osda"}):
        elsewhere = [replace(one, **other) for one in plan]
        assert score_table(*board_of(runs), "h_score", elsewhere).columns == ("Pl2Da",)
    tables = setting_tables(*board_of(runs), plan)
    assert "h_score" in tables, "one pair so far, but two are to come"


def test_many_missing_pairs_are_counted():
    from uda.reports.tables import _places

    names = [f"P{k}" for k in range(12)]
    wanted = {(name, 0) for name in names}
    assert _places(wanted - {("P0", 0)}, wanted, names) == "11 of 12 pairs (P1, P2, P3, P4, …)"
    wanted |= {(name, 1) for name in names}
    absent = {(name, seed) for name, seed in wanted if seed or name in names[:8]}
    assert _places(absent, wanted, names) == "8 of 12 pairs (P0, P1, P2, P3, …) and seeds of 4 more"
    assert _places({("P1", 0)}, wanted, names) == "P1 seed 0"


def test_equal_as_shown_is_equally_good(runs, dataset):
    values = {("lead", "none", 0, 0): 50.04, ("glc", "none", 0, 0): 49.96}
    values["shot_o", "none", 0, 0] = 40.0
    fill(runs, dataset, values)
    table = score_table(*board_of(runs), "h_score")
    assert [line.cells[0].best for line in table.lines] == [False, True, True]
    assert "**50.0**" in markdown(table)


def test_a_single_row_is_not_called_the_best(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): 50.0})
    assert not score_table(*board_of(runs), "h_score").lines[0].cells[0].best


def test_differences_are_paired_by_pair_and_seed(runs, dataset):
    plain = {(0, 0): 10.0, (0, 1): 20.0, (0, 2): 15.0, (1, 0): 30.0, (1, 1): 31.0, (1, 2): 38.0}
    gains = {(0, 0): 1.0, (0, 1): 2.0, (0, 2): 6.0, (1, 0): -1.0, (1, 1): -4.0, (1, 2): -1.0}
    fill(runs, dataset, {("lead", "none", *place): v for place, v in plain.items()})
    fill(runs, dataset, {("lead", "genmix", *p): v + gains[p] for p, v in plain.items()})
    finished(runs, dataset, "lead", "none", 7, [1.0, 90.0])  # nothing to pair it with
    setting, board = board_of(runs)
    (found,) = differences(board, "h_score")
    assert found.title == "LEAD + GenMix − LEAD"
    assert list(found.pair_means.values()) == pytest.approx([3.0, -2.0])
    assert list(found.seed_means.values()) == pytest.approx([0.0, -1.0, 2.5])
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
    (found,) = differences(board, "h_score", ["Pl2Da"])
    assert found.mean == pytest.approx(20.0)
    difference = difference_table(setting, board, "h_score", ["Pl2Da"])
    assert "Mean values without Pl2Da." in difference.notes
    with pytest.raises(ValueError, match="--leave-out: 'X' is not one of Da2Pl, Pl2Da"):
        write_report(runs, "T", left_out=["X"])


def test_one_pair_counts_its_seeds(runs, dataset):
    for seed, gain in enumerate((1.0, 2.0, -3.0)):
        fill(runs, dataset, {("lead", "none", 0, seed): 10, ("lead", "genmix", 0, seed): 10 + gain})
    (found,) = differences(board_of(runs)[1], "h_score")
    assert found.better == "2 of 3 seeds"


def test_rows_are_by_method_and_in_the_order_of_the_runs(runs, dataset):
    names = ("mixup", "genmix", "none", "cutmix")
    made = [finished(runs, dataset, m, a, 0, [1.0]) for m in ("lead", "source_only") for a in names]
    (board,) = boards(made).values()
    assert list(board) == [
        *("Source-only", "Source + Mixup", "Source + GenMix", "Source + CutMix"),
        *("LEAD", "LEAD + Mixup", "LEAD + GenMix", "LEAD + CutMix"),
    ]


def test_rows_are_called_what_their_sweep_calls_them(runs, dataset):
    def planned(run, pair, title):
        source, target = PAIRS[pair]
        name = ("Pl2Da", "Da2Pl")[pair]
        return Expected(
            source, target, name, "opda", "LEAD", "", title, 0, run.folder, "tiny", "shared"
        )

    slow = finished(runs, dataset, "lead", "none", 0, [1.0, 8.0], rate=0.1)
    fast = finished(runs, dataset, "lead", "none", 0, [1.0, 9.0], rate=0.2)
    later = replace(planned(fast, 1, "LEAD (fast)"), run_folder=runs / "later")
    plan = [planned(slow, 0, "LEAD"), planned(fast, 0, "LEAD (fast)"), later]
    ((setting, board),) = boards([slow, fast], plan).items()
    assert list(board) == ["LEAD", "LEAD (fast)"]
    table = score_table(setting, board, "h_score", plan)
    assert table.notes[-1] == "Not there: LEAD: Da2Pl; LEAD (fast): Da2Pl."
    # Where two sweeps call different things the same, they are told apart as without a sweep.
    same = [replace(one, row_title="LEAD") for one in plan]
    ((_, board),) = boards([slow, fast], same).items()
    assert list(board) == ["LEAD (adapt.rate=0.1)", "LEAD (adapt.rate=0.2)"]


def test_baselines_are_found_by_what_they_are(runs, dataset):
    for method in ("source_only", "lead"):
        for augment in ("none", "genmix"):
            fill(runs, dataset, {(method, augment, 0, 0): 10.0})
    finished(runs, dataset, "lead", "genmix", 0, [1.0, 9.0], rate=0.5)  # no plain LEAD of that rate
    titles = {one.title for one in differences(board_of(runs)[1], "h_score")}
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
    assert {one.title for one in every if one.is_between_augmentations} == {
        "LEAD + GenMix − LEAD + Mixup",
        "LEAD + GenMix − LEAD + CutMix",
    }
    assert {one.title: one.mean for one in every} == {
        "LEAD + Mixup − LEAD": 2,
        "LEAD + CutMix − LEAD": 3,
        "LEAD + GenMix − LEAD": 5,
        "LEAD + GenMix − LEAD + Mixup": 3,
        "LEAD + GenMix − LEAD + CutMix": 2,
    }


def test_other_training_is_no_baseline(runs, dataset):
    finished(runs, dataset, "lead", "none", 0, [1.0, 9.0], source={"train": {"rate": 2.0}})
    own = {"train": {"rate": 1.0, "budget": "steps"}}
    finished(runs, dataset, "lead", "genmix", 0, [1.0, 9.0], source=own)
    assert difference_table(*board_of(runs), "h_score") is None


def test_an_undefined_score_is_no_difference(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): None, ("lead", "genmix", 0, 0): 3.0})
    setting, board = board_of(runs)
    assert differences(board, "h_score") == []
    table = score_table(setting, board, "h_score")
    assert texts(table, "LEAD") == ["undefined"]


def test_what_most_variants_share_goes_without_saying(runs, dataset):
    for augment in ({}, {"prompts": "in-domain"}, {"weight": 0.5}):
        options = {"prompts": "cross-domain", "weight": 0.2, **augment}
        own = {"augment": {"name": "genmix", "options": options}}
        finished(runs, dataset, "lead", "genmix", 0, [1, 2], source=own)
    assert set(board_of(runs)[1]) == {
        "LEAD + GenMix",
        "LEAD + GenMix (prompts=in-domain)",
        "LEAD + GenMix (weight=0.5)",
    }


def test_no_row_is_lost_where_settings_are_left_out_at_their_defaults(runs, dataset):
    cosine = {"split": "cosine"}
    finished(runs, dataset, "lead", "none", 0, [1.0, 50.0], options=cosine)
    finished(runs, dataset, "lead", "none", 0, [1.0, 60.0], options=cosine, rate=0.2)
    finished(runs, dataset, "lead", "none", 0, [1.0, 70.0])  # norm, which goes without saying
    board = board_of(runs)[1]
    found = {title: row.results[0].score("h_score") for title, row in board.items()}
    assert found == {
        "LEAD": 70.0,
        "LEAD (split=cosine)": 50.0,
        "LEAD (split=cosine, adapt.rate=0.2)": 60.0,
    }


def test_what_all_share_is_told_where_it_is_unusual(runs, dataset):
    finished(runs, dataset, "lead", "none", 0, [1.0, 50.0], options={"split": "cosine"})
    assert list(board_of(runs)[1]) == ["LEAD (split=cosine)"]


def test_other_sources_are_told_over_the_whole_table(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, seed): 1.0 for seed in (0, 1)})
    fill(runs, dataset, {("glc", "none", 0, 0): 1.0})
    wide = {"images": {"crop_px": 96}}
    finished(runs, dataset, "source_only", "genmix", 0, [1.0], source=wide)
    assert list(board_of(runs)[1]) == ["Source + GenMix (crop_px=96)", "GLC", "LEAD"]


def test_what_only_augmented_sources_have_is_not_told(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): 1.0})
    own = {"train": {"rate": 1.0, "budget": "steps"}}
    finished(runs, dataset, "lead", "genmix", 0, [1, 2], source=own)
    assert list(board_of(runs)[1]) == ["LEAD", "LEAD + GenMix"]


def test_rows_that_nothing_tells_apart_have_their_hash(runs, dataset):
    for own in ({"a": 1, "x": 1}, {"a": 2, "x": 1}, {"a": 1}):
        finished(runs, dataset, "lead", "none", 0, [1, 2], source=own)
    one, two, three = sorted(board_of(runs)[1])
    assert one == "LEAD (a=2)"
    assert all(re.fullmatch(r"LEAD \[[0-9a-f]{10}\]", title) for title in (two, three))


def test_a_checkpoint_is_compared_with_itself(runs, dataset):
    for method, file, score in (
        ("source_only", "a", 10.0),
        ("lead", "a", 15.0),
        ("source_only", "b", 40.0),
        ("lead", "b", 41.0),
    ):
        own = {"augment": {"name": "checkpoint", "file": file}}
        scores = [score] if method == "source_only" else [1.0, score]
        finished(runs, dataset, method, "checkpoint", 0, scores, source=own)
    found = differences(board_of(runs)[1], "h_score")
    assert sorted(round(one.mean, 1) for one in found) == [1.0, 5.0]


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


def test_each_source_model_may_be_a_file_of_its_own(runs, dataset):
    for pair, file in zip(PAIRS, "ab", strict=True):
        own = {"augment": {"name": "checkpoint", "file": file}}
        finished(runs, dataset, "lead", "checkpoint", 0, [1, 2], pair, source=own)
    assert list(board_of(runs)[1]) == ["LEAD, from a given checkpoint"]
    own = {"augment": {"name": "checkpoint", "file": "c"}}
    finished(runs, dataset, "lead", "checkpoint", 0, [1, 2], PAIRS[0], source=own)
    assert len(board_of(runs)[1]) == 3, "two of one pair and seed are told apart by their files"


def test_pda_has_accuracy_alone(runs, dataset):
    fill(runs, dataset, {("lead", "none", pair, 0): 40.0 for pair in (0, 1)}, "pda")
    tables = setting_tables(*board_of(runs))
    assert tables["accuracy"].title == "Tiny, PDA: accuracy"
    assert texts(tables["accuracy"], "LEAD") == ["40.0", "40.0", "40.0"]
    assert not {"h_score", "known_acc", "auroc"} & tables.keys()


def test_open_set_tables_and_the_oracle(runs, dataset):
    for pair in PAIRS:
        finished(runs, dataset, "lead", "none", 0, [70.0, 50.0, 40.0], pair)
        finished(runs, dataset, "source_only", "none", 0, [30.0], pair)
    setting, board = board_of(runs)
    assert list(setting_tables(setting, board)) == [
        *("h_score", "difference", "summary", "known_acc", "unknown_acc", "auroc", "oracle"),
        *("Pl2Da", "Da2Pl"),
    ]
    oracle = oracle_table(setting, board)
    assert [line.title for line in oracle.lines] == ["LEAD"]
    assert texts(oracle, "LEAD") == ["50.0", "50.0"], "epoch 0 is no epoch of adaptation"


def test_csv_has_a_line_a_run(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): 12.345678, ("lead", "none", 1, 0): None})
    rows = list(csv.DictReader(io.StringIO(csv_text(boards(find_runs(runs))))))
    assert [(row["pair"], row["seed"], row["h_score"]) for row in rows] == [
        ("Pl2Da", "0", "12.345678"),
        ("Da2Pl", "0", ""),
    ]
    assert rows[0]["row"] == "LEAD"
    assert rows[0]["accuracy"] == ""


SMALL = Table(
    "A & B",
    ("x_1", "average"),
    (Line("50% {of} #1", (Cell("1.0 ± 0.2", True), Cell("–"))),),
    ("A note: 100 $.",),
    (Line("LEAD", (Cell("2.0"), Cell("3.0"))),),
    "a paper",
)


def test_every_class_is_in_a_csv_of_its_own(runs, dataset):
    run = finished(runs, dataset, "lead", "none", 0, [10.0, 20.0])
    assert per_class_csv(*board_of(runs)) == ""  # as of older runs
    run.log(kind="evaluate", epoch=1, h_score=20.0, per_class={"bar": 30.0, "ring": None})
    text = per_class_csv(*board_of(runs))
    assert text.splitlines() == [
        "pair,row,seed,class,accuracy",
        "Pl2Da,LEAD,0,bar,30.0",
        "Pl2Da,LEAD,0,ring,",
    ]
    write_report(runs, "T", ["csv"])
    assert (runs / "tables" / "tiny_opda_per_class.csv").read_text() == text


def test_latex_is_whole():
    text = latex(SMALL)
    assert r"50\% \{of\} \#1 & \textbf{1.0 $\pm$ 0.2} & --" in text
    begun, ended = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
    assert begun == ended[::-1] == ["table", "tabular"]
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    cells = [len(re.findall(r"(?<!\\)&", row)) for row in rows if "multicolumn" not in row]
    assert set(cells) == {len(SMALL.columns)}
    assert text.index("50") < text.index("published: a paper") < text.index("LEAD")


def test_latex_escapes():
    assert latex_text(r"a\b~^") == r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}"
    assert latex_text("→ −1") == r"$\to$ $-$1"


def test_markdown_sets_published_rows_apart():
    lines = markdown(SMALL).splitlines()
    assert lines[0] == "## A & B"
    assert lines[4:7] == [
        "| 50% {of} #1 | **1.0 ± 0.2** | – |",
        "| *a paper:* |  |  |",
        "| LEAD, *published* | 2.0 | 3.0 |",
    ]


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_a_terminal_shows_every_cell(width):
    columns = tuple(f"P{k}" for k in range(12))
    cells = [[f"{10 * row + k}.0 ± 1.0" for k in range(12)] for row in range(4)]
    lines = tuple(Line(f"Row number {row}", tuple(map(Cell, own))) for row, own in enumerate(cells))
    text = terminal(Table("T", columns, lines, ("A note that is long. " * 6,)), width)
    assert all(cell in text for own in cells for cell in own)
    assert max(map(len, text.splitlines())) <= width
