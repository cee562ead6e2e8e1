"""`uda.results`: finished runs as a pandas DataFrame."""

import shutil
import subprocess
import sys

import pytest
from helpers.boards import board_of, fill
from helpers.in_domain_runs import finished as finished_in_domain
from helpers.made_runs import PAIRS, finished

import uda
from uda.cli.main import main
from uda.reports.differences import differences
from uda.reports.frame import per_class_csv
from uda.reports.writing import write_report
from uda.runs.folder import open_run
from uda.sweeps.packing import pack

pd = pytest.importorskip("pandas")


def test_a_row_is_an_evaluated_epoch_of_a_run(runs, dataset):
    run = finished(runs, dataset, "lead", "genmix", 3, [40.0, 60.0, 50.0])
    frame = uda.results(runs)
    assert frame.h_score.tolist() == [40.0, 60.0, 50.0]
    assert frame.epoch.tolist() == [0, 1, 2]
    assert frame.is_result.tolist() == [False, False, True], "the last, not the best"
    row = frame.iloc[1]
    assert (row.run, row.hash) == (run.folder.name, run.hash)
    assert (row.scenario, row.source, row.target, row.pair) == ("opda", "Plain", "Dark", "Pl2Da")
    assert (row.method, row.augmentation, row.answer) == ("lead", "genmix", "")
    assert (row.title, row.seed) == ("LEAD + GenMix", 3)
    assert (row.known_acc, row.unknown_acc, row.auroc) == (10.0, 20.0, 60.0)


def test_settings_are_columns_called_as_in_the_configuration(runs, dataset):
    finished(runs, dataset, "lead", "none", 0, [1.0], rate=0.3, options={"rho": 0.7})
    answer = {"views": 6, "score": "cosine", "threshold": "two-means"}
    finished(runs, dataset, "source_only", "none", 0, [2.0], answer=answer)
    frame = uda.results(runs).set_index("method")
    assert frame["train.rate"].tolist() == [1.0, 1.0]
    assert frame.loc["lead", "adapt.rate"] == 0.3
    assert frame.loc["lead", "adapt.options.rho"] == 0.7
    assert pd.isna(frame.loc["source_only", "adapt.rate"])
    assert frame["answer.views"].to_dict() == {"lead": 1, "source_only": 6}
    assert frame.loc["source_only", "answer"] == "6 views, cosine, two-means"


def test_scores_that_are_undefined_or_of_other_scenarios_are_nan(runs, dataset):
    finished(runs, dataset, "lead", "none", 0, [None])
    finished(runs, dataset, "lead", "none", 0, [70.0], scenario="pda")
    frame = uda.results(runs).set_index("scenario")
    assert pd.isna(frame.loc["opda", "h_score"])
    assert pd.isna(frame.loc["opda", "accuracy"])
    assert frame.loc["pda", "accuracy"] == 70.0
    assert pd.isna(frame.loc["pda", "h_score"])


def test_no_column_holds_lists_or_scores_by_class(runs, dataset):
    run = finished(runs, dataset, "lead", "none", 0, [1.0])
    run.log(kind="evaluate", epoch=0, h_score=1.0, per_class={"a": 2.0}, h_curve=[1.0])
    assert not {c for c in uda.results(runs).columns if c.startswith(("per_class", "h_curve"))}


def test_training_in_one_domain_has_the_epoch_that_validation_chose(tmp_path):
    finished_in_domain(tmp_path, top1=55.0)
    frame = uda.results(tmp_path)
    assert frame.epoch.tolist() == [1, 2]
    assert frame.top1.tolist() == [54.0, 55.0]
    assert frame.is_result.tolist() == [False, True]
    assert frame["fgsm_error.8/255"].tolist() == [80.0, 80.0]
    assert frame[["scenario", "target", "pair", "method", "answer"]].eq("").all(axis=None)


def test_what_training_in_one_domain_took_stands_beside_its_scores(tmp_path):
    run = finished_in_domain(tmp_path, top1=50.0)
    run.log(kind="validate", epoch=2, top1=61.0)
    run.log(kind="prepare", seconds=4.0)
    frame = uda.results(tmp_path)
    assert frame.training_seconds.tolist() == [10.0, 10.0]
    assert frame.edit_seconds.tolist() == [4.0, 4.0]
    assert frame.validation_top1.tolist()[-1] == 61.0


