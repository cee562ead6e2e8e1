"""Finished runs as a small file of text, to be committed or sent, and back.

A line is a JSON object: ``{"run": its folder's name, "done": …, "config": …, "metrics": [lines]}``,
``{"sweep": its name, "record": its record}``, or of `uda run` ``{"dataset": its file's name,
"file": its content}``. Models, pictures and predictions stay behind: unpacked runs are for tables,
and count as finished.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from uda.config import read_yaml
from uda.runs.files import locked_for_change, read_text, write_text, writing
from uda.runs.folder import CHOICES, DATASETS, Run, is_metrics
from uda.runs.hashing import config_hash
from uda.sweeps.record import FOLDER, record_path, runs_and_plan

DIGITS = 6  # significant digits of a score; percentages need four
OF_THE_MACHINE = ("runs", "store", "device", "threads", "compute")
# What lines hold: first the name of a folder or file to be made.
FORMS: tuple[dict[str, type], ...] = (
    {"sweep": str, "record": dict},
    {"dataset": str, "file": dict},
    {"run": str, "done": str, "config": dict, "metrics": list},
)
SAFE_NAME = re.compile(r"[^./\\\0][^/\\\0]*")
MOST_BYTES = 200  # of a name: files are called after it, with a suffix
LONG = ("per_class", "h_curve")  # kept of the last evaluation alone


def pack(folders: Sequence[Path], path: Path, sweep: str = "") -> int:
    """Pack the finished adaptations and in-domain runs of ``folders`` into a file.

    The sweeps' records and the datasets' files that lie beside the runs go with them. A run that
    several folders have is packed once.

    Args:
        folders: Folders of runs.
        path: File to write.
        sweep: Name of a sweep, to pack its runs alone.

    Returns:
        The number of packed runs.

    Raises:
        ValueError: naming a folder without runs, or an unknown sweep; or no run has finished.
    """
    runs: dict[str, Run] = {}
    records: dict[str, dict[str, Any]] = {}
    for folder in folders:
        runs |= {
            run.folder.name: run for run in runs_and_plan(folder, sweep)[0] if _has_scores(run)
        }
        for record in sorted((folder / FOLDER).glob(f"{sweep or '*'}.yaml")):
            _add_record(records, record.stem, read_yaml(record))
    if not runs:
        raise ValueError(f"{', '.join(map(str, folders))}: no run with scores has finished")
    lines = [{"sweep": name, "record": record} for name, record in records.items()]
    lines += _datasets(runs.values())
    lines += [_packed(runs[name]) for name in sorted(runs)]
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))
    return len(runs)


def unpack(path: Path, runs: Path) -> tuple[int, int]:
    """Make the folders of the runs that are packed in ``path``.

    A folder appears whole, by a rename. Folders that exist already are left as they are.

    Returns:
        How many folders were made, and how many existed.

    Raises:
        ValueError: naming a line that `pack` did not write; nothing is written then.
    """
    lines = list(_read(path))
    if not lines:
        raise ValueError(f"{path}: holds no runs; `uda pack` makes such files")
    num_made = num_existing = 0
    for line in lines:
        if "sweep" in line:
            _write_new(record_path(runs, line["sweep"]), line["record"])
            continue
        if "dataset" in line:
            _write_new(runs / DATASETS / line["dataset"], line["file"])
            continue
        folder = runs / line["run"]
        if folder.exists():
            num_existing += 1
            continue
        _restore(line, folder)
        num_made += 1
    return num_made, num_existing


def _add_record(records: dict[str, dict[str, Any]], name: str, record: Mapping[str, Any]) -> None:
    """Add a sweep's record, without this machine's settings; sweeps of the same name are joined."""
    experiment = {k: v for k, v in record.get("experiment", {}).items() if k not in OF_THE_MACHINE}
    if "data" in experiment:
        experiment["data"] = {k: v for k, v in experiment["data"].items() if k != "root"}
    expected = records.setdefault(name, {"experiment": experiment, "expected": []})["expected"]
    expected += [row for row in record["expected"] if row not in expected]


def _datasets(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return lines of the dataset files that `uda run` and in-domain training wrote."""
    files = {}
    for run in runs:
        name = run.dataset_name
        if name.startswith(f"{DATASETS}/"):
            files[Path(name).name] = Path(run.dataset)
    return [
        {"dataset": name, "file": {**read_yaml(file), "root": ""}}
        for name, file in sorted(files.items())
    ]


def _write_new(path: Path, record: Mapping[str, Any]) -> None:
    with locked_for_change(path):
        if not path.exists():
            write_text(path, yaml.safe_dump(record, sort_keys=False))


def _has_scores(run: Run) -> bool:
    return run.is_done and (run.is_adaptation or run.is_in_domain)


def _packed(run: Run) -> dict[str, Any]:
    lines = run.metrics()
    last = max((line["epoch"] for line in lines if line["kind"] == "evaluate"), default=None)
    packed: dict[str, Any] = {
        "run": run.folder.name,
        "done": run.done_text,
        "config": run.config,
        "metrics": [
            _short(line, line["kind"] == "evaluate" and line["epoch"] != last) for line in lines
        ],
    }
    for name in CHOICES:
        if (kept := run.choices(name)) is not None:
            packed[name] = _rounded(kept)
    return packed


def _short(line: Mapping[str, Any], without_details: bool) -> dict[str, Any]:
    """Return a line of metrics, rounded, without the run's hash."""
    left_out = ("run", *LONG) if without_details else ("run",)
    kept = {key: _rounded(value) for key, value in line.items() if key not in left_out}
    return {**kept, "time": round(line.get("time", 0.0), 1)}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _read(path: Path) -> Iterable[dict[str, Any]]:
    """Yield the lines of ``path``, each checked."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `uda pack` makes such files")
    try:
        lines = read_text(path).splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not text; `uda pack` makes such files") from None
    for number, text in enumerate(lines, 1):
        wrong = f"{path}: line {number} is not a packed run; `uda pack` makes such files"
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError(wrong) from None
        if not _is_packed(line):
            raise ValueError(wrong)
        if "run" in line and not line["run"].endswith(f"-{config_hash(line['config'])}"):
            raise ValueError(f"{path}: line {number} is not what {line['run']} was made with")
        yield line


def _is_packed(line: Any) -> bool:
    """Return whether a line has a form of `FORMS`, and no name that leads out of its folder."""
    form = next(
        (form for form in FORMS if isinstance(line, dict) and form.keys() <= line.keys()), None
    )
    if form is None or not all(isinstance(line[key], kind) for key, kind in form.items()):
        return False
    name = next(line[key] for key in form)
    return _is_safe(name) and all(
        isinstance(metrics, dict) and is_metrics(metrics) for metrics in line.get("metrics", ())
    )


def _is_safe(name: str) -> bool:
    """Return whether a file of this name can be made, and lies in its folder."""
    try:
        return bool(SAFE_NAME.fullmatch(name)) and len(os.fsencode(name)) <= MOST_BYTES
    except UnicodeEncodeError:
        return False


def _restore(line: Mapping[str, Any], folder: Path) -> None:
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        choices = {name: line[name] for name in CHOICES if name in line}
        with writing(folder, fresh):
            Run(fresh, line["config"]).restore(line["metrics"], choices, line["done"])
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
