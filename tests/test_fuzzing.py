"""A few hundred cases of `scripts/fuzz.py`: files of strangers are read, or refused in a line."""

import os
import subprocess
import time

import pytest
from helpers import fuzzing
from helpers.fuzzing import READERS, Reader, run_case
from helpers.mutations import OUTSIDE

CASES = 16


@pytest.mark.parametrize("name", READERS)
def test_strangers_files_are_read_or_refused_in_a_line_that_names_them(name):
    cases = max(int(CASES * READERS[name].weight), 2)
    outcomes = [run_case(name, f"test/{number}") for number in range(cases)]
    assert [outcome.text for outcome in outcomes if outcome.kind == "finding"] == []
    assert any(outcome.kind in ("read", "refused") for outcome in outcomes)


def write(folder, rng):
    (folder / "theirs.txt").write_text("x")


def fails_with(error):
    def read(folder):
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "finding"),
    [
        (lambda folder: os.mkdir(OUTSIDE), "outside of its folder: os.mkdir writes"),
        (lambda folder: (folder.parent / "x").write_text(""), "outside of its folder: open writes"),
        (lambda folder: open("/etc/passwd").close(), "outside of its folder: open reads"),
        (lambda folder: subprocess.run(["true"]), "outside of its folder: subprocess.Popen"),
        (lambda folder: os.system("true"), "outside of its folder: os.system"),
        (fails_with(KeyError("x")), "KeyError: 'x'"),
        (fails_with(ValueError("it is wrong")), "names no file: it is wrong"),
        (lambda folder: bytearray(2**20), ""),
        (fails_with(ValueError("theirs.txt: wrong")), ""),
    ],
)
def test_what_must_not_be_is_found(monkeypatch, tmp_path, read, finding):
    monkeypatch.setitem(READERS, "x", Reader(write, read))
    monkeypatch.setattr(fuzzing.tempfile, "tempdir", str(tmp_path))
    outcome = run_case("x", 0)
    assert outcome.text.startswith(finding)
    assert (outcome.kind == "finding") == bool(finding)
    assert not os.path.lexists(OUTSIDE)


def test_bombs_are_found(monkeypatch):
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 0.05)
    end = 0.2
    spin = lambda folder: [0 for _ in iter(lambda: time.process_time() < begin + end, False)]  # noqa: E731
    begin = time.process_time()
    monkeypatch.setitem(READERS, "x", Reader(write, spin))
    assert " s: " in run_case("x", 0).text
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 15)
    monkeypatch.setattr(fuzzing, "_peak_bytes", iter([0, 5 * 2**30]).__next__)
    monkeypatch.setitem(READERS, "x", Reader(write, lambda folder: None))
    assert run_case("x", 0).text == "5.0 GiB: None"
