"""What is left of a sweep, and what it costs."""

import pytest
from helpers.sweep_experiments import SPEC, emoji_experiment

from uda.sweeps.costs import in_words, seconds_of, size_in_words
from uda.sweeps.engine import Engine
from uda.sweeps.plan import plan
from uda.sweeps.sweep import describe


def finished(run, seconds, size, start=1000.0):
    run.start()
    times = [start + seconds * (epoch + 1) / 4 for epoch in range(4)]
    times[2:] = [time + 7200 for time in times[2:]]  # killed, and gone on two hours later
    lines = [f'{{"kind": "{run.config["stage"]}", "epoch": {i}, "time": {time}}}\n'
             for i, time in enumerate(times)]  # fmt: skip
    (run.folder / "metrics.jsonl").write_text("".join(lines))
    (run.folder / "checkpoint.pt").write_bytes(bytes(size))
    run.mark_done()


def test_time_and_disk_left_go_by_finished_runs(tmp_path):
    experiment = emoji_experiment(tmp_path, pairs=["Tw2Fl", "No2Fl"], seeds=[0])
    jobs, _ = plan(experiment, SPEC)
    text = describe(experiment, SPEC, jobs, Engine(2))
    assert text.count("unknown yet   unknown yet") == 6
    finished(jobs[0].run, seconds=600, size=10**7)
    assert seconds_of(jobs[0].run) == pytest.approx(600)
    assert 10**7 < jobs[0].run.size_bytes < 10**7 + 3000
    rows = {
        line.split("  ")[0]: line
        for line in describe(experiment, SPEC, jobs, Engine(2)).splitlines()
    }
    assert rows["train"].split()[1:] == ["2", "1", "1", "10", "min", "10", "MB"]
    assert rows["train + GenMix"].split()[-4:] == ["20", "min", "20", "MB"]  # as without
    assert "unknown yet" in rows["LEAD"]
    together = rows["together, 2 at a time"].split()
    assert together[5:] == ["12", "1", "11", "at", "least", "15", "min", "at", "least", "30", "MB"]


def test_unpacked_runs_say_nothing_of_time_and_disk(tmp_path):
    experiment = emoji_experiment(tmp_path, pairs=["Tw2Fl", "No2Fl"], seeds=[0])
    jobs, _ = plan(experiment, SPEC)
    finished(jobs[0].run, seconds=600, size=10**7)
    (jobs[0].run.folder / "checkpoint.pt").unlink()
    text = describe(experiment, SPEC, jobs, Engine(1))
    assert text.count("unknown yet   unknown yet") == 6
    assert "min" not in text


def test_amounts_in_words():
    assert [in_words(s) for s in (0.4, 99, 150, 5999, 12000, 400000)] == [
        "0 s", "99 s", "2 min", "1 h 40 min", "3 h 20 min", "4 d 15 h",
    ]  # fmt: skip
    assert [size_in_words(n) for n in (12, 5e5, 3.14e6, 6.1e10)] == [
        "12 B", "500 kB", "3.1 MB", "61 GB",
    ]  # fmt: skip
