"""The runs of docs/results, from which the published tables are made, are found again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from uda.augment.composed import PLUS
from uda.cli.main import parse
from uda.config import CONFIGS, AugmentConfig, Experiment, TrainConfig
from uda.data.spec import load_dataset_spec
from uda.runs.folder import Run
from uda.runs.hashing import config_hash
from uda.stages.identity import adapt_run, experiment_of, source_run
from uda.sweeps.plan import plan

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "results"
LINES = {
    path.stem: [json.loads(text) for text in path.read_text().splitlines()]
    for path in sorted(FOLDER.glob("*.jsonl"))
}
RECORDS = [
    pytest.param(line["record"], id=f"{name}-{line['sweep']}")
    for name, lines in LINES.items()
    for line in lines
    if "sweep" in line
]
SPEC = load_dataset_spec("emoji_home")


def experiment_from(*arguments: str) -> Experiment:
    """Return the experiment that ``uda sweep ARGUMENTS`` would make."""
    command, options = parse(["sweep", *arguments])
    assert command.name == "sweep"
    return Experiment(**{name: options[name] for name in vars(Experiment())})


def planned(experiment: Experiment) -> list[str]:
    """Return the names of the folders of the runs that a sweep's tables need."""
    return [expected.run_folder.name for expected in plan(experiment, SPEC)[1]]


def need_drawings(text: str) -> None:
    """Skip what other vendors' drawings decide; scripts/oracle_drawings.py draws them."""
    if "data/oracle_drawings" in text and not Path("data/oracle_drawings").is_dir():
        pytest.skip("no data/oracle_drawings here")


def packed_runs(name: str) -> dict[str, Run]:
    return {
        line["run"]: Run(Path(line["run"]), line["config"]) for line in LINES[name] if "run" in line
    }


def test_there_are_packed_runs():
    assert {name: len(packed_runs(name)) for name in LINES} == {
        "emoji_home": 604,
        "emoji_home_answers": 448,
        "emoji_home_beyond_lead": 55,
        "emoji_home_clusters": 32,
        "emoji_home_editors": 16,
        "emoji_home_in_domain": 42,
        "emoji_home_lead_apart": 139,
        "emoji_home_with_source": 24,
    }


@pytest.mark.parametrize("record", RECORDS)
def test_a_recorded_sweep_expects_the_recorded_runs(record, tmp_path):
    need_drawings(json.dumps(record["experiment"]))
    file = tmp_path / "experiment.yaml"
    file.write_text(json.dumps(record["experiment"]))  # JSON is YAML
    names = [row["run_folder"] for row in record["expected"]]
    # The records are older than this default.
    former = "--adapt.options.glc={kmeans: torch}"
    assert sorted(planned(experiment_from(str(file), former))) == sorted(names)


@pytest.mark.parametrize(
    "file", sorted((CONFIGS / "experiments").glob("emoji_home_*.yaml")), ids=lambda file: file.stem
)
def test_an_experiment_of_the_repository_is_packed_wholly(file):
    """Once the files are unpacked a sweep has nothing left to do."""
    need_drawings(file.read_text())
    packed = {folder for name in LINES for folder in packed_runs(name)}
    assert set(planned(experiment_from(str(file)))) <= packed


@pytest.mark.parametrize("name", LINES)
def test_a_packed_run_is_named_after_its_configuration(name):
    for folder, run in packed_runs(name).items():
        assert folder.endswith(f"-{config_hash(run.config)}")


@pytest.mark.parametrize("name", LINES)
def test_a_packed_runs_configuration_makes_the_same_run(name):
    """Also of runs that stand in no sweep's record."""
    for folder, run in packed_runs(name).items():
        if not hashes_files(run):
            run_of = adapt_run if run.is_adaptation else source_run
            assert run_of(made_by(run), SPEC).folder.name == folder


def hashes_files(run: Run) -> bool:
    """Whether a run's name hashes files that are not packed: a checkpoint, a folder of edits."""
    augment = run.source["augment"]
    options = dict(augment.get("options", {}))
    return augment["name"] == "checkpoint" or options.get("editor", "").startswith("folder-v")


def made_by(run: Run) -> Experiment:
    """Return the experiment that made ``run``, its training included."""
    train, augment = run.source["train"], run.source["augment"]
    name, options = augment["name"], dict(augment["options"])
    by_part = options if PLUS in name else {name: options}
    for part in by_part.values():
        if "editor" in part:  # a run names the version of its editor, too
            part["editor"] = part["editor"].partition("-v")[0]
    return replace(
        experiment_of(run, "", ""),
        train=TrainConfig(**train),
        augment=AugmentConfig(name, augment["copies"] or 1, by_part),
    )
