"""The command `genmix`: fill an edit store, and show what edits and GenMix look like."""

from __future__ import annotations

import sys
from argparse import ArgumentError
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from jsonargparse import ArgumentParser

from genmix_aug.cli.console import one_line, plain_console, with_home
from genmix_aug.cli.edits import edit, screen
from genmix_aug.cli.environment import close_output, message_of, prepare_environment
from genmix_aug.cli.pictures import export, fractals, preview
from genmix_aug.cli.signatures import call, description_of, parser_of

# Each imports what it needs when it runs: --help must not wait for torch and OpenCV.
COMMANDS: dict[str, Callable[..., None]] = {
    "edit": edit,
    "preview": preview,
    "screen": screen,
    "fractals": fractals,
    "export": export,
}


def build_parser() -> ArgumentParser:
    """Return the parser of `genmix` with its subcommands."""
    parser = ArgumentParser(
        prog="genmix",
        description="GenMix: label-preserving training images from edits, seams and fractals.",
        allow_abbrev=False,
        exit_on_error=False,
        version=_version(),
    )
    commands = parser.add_subcommands(required=True, dest="command")
    for name, command in COMMANDS.items():
        commands.add_subcommand(name, parser_of(command), help=description_of(command, short=True))
    return parser


def _version() -> str:
    try:
        return version("genmix-uda")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def main(args: list[str] | None = None) -> int:
    """Run `genmix` with these arguments (the command line's by default); return the exit code."""
    with plain_console("genmix"):
        return _main(args)


def _main(args: list[str] | None) -> int:
    try:
        prepare_environment()
        options = build_parser().parse_args(args)
        call(COMMANDS[options.command], with_home(vars(options[options.command])))
        sys.stdout.flush()
    except ArgumentError as error:
        print(f"genmix: error: {one_line(error)} (see genmix COMMAND --help)", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as head, has gone
        close_output()
        return 141
    except (ValueError, OSError) as error:
        print(f"genmix: error: {message_of(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("genmix: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
