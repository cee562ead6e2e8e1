"""The shell scripts, with a stand-in for ``uda`` that notes how it was called."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.processes import gone
from helpers.tools import write_tools

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stub(tmp_path):
    """An environment whose ``uda`` writes its arguments into calls.txt."""
    return write_tools(tmp_path / "bin", uda=f'echo "$*" >> "{tmp_path}/calls.txt"')


def calls(tmp_path):
    path = tmp_path / "calls.txt"
    return path.read_text().splitlines() if path.is_file() else []


def adapt_pair(stub, *arguments, **more):
    command = ["bash", "scripts/adapt_pair.sh", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**stub, **more}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_all_stages_of_both_arms_and_the_report(stub, tmp_path, jobs):
    done = adapt_pair(stub, "Noto", "Mono", "osda", "--runs", "my runs", JOBS=jobs)
    assert done.returncode == 0, done.stderr
    lines = calls(tmp_path)
    assert sorted(line.split()[0] for line in lines) == ["adapt"] * 4 + ["report"] + ["train"] * 2
    assert lines[-1] == "report my runs"
    for line in lines[:-1]:
        assert "emoji_home_osda.yaml" in line
        assert "--data.source Noto --data.target Mono --data.scenario osda" in line
        assert "--runs my runs" in line


def test_another_dataset_and_scenario(stub, tmp_path):
    adapt_pair(stub, "Art", "Product", "pda", "--runs=x", DATASET="office_home")
    assert "configs/experiments/office_home_pda.yaml" in calls(tmp_path)[0]
    assert calls(tmp_path)[-1] == "report x"
    wrong = adapt_pair(stub, "Art", "Product", "xda")
    assert wrong.returncode == 2
    assert "emoji_home_xda.yaml" in wrong.stderr
    assert adapt_pair(stub, "Art").returncode == 2


@pytest.mark.parametrize("arm", ["none", "genmix"])
def test_an_arm_that_fails_stops_the_other(stub, tmp_path, arm):
    # The failing arm fails at once; the other would take a minute.
    text = (
        f'echo "$*" >> "{tmp_path}/calls.txt"\n'
        f'case "$*" in *"--augment.name {arm}"*) exit 3 ;; esac\n'
        f'echo $$ > "{tmp_path}/pid"\nexec sleep 60'
    )
    write_tools(tmp_path / "bin", uda=text)
    start = time.monotonic()
    done = adapt_pair(stub, "A", "B", "opda")
    assert done.returncode != 0
    assert time.monotonic() - start < 30
    assert not any(line.startswith("report") for line in calls(tmp_path))
    # It may have been stopped before it had begun, or before it had written its number.
    if (tmp_path / "pid").is_file() and (number := (tmp_path / "pid").read_text()):
        other = int(number)
        while not gone(other) and time.monotonic() - start < 30:
            time.sleep(0.1)  # a busy machine takes a moment to stop it
        assert gone(other)


def test_stopping_the_script_stops_both_arms(stub, tmp_path):
    write_tools(tmp_path / "bin", uda=f'echo $$ >> "{tmp_path}/pids"\nexec sleep 60')
    script = subprocess.Popen(
        ["bash", "scripts/adapt_pair.sh", "A", "B", "opda"], cwd=ROOT, env=stub
    )
    pids: list[int] = []
    while len(pids) < 2:
        time.sleep(0.05)
        if (tmp_path / "pids").is_file():
            pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    script.send_signal(signal.SIGTERM)
    assert script.wait(timeout=20) == 143
    end = time.monotonic() + 20  # a busy machine takes a moment to stop them
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)
