"""Terminals, notebooks and launchers that a command may be started from."""

import errno
import io
import os
import sys

import pytest

from genmix_aug.cli import environment
from genmix_aug.cli.console import plain_console
from genmix_aug.cli.main import main as genmix
from uda.cli.main import main as uda


@pytest.mark.parametrize(
    ("encoding", "errors"), [("ascii", "surrogateescape"), ("latin-1", "strict")]
)
def test_what_a_terminal_does_not_know_is_escaped(monkeypatch, encoding, errors):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)
    monkeypatch.setattr(sys, "stdout", terminal)
    with plain_console("uda"):
        print("Plain → Dark, \udce9")
    terminal.flush()
    assert terminal.buffer.getvalue() == b"Plain \\u2192 Dark, \\udce9\n"


@pytest.mark.parametrize(
    ("backend", "used"),
    [("module://not_installed_inline.backend", "agg"), ("module://json", "module://json")],
)
def test_a_notebooks_backend_is_used_only_where_it_is_installed(monkeypatch, backend, used):
    monkeypatch.setenv("MPLBACKEND", backend)
    environment.prepare_environment()
    assert os.environ["MPLBACKEND"] == used


@pytest.mark.parametrize("name", environment.LAUNCHER)
def test_an_empty_variable_of_a_launcher_is_as_none(monkeypatch, name):
    monkeypatch.setenv(name, "")
    with pytest.raises(SystemExit) as stop:
        uda(["--version"])
    assert stop.value.code == 0
    assert name not in os.environ


@pytest.mark.parametrize("main", [uda, genmix])
def test_a_variable_of_a_launcher_that_is_no_number_is_named(monkeypatch, capsys, main):
    monkeypatch.setenv("WORLD_SIZE", "two")
    assert main(["report", "runs"]) == 1
    assert "WORLD_SIZE: 'two' in the environment is not a number" in capsys.readouterr().err


@pytest.mark.parametrize("main", [uda, genmix])
def test_a_full_disk_under_standard_output_is_named(monkeypatch, capsys, main):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    command = {uda: ["data", "splits", "emoji_home"], genmix: ["fractals", "--count=0", "--out=x"]}
    assert main(command[main]) == 1
    if main is uda:
        error = capsys.readouterr().err
        assert error == "uda: error: standard output: cannot be written: No space left on device\n"


def test_a_long_message_keeps_its_beginning_and_end():
    long = environment.message_of(ValueError(f"their.yaml: {'x' * 20_000}: no such key"))
    assert len(long) < 1010
    assert long.startswith("their.yaml: xxx")
    assert long.endswith("xxx: no such key")
    assert environment.message_of(ValueError("a" * 1000)) == "a" * 1000
