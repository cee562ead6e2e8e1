import csv
import io

from helpers.boards import board_of, fill
from helpers.made_runs import finished

from uda.reports.rows import boards
from uda.reports.tables.csv_files import csv_text, per_class_csv
from uda.reports.writing import write_report
from uda.runs.folder import find_runs


def test_csv_has_a_line_a_run(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): 12.345678, ("lead", "none", 1, 0): None})
    rows = list(csv.DictReader(io.StringIO(csv_text(boards(find_runs(runs))))))
    assert [(row["pair"], row["seed"], row["h_score"]) for row in rows] == [
        ("Pl2Da", "0", "12.345678"),
        ("Da2Pl", "0", ""),
    ]
    assert rows[0]["row"] == "LEAD"
    assert rows[0]["accuracy"] == ""


def test_every_class_is_in_a_csv_of_its_own(runs, dataset):
    run = finished(runs, dataset, "lead", "none", 0, [10.0, 20.0])
    assert per_class_csv(board_of(runs)[1]) == ""  # as of older runs
    run.log(kind="evaluate", epoch=1, h_score=20.0, per_class={"bar": 30.0, "ring": None})
    text = per_class_csv(board_of(runs)[1])
    assert text.splitlines() == [
        "pair,row,seed,class,accuracy",
        "Pl2Da,LEAD,0,bar,30.0",
        "Pl2Da,LEAD,0,ring,",
    ]
    write_report(runs, "T", ["csv"])
    assert (runs / "tables" / "tiny_opda_per_class.csv").read_text() == text
