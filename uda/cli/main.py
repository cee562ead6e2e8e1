"""The command line: ``uda data|import-lead|train|adapt|run|…``, a subcommand for each thing."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import fields
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, get_loader

from uda.cli.commands import OWN_FOLDERS, Command, commands
from uda.cli.data_commands import data_commands
from uda.config import Experiment, check_sections, read_yaml
from uda.stages.memory import lack_of_memory

# In which a launcher of several processes ends those whose first one has failed.
GRACE_SECONDS = 10
EXPERIMENTS = ("train", "adapt", "sweep")  # the commands that take an experiment
SHARED = ("train", "adapt", "run", "evaluate")  # those that several processes do together


def _parser() -> tuple[ArgumentParser, dict[str, Command]]:
    """The parser, and the commands by the words that name them (``data check``)."""
    parser = ArgumentParser(
        prog="uda",
        description="Train a classifier on one domain, with GenMix or without, adapt it to another "
        "one without labels, and score it.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    subcommands = parser.add_subcommands(required=True, dest="command")
    data = ArgumentParser(description="Build, check or prepare datasets.", allow_abbrev=False)
    subcommands.add_subcommand("data", data, help="build, check or prepare a dataset")
    datasets = data.add_subcommands(required=True, dest="dataset_command")
    known = {}
    for command in data_commands():
        datasets.add_subcommand(command.name, command.parser, help=command.help)
        known[f"data {command.name}"] = command
    for command in commands():
        subcommands.add_subcommand(command.name, command.parser, help=command.help)
        known[command.name] = command
    return parser, known


def _act(parser: ArgumentParser, known: Mapping[str, Command], typed: Sequence[str]) -> int:
    """Do what was ``typed``; the exit code."""
    given = parser.parse_args(typed)
    name, options = given.command, given[given.command]
    if name == "data":
        name, options = f"data {options.dataset_command}", options[options.dataset_command]
    if _in_several_processes() and name not in SHARED:
        instead = "; --workers N does N runs at a time" if name == "sweep" else ""
        raise ValueError(f"uda {name} is for one process: start it without a launcher{instead}")
    command = known[name]
    if command.act:
        return command.act(options) or 0
    values = vars(parser.instantiate(given)[name])
    experiment = Experiment(**{one.name: values[one.name] for one in fields(Experiment)})
    assert command.act_on
    command.act_on(experiment, options)
    return 0


def _with_config_flag(arguments: Sequence[str]) -> list[str]:
    """``uda train FILE.yaml`` is ``uda train --config FILE.yaml``; so with adapt and sweep.

    ``uda run`` has a file to begin with.
    """
    given = list(arguments)
    if given[:1] == ["run"]:
        given[1:1] = ["--config", str(OWN_FOLDERS)]
    if len(given) > 1 and given[0] in EXPERIMENTS and not given[1].startswith("-"):
        given.insert(1, "--config")
    return given


def _with_merged_options(arguments: Sequence[str]) -> list[str]:
    """Put all ``--adapt.options.lead.KEY VALUE`` into one ``--adapt.options.lead={…}`` at the end.

    The parser takes each of them for the whole of ``lead``, so the last one would win over the
    others and over the configuration files, of which the last one with options counts.
    """
    load = get_loader("yaml")  # the parser's: plain YAML takes 1e-1 for text
    bases: dict[str, dict[str, Any]] = {}
    options: dict[str, dict[str, Any]] = {}
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        match = re.fullmatch(r"--(adapt|augment)\.options\.(\w+)(?:\.(\w+))?", flag)
        if not (match or flag == "--config"):
            kept.append(word)
            continue
        text = value if equals else next(words, "--")
        if text.startswith("--") or not (text or match):
            raise ArgumentError(None, f"{flag}: expected a value")
        if not match:
            kept += ["--config", text]
            config = read_yaml(Path(text), load)
            check_sections(config, text)  # the parser's own words would not name the file
            for section in ("adapt", "augment"):
                if found := config.get(section, {}).get("options"):
                    bases[section] = found
            continue
        section, name, key = match.groups()
        given = load(text)
        if not key:
            options[f"{section}.{name}"] = given
            continue
        base = bases.get(section, {}).get(name) or {}
        own = options.setdefault(f"{section}.{name}", dict(base))
        if not isinstance(own, dict):
            raise ValueError(f"{flag}: {section}.options.{name} was given as {own!r}")
        own[key] = given
    for place, given in options.items():
        section, name = place.split(".")
        kept.append(f"--{section}.options.{name}={json.dumps(given)}")
    return kept


def _plain(message: str) -> str:
    """The parser's message on one line, its word for a list put into YAML's."""
    text = " ".join(message.split())
    return re.sub(
        r"Parser key \"([\w.]+)\": Expected a <class 'list'>\. Got value: (\S+)",
        r"--\1: expected a list: '[\2]'",
        text,
    )


def _fail(message: str, code: int) -> int:
    """Print ``message`` as an error; ``code``.

    Of several processes that fail alike only the first one speaks: it ends, and the launcher ends
    the others, which wait for that. One that fails alone speaks after all.
    """
    rank = int(os.environ.get("RANK", 0)) if _in_several_processes() else 0
    if rank:
        time.sleep(GRACE_SECONDS)
    print(f"uda: error: {f'process {rank}: ' if rank else ''}{message}", file=sys.stderr)
    return code


def _in_several_processes() -> bool:
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Mistakes of the user's are one line, not a traceback."""
    parser, known = _parser()
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files are of any encoding
    typed = _with_config_flag(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _act(parser, known, _with_merged_options(typed))
        if _in_several_processes():
            from uda.compute.distributed import finish

            finish()
    except ArgumentError as error:
        return _fail(f"{_plain(str(error))} (see uda COMMAND --help)", 2)
    except BrokenPipeError:  # the reader, such as head, has gone: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, yaml.YAMLError) as error:
        return _fail(" ".join(str(error).split()), 1)
    except (RuntimeError, MemoryError) as error:
        if lacking := lack_of_memory(error):
            return _fail(lacking, 1)
        if _in_several_processes():  # another one failed, has said so, and this one lost it?
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
