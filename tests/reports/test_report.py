import subprocess
import warnings
from dataclasses import replace

import pytest
from helpers.made_runs import PAIRS, finished
from helpers.tiny import make_dataset
from PIL import Image

from genmix_aug.files import host
from uda.reports.results import Pair
from uda.reports.sections import _file_name
from uda.reports.writing import write_report
from uda.runs.folder import open_run
from uda.sweeps.record import setting_name


def markdown_of(runs):
    """report.md of the runs."""
    write_report(runs, "Title", ["md"])
    return (runs / "report.md").read_text()


def test_last_epoch_counts_and_the_oracle_stands_beside_it(tmp_path, dataset):
    runs = tmp_path / "runs"
    finished(runs, dataset, "lead", "none", 0, [70, 50, 40])
    finished(runs, dataset, "lead", "none", 1, [70, 44, 44])
    finished(runs, dataset, "source_only", "none", 0, [30])
    text = markdown_of(runs)
    rows = [line for line in text.splitlines() if line.startswith(("| LEAD |", "| Source"))]
    # Epoch 0 is the source model: no epoch of adaptation, so the oracle cannot choose it.
    assert rows == [
        # Of other seeds, so none is marked as the best.
        "| Source-only | 30.0 | 10.0 | 20.0 | 60.0 | – | 0 |",
        "| LEAD | 42.0 ± 2.8 | 10.0 ± 0.0 | 20.0 ± 0.0 | 60.0 ± 0.0 | 47.0 ± 4.2 | 0 1 |",
    ]
    assert "by epoch](figures/tiny_opda_Plain_Dark_epochs.png)" in text
    assert (runs / "figures" / "tiny_opda_Plain_Dark_epochs.png").is_file()
    assert "| LEAD − Source-only | +10.0 | 1 of 1 pair |" in text, "of the seed that both have"


def test_runs_that_differ_in_more_than_the_seed_are_rows_of_their_own(tmp_path, dataset):
    runs = tmp_path / "runs"
    finished(runs, dataset, "lead", "none", 0, [1, 40])
    finished(runs, dataset, "lead", "none", 1, [1, 42])
    finished(runs, dataset, "lead", "none", 0, [1, 10], rate=0.2)
    text = markdown_of(runs)
    assert "| LEAD (adapt.rate=0.1) | 41.0 ± 1.4 |" in text
    assert "| LEAD (adapt.rate=0.2) | 10.0 |" in text


def test_classes_left_out_are_named(tmp_path, dataset):
    run = finished(tmp_path / "runs", dataset, "lead", "none", 0, [1])
    run.log(
        kind="evaluate",
        epoch=1,
        h_score=2.0,
        known_acc=1.0,
        unknown_acc=1.0,
        empty_classes=["cross"],
    )
    assert "without a picture, left out: cross." in markdown_of(tmp_path / "runs")


def test_an_undefined_score_is_said(tmp_path, dataset):
    finished(tmp_path / "runs", dataset, "lead", "none", 0, [None, None])
    assert "| LEAD | undefined | 10.0 | 20.0 | 60.0 | – | 0 |" in markdown_of(tmp_path / "runs")


def test_several_pairs_share_a_table_and_figures(tmp_path, dataset):
    runs = tmp_path / "runs"
    for pair in PAIRS:
        for augment, last in (("none", 20.0), ("genmix", 30.0)):
            finished(runs, dataset, "lead", augment, 0, [10.0, last], pair)
    text = markdown_of(runs)
    assert "| LEAD + GenMix | **30.0** | **30.0** | **30.0** |" in text
    assert "## Tiny, Plain → Dark, OPDA" in text, "few pairs have a table each, too"
    for name in ("epochs", "differences"):
        assert f"(figures/tiny_opda_{name}.png)" in text
        assert (runs / "figures" / f"tiny_opda_{name}.png").is_file()


def test_formats_are_chosen(tmp_path, dataset):
    runs = tmp_path / "runs"
    finished(runs, dataset, "lead", "none", 0, [1, 2])
    text = write_report(runs, "T", ["csv", "tex"])
    assert {path.name for path in (runs / "tables").iterdir()} == {
        "tiny_opda.csv",
        "tiny_opda.tex",
    }
    assert not (runs / "report.md").exists()
    assert not (runs / "report.html").exists()
    assert str(runs / "tables" / "tiny_opda.csv") in text
    with pytest.raises(ValueError, match="--formats: 'pdf' is not one of md, tex, csv, html"):
        write_report(runs, "T", ["pdf"])


