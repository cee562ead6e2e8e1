"""What is installed: a wheel brings the configurations, and a clone's are read where they lie."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers.tiny import arguments, make_dataset

from uda.config import CONFIGS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("uda", "genmix_aug", "configs", "setup.py", "setup.cfg", "pyproject.toml", "README.md")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of what a wheel is built from, as building leaves files behind."""
    folder = tmp_path_factory.mktemp("sources")
    for name in (*SOURCES, "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def installed(sources, tmp_path_factory):
    """A folder into which the wheel is installed."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(sources)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder), str(wheel)], check=True)
    return folder


# Commands one after the other in a process, whose start takes longest.
COMMANDS = """
import contextlib, io, json, sys
from uda.cli.main import main
texts = []
for command in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = main(command)
        except SystemExit as end:
            code = end.code
    if code:
        sys.exit(f"{command}: {code}")
    texts.append(out.getvalue())
print(json.dumps(texts))
"""


@pytest.fixture
def uda(installed, tmp_path):
    """A function that runs commands of the installed ``uda`` in an empty folder; their outputs."""

    def run(*commands):
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed)},
            input=json.dumps([[str(word) for word in command] for command in commands]),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.slow
def test_an_installed_wheel_brings_every_configuration(installed):
    files = {path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.yaml")}
    brought = installed / "uda" / "configs"
    assert {path.relative_to(brought) for path in brought.rglob("*.yaml")} == files


@pytest.mark.slow
def test_an_installed_wheel_works_from_any_folder(uda, tmp_path):
    file = "configs/experiments/emoji_home_opda.yaml"
    more = ["--data.target=Dark", "--train.steps=2", "--adapt.epochs=1"]
    flags = arguments(make_dataset(tmp_path / "tiny"), tmp_path / "runs", *more)
    version, splits, config, same, method, *_, report = uda(
        ["--version"],
        ["data", "splits", "office-home"],
        ["train", file, "--print_config"],
        ["train", "--config", file, "--print_config"],
        ["adapt", file, "--config", "configs/methods/shot_o.yaml", "--print_config"],
        ["train", file, *flags],
        ["adapt", file, *flags],
        ["report", tmp_path / "runs"],
    )
    assert version == "uda 0.1.0\n"
    assert "Office-Home, OPDA" in splits
    assert "steps: 1000" in config
    assert config == same
    assert "method: shot_o" in method
    assert "OPDA" in report


@pytest.mark.slow
def test_an_editable_installation_reads_the_clones_configurations(sources, tmp_path):
    build = "from setuptools import build_meta; print(build_meta.build_editable('.'))"
    subprocess.run([sys.executable, "-c", build], cwd=sources, check=True, capture_output=True)
    (wheel,) = sources.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    # As Python starts up with the folder as site-packages; libraries come without their .pth files,
    # of which this checkout may have some.
    libraries = sysconfig.get_path("purelib")
    code = (
        f"import site, sys; site.addsitedir({str(tmp_path)!r}); sys.path.append({libraries!r})\n"
        "from uda.config import CONFIGS; print(CONFIGS)"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == str(sources / "configs"), done.stderr
