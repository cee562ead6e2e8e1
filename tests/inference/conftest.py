import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main
from uda.runs.folder import find_runs, read_run
from uda.runs.hashing import config_hash


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Path, dict[str, Path]]:
    """A dataset's pictures, and runs of every kind on it: beginning of the name -> folder."""
    root = tmp_path_factory.mktemp("finished")
    flags = arguments(make_dataset(root / "tiny"), root / "runs", "--data.target=Dark")
    assert main(["train", *flags]) == 0
    for method in ("lead", "shot_o"):
        assert main(["adapt", *flags, f"--adapt.method={method}", "--adapt.epochs=1"]) == 0
    assert main(["train", *flags, "--data.target=", "--data.scenario=", "--train.steps=3"]) == 0
    pda = [*flags, "--data.scenario=pda", "--train.steps=3"]
    for command in ("train", "adapt"):
        assert main([command, *pda, "--adapt.epochs=1"]) == 0
    folders = {run.folder.name.split("-s0-")[0]: run.folder for run in find_runs(root / "runs")}
    return root / "tiny" / "pictures", folders


@pytest.fixture
def pictures(finished) -> Path:
    return finished[0]


@pytest.fixture
def runs(finished) -> dict[str, Path]:
    return finished[1]


@pytest.fixture
def lead(runs) -> Path:
    return runs["lead-Pl2Da-opda-none"]


@pytest.fixture
def in_precision(tmp_path) -> Callable[[Path, str], Path]:
    """A function that copies a run as if it had been made in another precision."""

    def copy_of(folder: Path, precision: str) -> Path:
        config = dict(read_run(folder).config)
        config["source"] = {**config["source"], "precision": precision}
        copy = tmp_path / f"{folder.name.rsplit('-', 1)[0]}-{config_hash(config)}"
        shutil.copytree(folder, copy)
        (copy / "config.yaml").write_text(yaml.safe_dump(config))
        return copy

    return copy_of
