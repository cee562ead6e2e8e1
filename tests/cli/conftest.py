"""A tiny dataset, flags of a small experiment on it, and checks of commands that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.tiny import arguments, make_dataset

from uda.cli.main import main


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "tiny")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of the runs that ``flags`` name."""
    return tmp_path / "runs"


@pytest.fixture
def flags(dataset: Path, runs: Path) -> list[str]:
    return arguments(dataset, runs)


@pytest.fixture
def fails_with(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Check a command's exit code, and that its single line on standard error has ``words``."""

    def check(arguments: list[str], *words: str, code: int = 1) -> None:
        capsys.readouterr()
        assert main(arguments) == code
        error = capsys.readouterr().err.strip()
        assert error.startswith("uda: error: ")
        assert "\n" not in error
        for word in words:
            assert word in error

    return check


@pytest.fixture
def does_not_parse(fails_with: Callable[..., None]) -> Callable[..., None]:
    """Check the same of arguments that do not parse: the exit code is 2."""

    def check(arguments: list[str], *words: str) -> None:
        fails_with(arguments, *words, code=2)

    return check
