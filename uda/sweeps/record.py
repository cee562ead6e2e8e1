"""Records of sweeps, which `uda sweep` writes beside the runs: the runs that tables expect.

    RUNS/sweeps/NAME.yaml        a sweep: its experiment, and the runs that its tables are made of

This module neither imports torch nor looks into the runs: a run exists when its folder says
``done``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from uda.config import read_yaml
from uda.data.names import shortened
from uda.runs.files import locked_for_change, write_text
from uda.runs.folder import Run, error_in, find_runs, is_done

FOLDER = "sweeps"
OF_THE_MACHINE = ("runs", "store", "device", "threads")
PARTS = ("pairs", "seeds")  # by which a sweep may be done part by part
# Fields that a record does not repeat for each run: they follow from its experiment, or from other
# records.
OF_THE_EXPERIMENT = {"dataset", "concepts", "sweep", "published", "other_titles"}


@dataclass(frozen=True)
class Expected:
    """A run that a table needs, finished or not.

    Attributes:
        source: Domain with labels.
        target: Domain adapted to; empty for in-domain training.
        pair: The column: ``Tw2Fl``, or the source's short name without a target.
        scenario: As in `uda.config.DataConfig`.
        method_title: The method in the row's title; empty for in-domain training.
        augment_title: The augmentation in the row's title; empty without augmentation.
        row_title: The row: ``LEAD + GenMix``.
        seed: The run's seed.
        run_folder: Folder of the run.
        dataset: Name of the dataset's file.
        concepts: As in `uda.config.DataConfig`.
        sweep: Name of the sweep's record.
        published: As in `uda.config.SweepConfig`.
        other_titles: What other sweeps call the row.
    """

    source: str
    target: str
    pair: str
    scenario: str
    method_title: str
    augment_title: str
    row_title: str
    seed: int
    run_folder: Path
    dataset: str
    concepts: str
    sweep: str = ""
    published: int = 0
    other_titles: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the run has finished."""
        return is_done(self.run_folder)

    @property
    def error(self) -> str:
        """The line that says why the run's last try in a sweep failed; empty if it did not."""
        return error_in(self.run_folder)


@dataclass(frozen=True)
class Plan:
    """The runs that the sweeps of a folder expect.

    Attributes:
        expected: The runs in the tables' order, by pair, row and seed; once if sweeps share them.
        experiments: Each sweep's resolved configuration, which ``uda sweep FILE.yaml`` takes, by
            the sweep's name.
    """

    expected: list[Expected]
    experiments: Mapping[str, Mapping[str, Any]]


def setting_name(dataset: str, scenario: str, concepts: str) -> str:
    """Return the beginning of a setting's file names: ``emoji_home_opda``, ``…_opda_disjoint``."""
    name = f"{dataset}_{scenario}" + ("_disjoint" if concepts == "disjoint" else "")
    return shortened(name.replace("/", "_"))  # a stranger's run may have any scenario


def record_path(runs: Path, name: str) -> Path:
    """Return the path of the record of the sweep called ``name``."""
    return runs / FOLDER / f"{name}.yaml"


def results_folder(runs: Path, sweep: str = "") -> Path:
    """Return the folder for what is made of all runs, or of those of a ``sweep``."""
    return runs / FOLDER / sweep if sweep else runs


def write_plan(
    runs: Path, name: str, experiment: Mapping[str, Any], expected: Iterable[Expected]
) -> None:
    """Write a sweep's record, in place of an older record of the same name.

    If the older record differs in pairs and seeds alone, the sweep is done part by part: the runs
    of both are expected.

    Args:
        runs: Folder of the runs.
        name: The sweep's name.
        experiment: The sweep's resolved configuration.
        expected: The runs that its tables need; their folders are kept by name alone.
    """
    rows = [
        {key: value for key, value in asdict(run).items() if key not in OF_THE_EXPERIMENT}
        | {"run_folder": run.run_folder.name}
        for run in expected
    ]
    path = record_path(runs, name)
    record: Mapping[str, Any] = {"experiment": dict(experiment), "expected": rows}
    with locked_for_change(path):  # parts of a sweep may start at once
        if path.is_file():
            with suppress(ValueError):  # a broken record is replaced
                record = _joined(_read_record(path), record)
        write_text(path, yaml.safe_dump(dict(record), sort_keys=False, width=1000))


def _joined(before: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, Any]:
    """Join two records that differ in pairs and seeds alone, in the order of the larger.

    Returns ``now`` if they differ in more.
    """
    about_before, parts_before = _split_parts(before.get("experiment", {}))
    about_now, parts_now = _split_parts(now.get("experiment", {}))
    if about_before != about_now:
        return now
    parts = {key: list(dict.fromkeys(parts_before[key] + parts_now[key])) for key in PARTS}
    if "all" in parts["pairs"]:
        parts["pairs"] = ["all"]
    ordered = sorted((now, before), key=lambda record: -len(record["expected"]))
    rows = {row["run_folder"]: row for record in ordered for row in record["expected"]}
    sweep = {**now["experiment"].get("sweep", {}), **parts}
    return {"experiment": {**now["experiment"], "sweep": sweep}, "expected": list(rows.values())}


