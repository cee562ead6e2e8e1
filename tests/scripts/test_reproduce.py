"""scripts/reproduce_office_home.sh, from a dataset's folder to tables."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.office_home import LITTLE, office_home
from helpers.tools import write_tools

from uda.data.spec import load_dataset_spec
from uda.runs.folder import find_runs
from uda.sweeps.record import read_plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path):
    """An environment whose ``uda`` is this checkout's."""
    tools = write_tools(tmp_path / "bin", uda=f'exec "{sys.executable}" -m uda.cli "$@"')
    return {**tools, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def script(name, *arguments, environment, **more):
    return subprocess.run(
        ["bash", f"scripts/{name}", *map(str, arguments)],
        cwd=ROOT, env={**environment, **more}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_a_missing_folder_and_no_folder(tmp_path, environment):
    done = script("reproduce_office_home.sh", tmp_path / "none", environment=environment)
    assert done.returncode == 2
    assert f"{tmp_path}/none/Art" in done.stderr
    done = script("reproduce_office_home.sh", environment=environment)
    assert done.returncode == 2
    assert "--dry-run" in done.stderr


def stubs(folder, *names, gpus):
    """Tools that write down how they were called; a ``python3`` that counts GPUs."""
    notes = {name: f'echo "{name} $*" >> "{folder}/calls"' for name in names}
    return write_tools(folder, **notes, python3=f"echo {gpus}")


@pytest.mark.parametrize("gpus", [1, 4])
@pytest.mark.parametrize(
    "name", load_dataset_spec("office_home").folder_names["RealWorld"], ids=lambda name: name
)
def test_every_spelling_of_real_world_and_every_gpu(tmp_path, name, gpus):
    for domain in ("Art", "Clipart", "Product", name):
        (tmp_path / "data" / domain).mkdir(parents=True)
    environment = stubs(tmp_path / "bin", "uda", "genmix", gpus=gpus)
    done = script("reproduce_office_home.sh", tmp_path / "data",
                  environment={**environment, "GENMIX_EDITOR": "instruct-pix2pix"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "bin" / "calls").read_text().splitlines()
    edits = [line for line in calls if " edit " in line]
    assert [line.partition(" --store")[0] for line in edits] == [
        f"genmix edit {tmp_path}/data/{domain}" for domain in ("Art", "Clipart", "Product", name)
    ]
    assert all(line.endswith(f" --workers {gpus}") for line in edits)  # a GPU for each
    sweeps = [line for line in calls if line.startswith("uda sweep")]
    assert len(sweeps) == 3
    # A run goes by the screening that its edits were made with.
    assert all("--augment.options.genmix.screening=features" in line for line in sweeps)
    assert all("--features" in line for line in edits)


@pytest.mark.slow
def test_the_dry_run_says_what_it_needs(tmp_path, environment):
    more = {"RUNS": str(tmp_path / "runs"), "SEEDS": "0 1", "TRAIN_PER_SECOND": "100"}
    done = script(
        "reproduce_office_home.sh", tmp_path, "--dry-run", environment=environment, **more
    )
    assert done.returncode == 0, done.stderr
    for words in ("2 seeds", "15588 edits by filters", "GB for 336 runs"):
        assert words in done.stdout
    # PDA: 50 passes over all images by four sources, twice for GenMix, for two seeds.
    (line,) = re.findall(r"(?m)^PDA +(\d+) +(\d+)", done.stdout)
    images = 15588
    assert int(line[0]) == round(50 * images * 2 * 2 / 100 / 3600)
    seconds = 3 * (50 / 100 + 52 / 1200) * images * 25 / 65 * 2 * 2
    assert int(line[1]) == round(seconds / 3600)
    assert done.stdout.count("together") == 3
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_from_a_folder_to_the_tables(tmp_path, environment):
    office_home(tmp_path / "office_home")
    runs = tmp_path / "runs"
    little = [*LITTLE, f"--store={tmp_path / 'edits'}", "--sweep.pairs=[Re2Ar]"]
    more = {"RUNS": str(runs), "SEEDS": "0"}
    done = script(
        "reproduce_office_home.sh", tmp_path / "office_home", *little,
        environment=environment, **more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = read_plan(runs)
    assert written is not None
    assert sorted(written.experiments) == [f"office_home_{s}" for s in ("opda", "osda", "pda")]
    assert len(written.expected) == 3 * 4
    assert all(run.done for run in written.expected)
    names = {run.folder.name.rsplit("-", 1)[0] for run in find_runs(runs)}
    assert len(names) == 3 * (2 + 4)
    assert {f"lead-Re2Ar-{s}-genmix-s0" for s in ("opda", "osda", "pda")} <= names
    text = (runs / "report.md").read_text()
    assert "LEAD + GenMix" in text
    assert "Office-Home, RealWorld → Art" in text
