import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from genmix_aug.files import host
from uda.runs import version
from uda.runs.checkpoints import read_arrays, read_checkpoint
from uda.runs.files import atomic_path, check_writable
from uda.runs.folder import error_in, find_runs, open_run, read_run
from uda.runs.hashing import config_hash, file_hash
from uda.runs.lock import RunBusyError


def test_the_hash_depends_on_values_and_not_on_key_order():
    assert config_hash({"a": 1, "b": [2]}) == config_hash({"b": [2], "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail_halfway():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_runs_from_before_pictures_were_turned_keep_theirs(tmp_path):
    run = open_run(tmp_path, "train", {"stage": "train"})
    assert run.is_upright
    run.start()
    assert read_run(run.folder).is_upright
    older = open_run(tmp_path, "older", {"stage": "train"})
    older.restore([], {}, "2024")
    older.start()  # going on with it changes nothing
    assert not read_run(older.folder).is_upright


def test_the_version_is_the_commit_and_whether_files_were_changed(tmp_path, monkeypatch):
    file = tmp_path / "uda" / "runs" / "version.py"
    file.parent.mkdir(parents=True)
    file.write_text("as it was")
    monkeypatch.setattr(version, "__file__", str(file))
    code_version = version.code_version.__wrapped__
    packaged = code_version()

    def git(*words):
        names = ["-c", "user.name=a", "-c", "user.email=a@b.org"]
        command = ["git", "-C", str(tmp_path), *names, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    assert code_version() == packaged  # nothing committed yet
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    commit = git("rev-parse", "HEAD")[:10]
    assert code_version() == commit
    git("tag", "--annotate", "v1", "--message", "first")
    assert code_version() == commit
    file.write_text("changed")
    assert code_version() == f"{commit}-dirty"


def test_writers_of_the_same_process_number_do_not_collide(tmp_path):
    """As in two containers that share a disk."""
    path = tmp_path / "file.txt"
    with atomic_path(path) as first:
        first.write_text("first")
        with atomic_path(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    run = open_run(tmp_path / "runs", "train", {})
    run.start()
    with atomic_path(run.folder / "checkpoint.pt") as left:
        left.write_text("half")
        (run.folder / "banks").mkdir()
        with atomic_path(run.folder / "banks" / "epoch_01.npz") as lower:
            lower.write_text("half")
            run.mark_done()  # clears what killed writers left, whatever its name
            assert not left.exists()
            assert not lower.exists()
            lower.touch()
        left.touch()


def test_a_run_is_opened_again_by_name_and_configuration(tmp_path):
    run = open_run(tmp_path, "train-x", {"seed": 1})
    assert open_run(tmp_path, "train-x", {"seed": 1}).folder == run.folder
    assert open_run(tmp_path, "train-x", {"seed": 2}).folder != run.folder
    assert not run.folder.exists()  # opening writes nothing
    run.start()
    open_run(tmp_path, "train-x", {"seed": 2}).start()
    assert read_run(run.folder).config == {"seed": 1}
    assert not run.is_done
    (run.folder / ".checkpoint.123.tmp.pt").write_bytes(b"killed while writing")
    run.mark_done()
    assert run.is_done
    assert {path.name for path in run.folder.iterdir()} == {"config.yaml", "done", "upright"}
    assert len(find_runs(tmp_path)) == 2


def test_whole_lines_are_read_and_the_last_of_an_epoch_counts(tmp_path):
    run = open_run(tmp_path, "r", {})
    run.log(kind="train", epoch=1, loss=2.0)
    run.log(kind="evaluate", epoch=1, h_score=5.0)
    run.log(kind="train", epoch=1, loss=1.0)
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "epo')  # killed inside a write
    lines = run.metrics("train")
    assert [line["loss"] for line in lines] == [1.0]
    assert lines[0]["run"] == run.hash
    assert len(run.metrics()) == 2


def test_lines_after_a_truncated_line_are_read(tmp_path):
    run = open_run(tmp_path, "r", {})
    run.start()
    (run.folder / "metrics.jsonl").write_text('{"kind": "train", "epo')
    run.log(kind="train", epoch=1, loss=1.0)
    assert [line["loss"] for line in run.metrics("train")] == [1.0]


def test_lines_that_are_no_records_are_skipped(tmp_path):
    run = open_run(tmp_path, "r", {})
    run.log(kind="train", epoch=1, loss=1.0)
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(b"[1]\n3\n\xff\n")
    assert len(run.metrics()) == len(run.metrics("train")) == 1


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="Is a directory") as raised, atomic_path(tmp_path) as path:
        path.write_text("x")
    assert raised.value.filename == str(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}: a folder; name a file"):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="nothing may be put into"):
        check_writable(tmp_path / "file" / "a.csv")
    check_writable(tmp_path / "new" / "a.csv")
    assert not (tmp_path / "new").exists()


def test_broken_arrays_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(99))
    assert read_arrays(tmp_path / "a.npz")["x"].sum() == 99 * 49
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ValueError, match="a.npz: cannot be read .*; delete the run and adapt again"
    ):
        read_arrays(tmp_path / "a.npz")


def test_the_error_of_a_broken_checkpoint_says_what_to_delete(tmp_path):
    run = open_run(tmp_path, "r", {})
    run.start()
    (run.folder / "checkpoint.pt").write_bytes(b"x" * 99)
    with pytest.raises(ValueError, match=f"delete {run.folder} to begin it anew"):
        run.load_checkpoint()


def test_a_saved_checkpoint_is_loaded(tmp_path):
    run = open_run(tmp_path, "r", {})
    assert run.load_checkpoint() is None
    run.save_checkpoint({"model": {"w": torch.ones(2)}, "epoch": 3})
    state = run.load_checkpoint()
    assert state["epoch"] == 3
    assert torch.equal(state["model"]["w"], torch.ones(2))


class Harmful:
    def __reduce__(self):
        return print, ("ran",)


def test_a_checkpoint_never_runs_code(tmp_path, capsys):
    path = tmp_path / "c.pt"
    torch.save({"model": Harmful()}, path)
    with pytest.raises(ValueError, match="c.pt: not a readable checkpoint"):
        read_checkpoint(path)
    assert "ran" not in capsys.readouterr().out


def test_a_truncated_or_missing_checkpoint_is_named(tmp_path):
    path = tmp_path / "c.pt"
    torch.save({"model": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="c.pt"):
        read_checkpoint(path)
    with pytest.raises(ValueError, match="none.pt: no such checkpoint"):
        read_checkpoint(tmp_path / "none.pt")


def test_a_folder_without_runs_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no runs"):
        find_runs(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        find_runs(tmp_path / "none")
    with pytest.raises(ValueError, match="not a run's folder"):
        read_run(tmp_path)


def test_a_run_has_a_single_worker_at_a_time(tmp_path):
    run = open_run(tmp_path, "r", {})
    with run.lock():
        run.start()
        with pytest.raises(RunBusyError, match=run.hash), run.lock():
            pass
        run.mark_done()
    assert {path.name for path in run.folder.iterdir()} == {"config.yaml", "done", "upright"}


def test_a_file_is_hashed_again_only_after_a_change(tmp_path, monkeypatch):
    reads, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read_bytes(path))
    path = tmp_path / "weights.pth"
    path.write_bytes(b"old")
    first = file_hash(path)
    assert file_hash(path) == first == hashlib.sha256(b"old").hexdigest()[:10]
    assert len(reads) == 1
    path.write_bytes(b"new")  # as long
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert file_hash(path) == hashlib.sha256(b"new").hexdigest()[:10]
    path.unlink()
    with pytest.raises(ValueError, match="weights.pth: no such file"):
        file_hash(path)


@pytest.mark.parametrize("without", ["source", "source.data", "source.augment.name", "source.seed"])
def test_a_configuration_that_lacks_a_key_names_folder_and_key(tmp_path, without):
    source = {"data": {"dataset": "x", "source": "A"}, "augment": {"name": "none"}, "seed": 0}
    config = {"stage": "adapt", "source": source, "target": "B", "adapt": {"method": "lead"}}
    *above, key = without.split(".")
    holder = config
    for name in above:
        holder = holder[name]
    del holder[key]
    run = open_run(tmp_path, "lead", config)
    run.start()
    run = read_run(run.folder)
    with pytest.raises(ValueError, match=f"lead-.*: its configuration has no {without}; restore"):
        _ = run.source_domain, run.augmentation, run.seed


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("source.data", [], "data is no mapping"),
        ("source.seed", "0", "seed is no whole number"),
        ("adapt", "lead", "adapt names no method"),
        ("adapt.epochs", "2", "adapt.epochs is no whole number"),
        ("adapt.options", {"entropy_threshold": "x"}, "entropy_threshold is no number"),
    ],
)
def test_a_configuration_of_other_types_names_the_folder(tmp_path, key, value, words):
    source = {"data": {"dataset": "x", "source": "A"}, "augment": {"name": "none"}, "seed": 0}
    config = {"stage": "adapt", "source": source, "target": "B", "adapt": {"method": "lead"}}
    *above, last = key.split(".")
    holder = config
    for name in above:
        holder = holder[name]
    holder[last] = value
    run = open_run(tmp_path, "lead", config)
    run.start()
    run = read_run(run.folder)
    with pytest.raises(ValueError, match=f"lead-.*: its configuration's {words}"):
        _ = (run.scenario, run.seed, run.method, run.epochs, run.entropy_threshold)