def test_the_reports_csv_files_have_a_line_a_run_without_its_settings(runs, dataset):
    fill(runs, dataset, {("lead", "none", 0, 0): 12.345678, ("lead", "none", 1, 0): None})
    finished_in_domain(runs, 50.123456, images_per_class=5)
    finished_in_domain(runs)
    write_report(runs, "T", ["csv"])
    table = pd.read_csv(runs / "tables" / "tiny_opda.csv")
    assert table.pair.tolist() == ["Pl2Da", "Da2Pl"]
    assert table.h_score.tolist()[0] == 12.345678
    assert pd.isna(table.h_score[1])
    assert not [name for name in table if name.startswith(("train.", "adapt."))]
    table = pd.read_csv(runs / "tables" / "in_domain.csv")
    assert table.top1.tolist()[0] == 50.123456
    assert table.table.tolist() == [
        "Flowers-102, in one domain (images_per_class=5)",
        "Flowers-102, in one domain",
    ]


def test_every_class_is_in_a_csv_of_its_own(runs, dataset):
    run = finished(runs, dataset, "lead", "none", 0, [10.0, 20.0])
    assert per_class_csv(board_of(runs)[1]) == ""  # as of older runs
    run.log(kind="evaluate", epoch=1, h_score=20.0, per_class={"bar": 30.0, "ring": None})
    text = per_class_csv(board_of(runs)[1])
    assert text.splitlines() == [
        "pair,title,seed,class,accuracy",
        "Pl2Da,LEAD,0,bar,30.0",
        "Pl2Da,LEAD,0,ring,",
    ]
    write_report(runs, "T", ["csv"])
    assert (runs / "tables" / "tiny_opda_per_class.csv").read_text() == text


def test_a_folder_that_was_copied_counts_once(runs, dataset):
    run = finished(runs, dataset, "lead", "none", 0, [1.0])
    finished(runs, dataset, "lead", "genmix", 0, [3.0])
    shutil.copytree(run.folder, run.folder.with_name("copy-of-" + run.folder.name))
    (difference,) = differences(board_of(runs)[1], "h_score")
    assert difference.mean == 2.0


def test_runs_that_have_not_finished_are_left_out(runs, dataset):
    finished(runs, dataset, "lead", "none", 0, [1.0])
    started = finished(runs, dataset, "lead", "none", 1, [2.0])
    (started.folder / "done").unlink()
    assert uda.results(runs).seed.tolist() == [0]


def test_packed_runs_give_the_same_frame(runs, dataset, tmp_path):
    for pair in PAIRS:
        finished(runs, dataset, "lead", "none", 0, [1.0, 2.0], pair)
    pack([runs], tmp_path / "all.jsonl")
    pd.testing.assert_frame_equal(uda.results(tmp_path / "all.jsonl"), uda.results(str(runs)))
    with pytest.raises(ValueError, match="--sweep: .*all.jsonl has no sweep 'mine'"):
        uda.results(tmp_path / "all.jsonl", "mine")


def test_the_table_command_writes_the_frame(runs, dataset, tmp_path, capsys):
    finished(runs, dataset, "lead", "none", 0, [1.0, 2.0])
    out = tmp_path / "runs.csv"
    assert main(["table", str(runs), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: 2 lines\n"
    frame = pd.read_csv(out)
    assert frame.columns.tolist() == uda.results(runs).columns.tolist()
    assert frame.h_score.tolist() == [1.0, 2.0]


def test_what_has_no_results_is_named(tmp_path):
    with pytest.raises(ValueError, match="gone: no such folder of runs"):
        uda.results(tmp_path / "gone")
    with pytest.raises(ValueError, match="gone.jsonl: no such file; `uda pack` makes such files"):
        uda.results(tmp_path / "gone.jsonl")
    with pytest.raises(ValueError, match="holds no runs"):
        uda.results(tmp_path)
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(ValueError, match="notes.txt: line 1 is not a packed run"):
        uda.results(tmp_path / "notes.txt")


def test_a_folder_of_unfinished_runs_is_named(tmp_path):
    config = {"stage": "train", "data": {"source": "a", "scenario": "opda"}, "seed": 0}
    open_run(tmp_path, "train-a-s0", config).start()
    with pytest.raises(ValueError, match=f"{tmp_path}: no adaptation in it has finished"):
        uda.results(tmp_path)


def test_importing_uda_imports_no_pandas():
    code = "import sys, uda, uda.cli.main; print({'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
