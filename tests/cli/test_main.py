"""The command line itself: help, exit codes and messages of a single line."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from uda.cli.main import COMMANDS, DATA_COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command", ["", "data", *COMMANDS, *(f"data {name}" for name in DATA_COMMANDS)]
)
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    assert "usage: uda" in capsys.readouterr().out


@pytest.mark.parametrize("command", [*COMMANDS.values(), *DATA_COMMANDS.values()])
def test_every_option_has_a_text(command):
    for action in command.parser()._actions:
        assert action.help, f"{command.name}: {action.dest}"


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"uda {version('genmix-uda')}\n"


def test_unknown_keys_and_wrong_types_are_named(does_not_parse, tmp_path):
    does_not_parse(["train", "--train.epoch", "3"], "--train.epoch")
    does_not_parse(["train", "--train.epochs", "many"], "train.epochs")
    does_not_parse(["sweep", "--sweep.pairs", "Tw2Fl"], "--sweep.pairs: expected a list: '[Tw2Fl]'")
    path = tmp_path / "c.yaml"
    path.write_text("train: {epocs: 3}")
    does_not_parse(["train", "--config", str(path)], "epocs")


@pytest.mark.parametrize("command", ["sweep", "report", "data splits"])
def test_commands_for_one_process_refuse_several(
    fails_with, monkeypatch, flags, tmp_path, command, runs
):
    more = {"sweep": flags, "report": [str(tmp_path)], "data splits": ["emoji_home"]}[command]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    fails_with([*command.split(), *more], f"uda {command} is for one process")
    assert not runs.exists()


@pytest.mark.parametrize(
    ("error", "one_line"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), True),
        (MemoryError("CUDA out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_lack_of_memory_is_one_line_and_a_fault_of_ours_is_not(
    fails_with, flags, monkeypatch, error, one_line
):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("uda.training.train.train", fails)
    if one_line:
        fails_with(["train", *flags], "CUDA out of memory: too", "--train.accumulate")
    else:
        with pytest.raises(RuntimeError, match="mat1"):
            main(["train", *flags])


@pytest.mark.slow
def test_the_installed_command():
    done = subprocess.run(
        [sys.executable, "-m", "uda.cli", "train", "--train.epoch=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 2
    assert "--train.epoch" in done.stderr
    assert "Traceback" not in done.stderr