@pytest.mark.parametrize("text", ["a: 2024-01-01", "1: a\nb: c", "a: !!set {b, c}"])
def test_a_configuration_that_is_no_json_is_none(tmp_path, text):
    (tmp_path / "config.yaml").write_text(f"stage: train\n{text}\n")
    with pytest.raises(ValueError, match="config.yaml: not a run's configuration"):
        read_run(tmp_path, renamed=True)


@pytest.mark.parametrize(
    "line",
    [
        {"epoch": 1},
        {"kind": ["evaluate"]},
        {"kind": "evaluate"},
        {"kind": "evaluate", "epoch": "1"},
        {"kind": "evaluate", "epoch": True},
        {"kind": "evaluate", "epoch": 2**63},
        {"kind": "evaluate", "epoch": 1, "time": "now"},
        {"kind": "evaluate", "epoch": 1, "h_score": "50"},
        {"kind": "evaluate", "epoch": 1, "h_score": [50.0]},
        {"kind": "evaluate", "epoch": 1, "h_score": float("inf")},
        {"kind": "evaluate", "epoch": 1, "h_score": 10**400},
        {"kind": "evaluate", "epoch": 1, "per_class": 3},
        {"kind": "evaluate", "epoch": 1, "per_class": {"a": "b"}},
        {"kind": "final", "checkpoint": []},
        {"kind": "prepare", "seconds": "x"},
    ],
    ids=str,
)
def test_a_line_of_metrics_that_no_run_writes_is_named(tmp_path, line):
    run = open_run(tmp_path, "r", {})
    run.log(kind="evaluate", epoch=0, h_score=None, per_class={"a": None}, empty_classes=["b"])
    run.log(kind="prepare", seconds=1.0, edits="abc", more={"a": ["b"]})
    assert len(run.metrics()) == 2
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 3 is none of a run's; restore"):
        run.metrics()


