"""What the sweeps of a folder of runs are to hold, as `uda sweep` wrote it down.

    RUNS/sweeps/NAME.yaml        one sweep: its experiment, and the runs that its tables are made of

Nothing here imports torch or looks into the runs: a run is there when its folder says ``done``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from uda.config import read_yaml
from uda.runs.files import atomic_path
from uda.runs.folder import Run, error_in, find_runs, is_done

FOLDER = "sweeps"
OF_THE_MACHINE = ("runs", "store", "device", "threads")
PARTS = ("pairs", "seeds")  # by which a sweep may be done part by part
# What a record does not say of each run: it says it once, or it is seen beside other records.
OF_THE_EXPERIMENT = {"dataset", "concepts", "sweep", "published", "other_titles"}


@dataclass(frozen=True)
class Expected:
    """One run that a table needs.

    ``pair`` is its column (``Tw2Fl``; the source's short name where there is no target) and
    ``row_title`` its row (``LEAD + GenMix``), made of ``method_title`` (empty in one domain) and
    ``augment_title`` (empty without augmentation). ``run_folder`` is where it is, or will be.
    ``dataset`` is the name of the dataset's file, ``concepts`` as in `uda.config.DataConfig`,
    ``sweep`` the name of the sweep's record and ``published`` as in `uda.config.SweepConfig`.
    ``other_titles`` are what other sweeps call its row.
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
        """The line that says why its last try in a sweep failed; empty if it did not."""
        return error_in(self.run_folder)


@dataclass(frozen=True)
class Plan:
    """The runs that a folder's sweeps are to hold, in their tables' order: by pair, row and seed.

    ``experiments`` has each sweep's resolved configuration by its name: what
    ``uda sweep FILE.yaml`` takes. A run that two sweeps share stands there once.
    """

    expected: list[Expected]
    experiments: Mapping[str, Mapping[str, Any]]


def setting_name(dataset: str, scenario: str, concepts: str) -> str:
    """Return the beginning of a setting's file names: ``emoji_home_opda``, ``…_opda_disjoint``."""
    return f"{dataset}_{scenario}" + ("_disjoint" if concepts == "disjoint" else "")


def record_path(runs: Path, name: str) -> Path:
    """The file in which the sweep called ``name`` is written down."""
    return runs / FOLDER / f"{name}.yaml"


def results_folder(runs: Path, sweep: str = "") -> Path:
    """Where what is made of all runs is written, or of those of one ``sweep``."""
    return runs / FOLDER / sweep if sweep else runs


def write_plan(
    runs: Path, name: str, experiment: Mapping[str, Any], expected: Iterable[Expected]
) -> None:
    """Write one sweep down, over what was there under its name. Folders are kept by name alone.

    Where that was of other pairs and seeds alone, it is one sweep done part by part: the runs of
    both are expected.
    """
    rows = [
        {key: value for key, value in asdict(one).items() if key not in OF_THE_EXPERIMENT}
        | {"run_folder": one.run_folder.name}
        for one in expected
    ]
    path = record_path(runs, name)
    record: Mapping[str, Any] = {"experiment": dict(experiment), "expected": rows}
    if path.is_file():
        with suppress(ValueError):  # a broken one is written anew
            record = _joined(_read_record(path), record)
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(record), sort_keys=False, width=1000))


def _joined(before: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of both where they differ in pairs and seeds alone, in the order of the larger;
    otherwise ``now``."""
    parts = [_parted(record.get("experiment", {})) for record in (before, now)]
    if parts[0][0] != parts[1][0]:
        return now
    both = {key: list(dict.fromkeys(parts[0][1][key] + parts[1][1][key])) for key in PARTS}
    if "all" in both["pairs"]:
        both["pairs"] = ["all"]
    ordered = sorted((now, before), key=lambda record: -len(record["expected"]))
    rows = {row["run_folder"]: row for record in ordered for row in record["expected"]}
    sweep = {**now["experiment"].get("sweep", {}), **both}
    return {"experiment": {**now["experiment"], "sweep": sweep}, "expected": list(rows.values())}


def _parted(experiment: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What an experiment is about, and which of its pairs and seeds it names."""
    sweep = dict(experiment.get("sweep", {}))
    own = {key: sweep.pop(key, []) for key in PARTS}
    about = {key: value for key, value in experiment.items() if key not in OF_THE_MACHINE}
    return {**about, "sweep": sweep}, own


def runs_and_plan(runs: Path, sweep: str = "") -> tuple[list[Run], Plan | None]:
    """The runs under ``runs``, in the order in which its sweeps have them, and what these expect;
    where a ``sweep`` is named, only what that one expects, with the finished source models.

    Raises ValueError where there are no runs, or no such sweep.
    """
    if not sweep:
        found, plan = find_runs(runs), read_plan(runs)
        return _in_order(found, plan), plan
    if not record_path(runs, sweep).is_file():
        known = ", ".join(path.stem for path in sorted((runs / FOLDER).glob("*.yaml")))
        raise ValueError(f"--sweep: {runs} has no sweep {sweep!r}; it has {known or 'none'}")
    plan = read_plan(runs, sweep)
    wanted = {one.run_folder for one in plan.expected} if plan else set()

    def is_source(run: Run) -> bool:
        return run.is_source_model and run.is_done

    found = [run for run in find_runs(runs) if run.folder in wanted or is_source(run)]
    return _in_order(found, plan), plan


def _in_order(found: Sequence[Run], plan: Plan | None) -> list[Run]:
    place = {one.run_folder: number for number, one in enumerate(plan.expected if plan else [])}
    return sorted(found, key=lambda run: place.get(run.folder, len(place)))


def _read_record(path: Path) -> dict[str, Any]:
    record = read_yaml(path)
    rows = record.get("expected")
    keys = {field.name for field in fields(Expected)} - OF_THE_EXPERIMENT
    if not isinstance(rows, list) or any(set(row) != keys for row in rows):
        raise ValueError(f"{path}: not a sweep's record; `uda sweep` writes it anew")
    return record


def read_plan(runs: Path, sweep: str = "*") -> Plan | None:
    """What all sweeps written down under ``runs``, or one, expect; None where there is none.

    Raises ValueError naming a file that does not hold a sweep.
    """
    expected: dict[Path, Expected] = {}
    experiments: dict[str, Mapping[str, Any]] = {}
    for path in sorted((runs / FOLDER).glob(f"{sweep}.yaml")):
        record = _read_record(path)
        experiments[path.stem] = experiment = record.get("experiment", {})
        data = experiment.get("data", {})
        of_all = {
            "dataset": Path(data.get("dataset", "")).stem,
            "concepts": data.get("concepts", "shared"),
            "sweep": path.stem,
            "published": experiment.get("sweep", {}).get("published", 0),
        }
        for row in record["expected"]:
            own = Expected(**{**row, "run_folder": runs / row["run_folder"]}, **of_all)
            first = expected.setdefault(own.run_folder, own)
            if own.row_title not in (first.row_title, *first.other_titles):
                others = (*first.other_titles, own.row_title)
                expected[own.run_folder] = replace(first, other_titles=others)
    return Plan(list(expected.values()), experiments) if experiments else None
