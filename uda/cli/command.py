"""What a command is: a function, whose signature and docstring are its options and help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from genmix_aug.cli.signatures import parser_of
from uda.config import Experiment
from uda.runs.folder import is_run


@dataclass(frozen=True)
class Command:
    """A subcommand of ``uda``.

    Attributes:
        function: Does the work; returns the exit code, or None for 0. The options of a first
            parameter ``experiment`` are the keys of an experiment's file. Heavy modules are
            imported in its body, as ``--help`` must not wait for torch.
        help: Its line in the list of commands.
        several_processes: Whether a launcher such as torchrun may start it in several processes.
        base: The experiment's file that the command always starts from.
    """

    function: Callable[..., int | None]
    help: str
    several_processes: bool = False
    base: Path | None = None

    @property
    def name(self) -> str:
        """The word that calls it, such as ``import-lead``."""
        return self.function.__name__.replace("_", "-")

    @property
    def takes_experiment(self) -> bool:
        """Whether the keys of an experiment are options of the command."""
        return "experiment" in signature(self.function).parameters

    def parser(self) -> ArgumentParser:
        """Return the parser of the command's options."""
        parser = parser_of(self.function, skip=("experiment",))
        if self.takes_experiment:
            parser.add_argument("--config", action="config", help="YAML file of the options below")
            parser.add_class_arguments(Experiment)
        return parser

    def run(self, options: Namespace) -> int:
        """Run the command with parsed options, and return its exit code."""
        arguments: dict[str, Any] = {
            name: options[name] for name in signature(self.function).parameters if name in options
        }
        if self.takes_experiment:
            values = {field.name: options[field.name] for field in fields(Experiment)}
            arguments["experiment"] = Experiment(**values)
        return self.function(**arguments) or 0


def only_run(names: Sequence[str]) -> str:
    """Return the single run in ``names``.

    Raises:
        ValueError: there are several, as a glob may expand to.
    """
    refuse_runs(names[1:], names[0])
    if names[1:]:
        raise ValueError(f"{names[1]!r}: name a single run; {names[0]} was named before it")
    return names[0]


def refuse_runs(names: Sequence[str], first: str) -> None:
    """Check that none of ``names``, which follow the run ``first``, is a run as well.

    Raises:
        ValueError: naming the second run.
    """
    for name in names:
        path = Path(name)
        if is_run(path.parent if path.suffix == ".pt" else path):
            raise ValueError(f"several runs given: name one; {first} and {name} are two")