def test_texts_of_strangers_need_no_encoding(tmp_path):
    run = open_run(tmp_path, "r", {})
    run.start()
    (run.folder / "error.txt").write_bytes(b"no \xff\ndetails")
    assert error_in(run.folder) == "no \ufffd"
    (run.folder / "done").write_bytes(b"\xff\n")
    assert run.done_text == "\ufffd"


@pytest.mark.parametrize("text", ["[1]", '{"entropy": 3}', '{"entropy": ["x"]}', "[" * 100_000])
def test_choices_that_are_none_are_made_anew(tmp_path, text):
    run = open_run(tmp_path, "lead", {})
    run.mark_done()
    (run.folder / "criteria.json").write_text(text)
    assert run.choices("criteria") is None


def test_choices_cut_short_are_made_anew(tmp_path):
    run = open_run(tmp_path, "lead", {})
    run.mark_done()
    run.save_choices("criteria", {"entropy": [1.0]})
    assert run.choices("criteria") == {"entropy": [1.0]}
    (run.folder / "criteria.json").write_text('{"entropy": [1')
    assert run.choices("criteria") is None


def test_choices_that_were_made_before_the_end_are_forgotten(tmp_path):
    run = open_run(tmp_path, "lead", {"stage": "adapt"})
    run.start()
    run.mark_done()
    run.save_choices("criteria", {"entropy": [1.0]})
    run.mark_done()  # made again in the same folder
    assert run.choices("criteria") is None


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    run = open_run(tmp_path, "train", {"stage": "train", "seed": 0})
    run.start()
    (run.folder / "banks").mkdir()
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = [
        run.folder / f".0a1b2c3d.{host()}-{ended.pid}.tmp.pt",
        run.folder / "banks" / f".0a1b2c3e.{host()}-{ended.pid}.tmp.npz",
    ]
    working = run.folder / f".0a1b2c3f.{host()}-{os.getpid()}.tmp.pt"
    for path in (*left, working):
        path.write_bytes(b"half")
    with run.lock():
        assert not any(path.exists() for path in left)
        assert working.exists()
