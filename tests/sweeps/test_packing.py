import json
import shutil
from pathlib import Path

import pytest
from helpers.in_domain_runs import AUGMENT
from helpers.in_domain_runs import finished as in_domain
from helpers.made_runs import PAIRS, finished
from helpers.tiny import make_dataset

from uda.cli.main import main
from uda.reports.writing import write_report
from uda.runs.folder import find_runs, open_run
from uda.runs.hashing import config_hash
from uda.sweeps.packing import pack, unpack
from uda.sweeps.record import Expected, read_plan, write_plan


@pytest.fixture
def runs(tmp_path):
    dataset = make_dataset(tmp_path, per_class=1)
    folder = tmp_path / "runs"
    for seed in (0, 1):
        for pair in PAIRS:
            finished(folder, dataset, "source_only", "none", seed, [40.123456789 + seed], pair)
            finished(folder, dataset, "lead", "none", seed, [40.0, 50.0, 45.0 + seed], pair)
    write_plan(folder, "opda", {"seed": 3}, [])
    return folder


def tables(runs):
    write_report(runs, "Same", ["md", "tex"])
    return {path.name: path.read_text() for path in sorted((runs / "tables").iterdir())}


def test_unpacked_runs_make_the_same_tables(runs, tmp_path, capsys):
    packed = tmp_path / "results" / "all.jsonl"
    assert main(["pack", str(runs), "--out", str(packed)]) == 0
    assert capsys.readouterr().out == f"wrote {packed}: 8 runs\n"
    assert main(["unpack", str(packed), str(tmp_path / "back")]) == 0
    assert f"wrote 8 runs into {tmp_path / 'back'}; 0 were there already" in capsys.readouterr().out
    assert tables(tmp_path / "back") == tables(runs)
    assert read_plan(tmp_path / "back") == read_plan(runs)
    again = tmp_path / "again.jsonl"
    pack([tmp_path / "back"], again)
    assert again.read_text() == packed.read_text()


def test_in_domain_runs_too(tmp_path):
    in_domain(tmp_path / "runs", 50.0)
    in_domain(tmp_path / "runs", 60.0, augment={**AUGMENT, "name": "mixup"})
    pack([tmp_path / "runs"], tmp_path / "p.jsonl")
    unpack(tmp_path / "p.jsonl", tmp_path / "back")
    assert tables(tmp_path / "back") == tables(tmp_path / "runs")


def test_what_is_kept(runs, tmp_path):
    unfinished = open_run(runs, "lead-x", {"stage": "adapt"})
    unfinished.log(kind="evaluate", epoch=0)
    source = open_run(runs, "train-x", {"stage": "train", "data": {"scenario": "opda"}})
    source.start()
    source.mark_done()
    run = next(run for run in find_runs(runs) if run.config["stage"] == "adapt" and run.is_done)
    (run.folder / "criteria.json").write_text('{"entropy": [0.123456789, 2.0]}')
    (run.folder / "thresholds.json").write_text('{"fixed": [0.55, 66.66666666]}')
    details = {"per_class": {"bar": 1 / 3}, "h_curve": [0.0, 2 / 3]}
    for epoch in (0, 1, 2):
        run.log(kind="evaluate", epoch=epoch, h_score=200 / 3, num_images=9, **details)
    before = run.metrics()
    assert pack([runs, runs], tmp_path / "p.jsonl") == 8  # each once
    unpack(tmp_path / "p.jsonl", tmp_path / "back")
    back = next(r for r in find_runs(tmp_path / "back") if r.folder.name == run.folder.name)
    assert back.config == run.config
    assert (back.folder / "done").read_text() == (run.folder / "done").read_text()
    assert json.loads((back.folder / "criteria.json").read_text()) == {"entropy": [0.123457, 2.0]}
    assert json.loads((back.folder / "thresholds.json").read_text()) == {"fixed": [0.55, 66.6667]}
    first, *_, last = back.metrics("evaluate")
    assert first == {
        "run": run.hash,
        "version": before[0]["version"],
        "time": round(before[0]["time"], 1),
        "kind": "evaluate",
        "epoch": 0,
        "h_score": 66.6667,
        "num_images": 9,
    }
    assert last["per_class"] == {"bar": 0.333333}
    assert last["h_curve"] == [0.0, 0.666667]


def test_what_is_there_stays(runs, tmp_path):
    pack([runs], tmp_path / "p.jsonl")
    kept = find_runs(runs)[0].folder
    (kept / "done").unlink()
    assert unpack(tmp_path / "p.jsonl", runs) == (0, 8)
    assert not (kept / "done").exists()


