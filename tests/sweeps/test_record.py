from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
import yaml
from helpers.made_runs import finished

from uda.reports.rows import boards
from uda.runs.folder import open_run
from uda.sweeps import record
from uda.sweeps.record import Expected, read_plan, record_path, runs_and_plan, write_plan


def expected(runs: Path, pair: str = "Pl2Da", seed: int = 0, row: str = "LEAD") -> Expected:
    folder = runs / f"lead-{pair}-{row}-s{seed}"
    return Expected("Plain", "Dark", pair, "opda", row, "", row, seed, folder, "", "shared", "opda")


def test_what_is_written_is_read_and_the_disk_says_what_is_done(tmp_path):
    assert read_plan(tmp_path) is None
    rows = [expected(tmp_path, seed=seed) for seed in (0, 1)]
    write_plan(tmp_path, "opda", {"seed": 0}, rows)
    plan = read_plan(tmp_path)
    assert plan is not None
    assert plan.expected == rows
    assert plan.experiments == {"opda": {"seed": 0}}
    assert [run.done for run in plan.expected] == [False, False]
    rows[1].run_folder.mkdir()
    (rows[1].run_folder / "error.txt").write_text("no disk\ntraceback\n")
    assert [run.error for run in plan.expected] == ["", "no disk"]
    (rows[1].run_folder / "done").write_text("")
    assert [run.done for run in plan.expected] == [False, True]
    assert plan.expected[1].error == ""


def test_the_runs_can_be_moved(tmp_path):
    write_plan(tmp_path / "a", "opda", {}, [expected(tmp_path / "a")])
    (tmp_path / "a").rename(tmp_path / "b")
    plan = read_plan(tmp_path / "b")
    assert plan is not None
    assert plan.expected == [expected(tmp_path / "b")]


def test_a_run_of_two_sweeps_stands_there_once_and_a_sweep_is_written_over(tmp_path):
    write_plan(tmp_path, "opda", {}, [expected(tmp_path), expected(tmp_path, seed=1)])
    write_plan(tmp_path, "baselines", {}, [expected(tmp_path), expected(tmp_path, row="GLC")])
    plan = read_plan(tmp_path)
    assert plan is not None
    assert [(run.row_title, run.seed) for run in plan.expected] == [
        ("LEAD", 0),
        ("GLC", 0),
        ("LEAD", 1),
    ]
    assert set(plan.experiments) == {"opda", "baselines"}
    write_plan(tmp_path, "opda", {"seed": 3}, [])
    plan = read_plan(tmp_path)
    assert plan is not None
    assert len(plan.expected) == 2


def test_a_run_that_two_sweeps_call_differently_is_called_what_it_is(tmp_path):
    run = finished(tmp_path, "office_home", "lead", "none", 0, [1.0, 2.0], ("Art", "Clipart"))
    row = replace(expected(tmp_path), run_folder=run.folder)
    write_plan(tmp_path, "a", {}, [replace(row, row_title="input")])
    ((_, board),) = boards(*plan_of(tmp_path)).items()
    assert list(board) == ["input"]
    write_plan(tmp_path, "b", {}, [replace(row, row_title="no edit")])
    runs, (row,) = plan_of(tmp_path)
    assert row.other_titles == ("no edit",)
    ((_, board),) = boards(runs, [row]).items()
    assert list(board) == ["LEAD"]
    record = record_path(tmp_path, "b").read_text()
    write_plan(tmp_path, "b", {}, [row])
    assert "other_titles" not in record + record_path(tmp_path, "b").read_text()


def plan_of(runs):
    all_runs, plan = runs_and_plan(runs)
    return all_runs, plan.expected


def test_a_sweep_done_part_by_part_is_one(tmp_path):
    rows = [expected(tmp_path, seed=seed) for seed in (0, 1, 2)]
    more = expected(tmp_path, "Da2Pl", 3)

    def write(pairs, seeds, rows, **other):
        sweep = {"pairs": pairs, "seeds": seeds, "methods": ["lead"]}
        write_plan(tmp_path, "opda", {"train": {"steps": 9}, "sweep": sweep, **other}, rows)
        plan = read_plan(tmp_path)
        assert plan is not None
        return plan

    write(["Pl2Da"], [0, 1, 2], rows)
    assert write(["Pl2Da"], [1], rows[1:2], runs="elsewhere", threads=2).expected == rows
    plan = write(["Da2Pl"], [3], [more])
    assert plan.expected == [*rows, more]
    sweep = plan.experiments["opda"]["sweep"]
    assert sweep == {"pairs": ["Pl2Da", "Da2Pl"], "seeds": [0, 1, 2, 3], "methods": ["lead"]}
    assert write(["all"], [0], rows[:1]).experiments["opda"]["sweep"]["pairs"] == ["all"]
    # Other runs are another sweep.
    assert write(["Pl2Da"], [1], rows[1:2], train={"steps": 8}).expected == rows[1:2]
    record_path(tmp_path, "opda").write_text("expected: 3")
    assert write(["Pl2Da"], [0], rows[:1]).expected == rows[:1]