def test_unfinished_runs_are_named_not_counted(tmp_path, dataset):
    runs = tmp_path / "runs"
    finished(runs, dataset, "lead", "none", 0, [1, 2])
    half = finished(runs, dataset, "lead", "none", 1, [1, 3])
    (half.folder / "done").unlink()
    text = markdown_of(runs)
    assert "| LEAD | 2.0 | " in text
    assert half.folder.name in text
    (runs / "lead-none-s0").mkdir()  # a folder that is no run
    write_report(runs, "T", ["csv"])


def test_a_finished_run_that_lost_its_last_scores_is_named(tmp_path, dataset):
    run = finished(tmp_path / "runs", dataset, "lead", "none", 0, [40.0, 50.0, 45.0])
    config = {**run.config, "adapt": {**run.config["adapt"], "epochs": 3}}
    short = open_run(tmp_path / "others", "lead", config)
    for line in run.metrics():
        short.log(**line)
    short.mark_done()
    with pytest.raises(ValueError, match=f"{short.folder}/metrics.jsonl: the last epoch's scores"):
        write_report(tmp_path / "others", "Lost")
    (run.folder / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="delete the run's folder and make it again"):
        write_report(tmp_path / "runs", "Empty")
    with pytest.raises(ValueError, match="--formats: names none of md"):
        write_report(tmp_path / "runs", "None", [])


def test_nothing_finished_is_an_error(tmp_path, dataset):
    half = finished(tmp_path / "runs", dataset, "lead", "none", 0, [1])
    (half.folder / "done").unlink()
    with pytest.raises(ValueError, match="no adaptation in it has finished"):
        write_report(tmp_path / "runs", "T")


def test_a_domain_that_is_gone_is_named(tmp_path, dataset):
    finished(tmp_path / "runs", dataset, "lead", "none", 0, [1], ("Plain", "Gone"))
    with pytest.raises(ValueError, match="its domain 'Gone' is none of Tiny's any more"):
        write_report(tmp_path / "runs", "T")


def test_dataset_files_move_with_their_runs(tmp_path):
    moved_with_them = make_dataset(tmp_path / "runs" / "datasets", per_class=1)
    finished(tmp_path / "runs", moved_with_them, "lead", "none", 0, [1, 2])
    moved = (tmp_path / "runs").rename(tmp_path / "moved")
    write_report(moved, "T", ["md"])
    assert "## Tiny" in (moved / "report.md").read_text()
    (moved / "datasets" / "tiny.yaml").unlink()
    with pytest.raises(ValueError, match=r"moved/lead-.*: its dataset's file .* is not there"):
        write_report(moved, "T")


def test_a_datasets_name_may_hold_dots(tmp_path):
    dataset = make_dataset(tmp_path, per_class=1).rename(tmp_path / "our.things.yaml")
    for scenario in ("opda", "pda"):
        finished(tmp_path / "runs", dataset, "lead", "none", 0, [1, 2], scenario=scenario)
    write_report(tmp_path / "runs", "T", ["csv"])
    names = sorted(path.name for path in (tmp_path / "runs" / "tables").iterdir())
    assert names == ["our.things_opda.csv", "our.things_pda.csv"]


def test_a_strangers_names_lead_to_no_file_elsewhere():
    pair = Pair("a", "../../b", "AB")
    assert _file_name("x", pair, "epochs") == "x_a_.._.._b_epochs.png"
    assert "/" not in setting_name("x", "../../y", "shared")
    assert len(_file_name("x" * 200, replace(pair, source="y" * 200), "epochs").encode()) < 255


def test_what_a_killed_report_left_is_removed(tmp_path, dataset):
    runs = tmp_path / "runs"
    finished(runs, dataset, "lead", "none", 0, [1])
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = runs / "figures" / f".0a1b2c3d.{host()}-{ended.pid}.tmp.png"
    left.parent.mkdir()
    left.write_bytes(b"half")
    markdown_of(runs)
    assert not left.exists()


def test_the_learning_curves_have_room_beside_many_long_names(runs, dataset):
    for pair in PAIRS:
        for rho in range(20):
            options = {"rho": rho / 100, "con_weight": 0.25}
            finished(runs, dataset, "lead", "genmix", 0, [1.0, 2.0], pair, options=options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib's: no room for the axes
        write_report(runs, "T", ["md"])
    drawn = Image.open(runs / "figures" / "tiny_opda_epochs.png")
    assert drawn.height > 144 * 20 * 0.2, "a line for each name"