def test_interrupted_it_leaves_no_half_run(runs, tmp_path, monkeypatch):
    pack([runs], tmp_path / "p.jsonl")
    back, calls = tmp_path / "back", []

    def interrupted(path, target):
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return rename(path, target)

    rename = Path.rename
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            unpack(tmp_path / "p.jsonl", back)
    assert len(list(back.glob("*/config.yaml"))) == 2
    killed = back / f".{calls[2].name}.ab.tmp"  # as it stands where there was no time to clear up
    shutil.copytree(calls[0], killed)
    (killed / "done").unlink()
    assert unpack(tmp_path / "p.jsonl", back) == (6, 2)
    assert len(find_runs(back)) == 8
    assert tables(back) == tables(runs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: "not JSON", "line 2 is not a packed run"),
        (lambda line: "[1]", "line 2 is not a packed run"),
        (lambda line: json.dumps({"run": line["run"]}), "line 2 is not a packed run"),
        (lambda line: json.dumps({**line, "run": f"../x{line['run']}"}), "not a packed run"),
        (lambda line: json.dumps({**line, "config": {}}), "line 2 is not what lead-Dark"),
        (lambda line: json.dumps({"dataset": "../x.yaml", "file": {}}), "not a packed run"),
    ],
)
def test_broken_files_are_refused_whole(runs, tmp_path, change, message):
    path = tmp_path / "p.jsonl"
    pack([runs], path)
    lines = path.read_text().splitlines()
    lines[1] = change(json.loads(lines[1]))
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message):
        unpack(path, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "p.jsonl").write_bytes(b"\x80\xff")
    with pytest.raises(ValueError, match=r"p\.jsonl: not text; `uda pack` makes such files"):
        unpack(tmp_path / "p.jsonl", tmp_path / "back")


def test_nothing_to_pack(tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text("")
    assert main(["unpack", str(tmp_path / "empty.jsonl"), str(tmp_path / "back")]) == 1
    assert "empty.jsonl: holds no runs" in capsys.readouterr().err
    open_run(tmp_path / "runs", "lead", {"stage": "adapt"}).start()
    assert main(["pack", str(tmp_path / "runs"), "--out", str(tmp_path / "p")]) == 1
    assert "no run with scores has finished" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_sweeps_of_one_name_are_joined_and_say_nothing_of_the_machine(runs, tmp_path):
    def expected(run):
        return Expected("P", "D", "PD", "opda", "L", "", "L", 0, run.folder, "tiny", "shared")

    first, second, *_ = find_runs(runs)
    (tmp_path / "other").mkdir()
    moved = second.folder.rename(tmp_path / "other" / second.folder.name)
    second = open_run(moved.parent, moved.name.rpartition("-")[0], second.config)
    here = {"runs": "/home/me", "store": "x", "seed": 1, "data": {"dataset": "tiny", "root": "/a"}}
    write_plan(runs, "opda", here, [expected(first)])
    write_plan(tmp_path / "other", "opda", here, [expected(second)])
    pack([runs, tmp_path / "other"], tmp_path / "p.jsonl", "opda")
    assert unpack(tmp_path / "p.jsonl", tmp_path / "back") == (2, 0)
    plan = read_plan(tmp_path / "back")
    assert [run.done for run in plan.expected] == [True, True]
    assert plan.experiments == {"opda": {"seed": 1, "data": {"dataset": "tiny"}}}


def test_one_sweep_alone(runs, tmp_path, capsys):
    run = next(run for run in find_runs(runs) if run.config["adapt"]["method"] == "lead")
    row = Expected(
        "Plain", "Dark", "PlDa", "opda", "LEAD", "", "LEAD", 0, run.folder, "tiny", "shared"
    )
    write_plan(runs, "ours", {}, [row])
    packed = tmp_path / "ours.jsonl"
    assert main(["pack", str(runs), "--sweep", "ours", "--out", str(packed)]) == 0
    assert capsys.readouterr().out == f"wrote {packed}: 1 run\n"
    unpack(packed, tmp_path / "back")
    assert list(read_plan(tmp_path / "back").experiments) == ["ours"]
    assert main(["report", str(runs), "--sweep", "ours", "--formats", "md"]) == 0
    assert "Source-only" not in (runs / "sweeps" / "ours" / "report.md").read_text()
    assert not (runs / "report.md").exists()


CONFIG = {"stage": "train"}
PACKED = {"run": f"x-{config_hash(CONFIG)}", "done": "", "config": CONFIG, "metrics": []}


@pytest.mark.parametrize(
    "line",
    [
        *({**PACKED, "run": f"{name}-{config_hash(CONFIG)}"} for name in ("../x", "/tmp/x", ".x")),
        *({"dataset": name, "file": {}} for name in ("../../x.yaml", "..", "", "/x.yaml", 3)),
        *({"sweep": name, "record": {}} for name in ("../x", "a/b", "a\0b", "a" * 300)),
        *({"sweep": name, "record": {}} for name in ("\ud800", "猫" * 90)),
        {**PACKED, "metrics": [{"kind": "evaluate"}]},
        {"sweep": "x", "record": []},
        {**PACKED, "run": 3},
        {**PACKED, "config": [1]},
        {**PACKED, "metrics": [3]},
        3,
    ],
    ids=str,
)
def test_a_line_that_would_write_elsewhere_is_refused_before_anything_is_written(tmp_path, line):
    (tmp_path / "p.jsonl").write_text(f"{json.dumps(PACKED)}\n{json.dumps(line)}\n")
    with pytest.raises(ValueError, match="line 2 is not a packed run"):
        unpack(tmp_path / "p.jsonl", tmp_path / "a" / "runs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.jsonl"]


def test_deeply_nested_json_is_refused(tmp_path):
    (tmp_path / "p.jsonl").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="line 1 is not a packed run"):
        unpack(tmp_path / "p.jsonl", tmp_path / "runs")
