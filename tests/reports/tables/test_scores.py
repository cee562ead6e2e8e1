from helpers.boards import board_of, fill, texts
from helpers.made_runs import PAIRS, finished

from uda.reports.tables.scores import grid_table, score_table, summary_table
from uda.reports.tables.text import markdown


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
    for column, score in enumerate(scores):
        whole = score_table(setting, board, score)
        for row in board:
            assert texts(table, row)[column] == texts(whole, row)[-1]
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


def test_a_grid_has_a_line_for_each_method_and_a_column_for_each_augmentation(runs, dataset):
    values = {("lead", "none"): 10.0, ("lead", "genmix"): 30.0, ("source_only", "none"): 8.0}
    for pair in (0, 1):
        fill(runs, dataset, {(*key, pair, 0): value + pair for key, value in values.items()})
        pictures = PAIRS[pair]
        finished(runs, dataset, "lead", "none", 0, [40.0 + pair], pictures, answer={"views": 6})
    setting, board = board_of(runs)
    table = grid_table(setting, board, "h_score")
    assert table.columns == ("no augmentation", "GenMix")
    assert [line.title for line in table.lines] == ["Source-only", "LEAD", "LEAD, 6 views"]
    assert texts(table, "LEAD") == ["10.5", "30.5"]
    assert texts(table, "LEAD, 6 views") == ["40.5", "–"]
    without = grid_table(setting, board, "h_score", left_out=["Da2Pl"])
    assert texts(without, "LEAD") == ["10.0", "30.0"]
    assert "Mean values without Da2Pl." in without.notes


def test_no_grid_where_two_rows_share_a_cell(runs, dataset):
    values = {("lead", "none"): 10.0, ("lead", "genmix"): 30.0, ("source_only", "none"): 8.0}
    fill(runs, dataset, {(*key, 0, 0): value for key, value in values.items()})
    assert grid_table(*board_of(runs), "h_score")
    finished(runs, dataset, "lead", "genmix", 0, [1.0, 9.0], rate=0.5)
    assert grid_table(*board_of(runs), "h_score") is None
