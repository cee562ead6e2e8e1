from helpers.boards import board_of, fill, texts
from helpers.made_runs import PAIRS, finished

from uda.reports.tables.scores import oracle_table
from uda.reports.tables.setting import setting_tables


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