@pytest.mark.parametrize("text", ["expected: 3", "expected: [{source: a}]", "[1]", "a: [", "x: 1"])
def test_a_broken_record_is_named(tmp_path, text):
    record_path(tmp_path, "opda").parent.mkdir()
    record_path(tmp_path, "opda").write_text(text)
    with pytest.raises(ValueError, match="opda.yaml"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "folder", ["../x", "/tmp/x", "a/b", "..", "", ".", "x/", 3, None, ["x"], "a/../b"]
)
def test_a_record_whose_run_lies_elsewhere_is_refused(tmp_path, folder):
    write_plan(tmp_path, "opda", {"seed": 0}, [expected(tmp_path)])
    path = record_path(tmp_path, "opda")
    record = yaml.safe_load(path.read_text())
    record["expected"][0]["run_folder"] = folder
    path.write_text(yaml.safe_dump(record))
    with pytest.raises(ValueError, match=r"opda.yaml: not a sweep's record"):
        runs_and_plan(tmp_path, "opda")
    with pytest.raises(ValueError, match=r"opda.yaml: not a sweep's record"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "experiment",
    [
        [],
        {"data": []},
        {"data": {"dataset": 3}},
        {"sweep": "x"},
        {"sweep": {"seeds": 3}},
        {"sweep": {"published": "x"}},
    ],
)
def test_a_record_of_no_experiment_is_refused(tmp_path, experiment):
    write_plan(tmp_path, "opda", {}, [])
    record_path(tmp_path, "opda").write_text(
        yaml.safe_dump({"experiment": experiment, "expected": []})
    )
    with pytest.raises(ValueError, match=r"opda.yaml: not a sweep's record"):
        read_plan(tmp_path)


def test_the_runs_of_one_sweep(tmp_path):
    lead = [finished(tmp_path, "tiny", "lead", "none", seed, [1.0]) for seed in (0, 1)]
    source = open_run(tmp_path, "train", {"stage": "train", "data": {"scenario": "opda"}})
    source.start()
    row = replace(expected(tmp_path), run_folder=lead[0].folder, sweep="first")
    write_plan(tmp_path, "first", {"seed": 0}, [row])
    write_plan(tmp_path, "second", {}, [expected(tmp_path, seed=1)])
    runs, plan = runs_and_plan(tmp_path)
    assert len(runs) == 3
    assert plan == read_plan(tmp_path)
    runs, plan = runs_and_plan(tmp_path, "first")
    assert [run.folder for run in runs] == [lead[0].folder]
    assert plan is not None
    assert plan.expected == [row]
    assert list(plan.experiments) == ["first"]
    source.mark_done()  # its pictures are shown
    assert [run.folder for run in runs_and_plan(tmp_path, "first")[0]] == [
        lead[0].folder,
        source.folder,
    ]
    with pytest.raises(ValueError, match="no sweep 'third'; it has first, second"):
        runs_and_plan(tmp_path, "third")


def test_runs_come_in_the_order_of_their_sweep(tmp_path):
    runs = [finished(tmp_path, "tiny", "lead", "none", 0, [1.0], rate=rate) for rate in (1, 2, 3)]
    for order in (runs, runs[::-1]):
        rows = [replace(expected(tmp_path), run_folder=run.folder) for run in order]
        write_plan(tmp_path, "single", {}, rows)
        for sweep in ("single", ""):
            assert runs_and_plan(tmp_path, sweep)[0] == order


def test_parts_of_a_sweep_that_start_at_the_same_time_are_all_kept(tmp_path, monkeypatch):
    def start(seed):
        rows = [expected(tmp_path, seed=seed)]
        write_plan(tmp_path, "opda", {"sweep": {"seeds": [seed], "pairs": ["all"]}}, rows)

    start(0)
    other, read = Thread(target=start, args=(2,)), record._read_record

    def read_and_wait(path):
        before = read(path)
        if not other.ident:
            other.start()
            other.join(0.3)
        return before

    monkeypatch.setattr(record, "_read_record", read_and_wait)
    start(1)
    other.join()
    plan = read_plan(tmp_path)
    assert plan is not None
    assert sorted(run.seed for run in plan.expected) == [0, 1, 2]
