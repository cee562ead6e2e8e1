"""The command line: ``uda data|train|adapt|run|…``, a subcommand for each thing."""

from __future__ import annotations

import os
import re
import sys
import time
from argparse import ArgumentError
from collections.abc import Sequence

import yaml
from jsonargparse import ArgumentParser, Namespace

from genmix_aug.cli.console import one_line, plain_console, with_home
from genmix_aug.cli.environment import close_output, message_of, prepare_environment
from uda.cli import datasets, experiments, models, results
from uda.cli.arguments import with_config_flag, with_merged_options
from uda.cli.command import Command
from uda.runs.version import package_version
from uda.stages.memory import lack_of_memory

# In which a launcher of several processes ends those whose first rank has failed.
GRACE_SECONDS = 10
COMMANDS = {
    command.name: command
    for command in (*experiments.COMMANDS, *models.COMMANDS, *results.COMMANDS)
}
DATA_COMMANDS = {command.name: command for command in datasets.COMMANDS}


def build_parser() -> ArgumentParser:
    """Return the parser of ``uda`` with its subcommands."""
    parser = ArgumentParser(
        prog="uda",
        version=package_version(),
        description="Train a classifier on a domain, with GenMix or without, adapt it to another "
        "without labels, and score it.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    subcommands = parser.add_subcommands(required=True, dest="command")
    data = ArgumentParser(description="Build, check or prepare datasets.", allow_abbrev=False)
    subcommands.add_subcommand("data", data, help="build, check or prepare a dataset")
    data_subcommands = data.add_subcommands(required=True, dest="dataset_command")
    for name, command in DATA_COMMANDS.items():
        data_subcommands.add_subcommand(name, command.parser(), help=command.help)
    for name, command in COMMANDS.items():
        subcommands.add_subcommand(name, command.parser(), help=command.help)
    return parser


def parse(arguments: Sequence[str]) -> tuple[Command, Namespace]:
    """Return the command that ``arguments`` name, and its options.

    Raises:
        ArgumentError: an unknown command or option, or a value of the wrong type.
        ValueError: a configuration file that cannot be read, or a value that cannot be had.
    """
    parser = build_parser()
    if arguments and arguments[0] in COMMANDS:
        arguments = with_config_flag(arguments, COMMANDS[arguments[0]])
    parsed = parser.parse_args(with_merged_options(arguments))
    for key, value in list(parsed.items()):
        parsed[key] = with_home(value)
    options = parsed[parsed.command]
    if parsed.command == "data":
        return DATA_COMMANDS[options.dataset_command], options[options.dataset_command]
    command = COMMANDS[parsed.command]
    if command.takes_experiment:
        options = parser.instantiate(parsed)[parsed.command]
    return command, options


def _run(arguments: Sequence[str]) -> int:
    command, options = parse(arguments)
    if _in_several_processes() and not command.several_processes:
        name = f"data {command.name}" if command in datasets.COMMANDS else command.name
        instead = "; --workers N does N runs at a time" if name == "sweep" else ""
        raise ValueError(f"uda {name} is for one process: start it without a launcher{instead}")
    return command.run(options)


def _plain(message: str) -> str:
    """Put the parser's message on a single line, and its word for a list into YAML's."""
    return re.sub(
        r"Parser key \"([\w.]+)\": Expected a <class 'list'>\. Got value: (\S+)",
        r"--\1: expected a list: '[\2]'",
        one_line(message),
    )


def _fail(message: str, code: int) -> int:
    """Print ``message`` as an error and return ``code``.

    Of several ranks that fail alike only the first speaks: it ends, and the launcher ends the
    others, which wait for that. A rank that fails alone speaks after all.
    """
    rank = int(os.environ.get("RANK", 0)) if _in_several_processes() else 0
    if rank:
        time.sleep(GRACE_SECONDS)
    print(f"uda: error: {f'process {rank}: ' if rank else ''}{message}", file=sys.stderr)
    return code


def _in_several_processes() -> bool:
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    A mistake of the user's is a line on standard error, not a traceback: 2 where the arguments do
    not parse, else 1.
    """
    with plain_console("uda"):
        return _main(sys.argv[1:] if arguments is None else arguments)


def _main(arguments: Sequence[str]) -> int:
    try:
        prepare_environment()
        code = _run(arguments)
        if _in_several_processes():
            from uda.compute.distributed import finish

            finish()
        sys.stdout.flush()
    except ArgumentError as error:
        return _fail(f"{_plain(str(error))} (see uda COMMAND --help)", 2)
    except BrokenPipeError:  # the reader, such as head, has gone: nobody listens
        close_output()
        return 141
    except (ValueError, OSError, yaml.YAMLError) as error:
        return _fail(message_of(error), 1)
    except (RuntimeError, MemoryError) as error:
        if reason := lack_of_memory(error):
            return _fail(reason, 1)
        if _in_several_processes():  # another rank may have failed and said so, and this lost it
            time.sleep(GRACE_SECONDS)
        raise
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print(
                "\nStopped. The same command goes on from the last finished epoch.", file=sys.stderr
            )
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