def _split_parts(experiment: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Split an experiment into what it is about, and its pairs and seeds."""
    sweep = dict(experiment.get("sweep", {}))
    parts = {key: sweep.pop(key, []) for key in PARTS}
    about = {key: value for key, value in experiment.items() if key not in OF_THE_MACHINE}
    return {**about, "sweep": sweep}, parts


def runs_and_plan(runs: Path, sweep: str = "") -> tuple[list[Run], Plan | None]:
    """Return the runs under ``runs``, in the order of its sweeps' tables, and what these expect.

    If a ``sweep`` is named, only what it expects is returned, and the finished source models.

    Raises:
        ValueError: there are no runs, or no such sweep.
    """
    if not sweep:
        plan = read_plan(runs)
        return _in_order(find_runs(runs), plan), plan
    if not record_path(runs, sweep).is_file():
        known = ", ".join(path.stem for path in sorted((runs / FOLDER).glob("*.yaml")))
        raise ValueError(f"--sweep: {runs} has no sweep {sweep!r}; it has {known or 'none'}")
    plan = read_plan(runs, sweep)
    expected = {run.run_folder for run in plan.expected} if plan else set()

    def is_source(run: Run) -> bool:
        return run.is_source_model and run.is_done

    selected = [run for run in find_runs(runs) if run.folder in expected or is_source(run)]
    return _in_order(selected, plan), plan


def _in_order(runs: Sequence[Run], plan: Plan | None) -> list[Run]:
    expected = plan.expected if plan else []
    order = {run.run_folder: number for number, run in enumerate(expected)}
    return sorted(runs, key=lambda run: order.get(run.folder, len(order)))


def _read_record(path: Path) -> dict[str, Any]:
    record = read_yaml(path)
    rows = record.get("expected")
    keys = {field.name for field in fields(Expected)} - OF_THE_EXPERIMENT
    if not (
        isinstance(rows, list)
        and all(isinstance(row, dict) and set(row) == keys and _is_row(row) for row in rows)
        and _is_experiment(record.get("experiment", {}))
    ):
        raise ValueError(f"{path}: not a sweep's record; `uda sweep` writes it anew")
    return record


def _is_row(row: Mapping[str, Any]) -> bool:
    """Return whether the values of an expected run are of its types, its folder a name."""
    texts = (value for key, value in row.items() if key != "seed")
    if type(row["seed"]) is not int or not all(isinstance(text, str) for text in texts):
        return False
    name = row["run_folder"]
    return name not in ("", "..") and Path(name).name == name  # a folder beside the others


def _is_list_of_names(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, (str, int)) for value in values)


def _is_experiment(experiment: Any) -> bool:
    """Return whether an experiment has the sections that are read here, of their types."""
    if not isinstance(experiment, dict):
        return False
    data, sweep = experiment.get("data", {}), experiment.get("sweep", {})
    return (
        all(isinstance(section, dict) for section in (data, sweep))
        and all(isinstance(data.get(key, ""), str) for key in ("dataset", "concepts"))
        and isinstance(sweep.get("published", 0), int)
        and all(_is_list_of_names(sweep.get(key, [])) for key in PARTS)
    )


def read_plan(runs: Path, sweep: str = "*") -> Plan | None:
    """Return what all sweeps recorded under ``runs`` expect, or the named one; None without any.

    Raises:
        ValueError: naming a file that is not a sweep's record.
    """
    expected: dict[Path, Expected] = {}
    experiments: dict[str, Mapping[str, Any]] = {}
    for path in sorted((runs / FOLDER).glob(f"{sweep}.yaml")):
        record = _read_record(path)
        experiments[path.stem] = experiment = record.get("experiment", {})
        data = experiment.get("data", {})
        shared = {
            "dataset": Path(data.get("dataset", "")).stem,
            "concepts": data.get("concepts", "shared"),
            "sweep": path.stem,
            "published": experiment.get("sweep", {}).get("published", 0),
        }
        for row in record["expected"]:
            run = Expected(**{**row, "run_folder": runs / row["run_folder"]}, **shared)
            first = expected.setdefault(run.run_folder, run)
            if run.row_title not in (first.row_title, *first.other_titles):
                others = (*first.other_titles, run.row_title)
                expected[run.run_folder] = replace(first, other_titles=others)
    return Plan(list(expected.values()), experiments) if experiments else None
