"""Command-line parsers made of a function's signature and docstring: an option is written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from docstring_parser import parse
from jsonargparse import ArgumentParser


def parser_of(function: Callable[..., Any], skip: Sequence[str] = ()) -> ArgumentParser:
    """Return a parser whose description is that of ``function``'s docstring, with its options."""
    parsed = parse(inspect.getdoc(function) or "")
    parts = filter(None, (parsed.short_description, parsed.long_description))
    parser = ArgumentParser(
        description=" ".join(" ".join(parts).replace("``", "`").split()), allow_abbrev=False
    )
    add_options(parser, function, skip)
    return parser


def add_options(
    parser: ArgumentParser, function: Callable[..., Any], skip: Sequence[str] = ()
) -> None:
    """Add an option for each parameter of ``function``, but for those to ``skip``.

    A parameter without a default is a positional argument, or a required flag where it is
    keyword-only. Flags have dashes for underscores. A bool is a switch, and a list takes several
    words. The help is the parameter's text in the docstring's section *Args*.
    """
    helps = {one.arg_name: one.description for one in parse(inspect.getdoc(function) or "").params}
    types = get_type_hints(function)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in skip:
            text = " ".join((helps.get(parameter.name) or "").split())
            _add_option(parser, parameter, types[parameter.name], text)


def _add_option(parser: ArgumentParser, parameter: inspect.Parameter, kind: Any, text: str) -> None:
    required = parameter.default is parameter.empty
    positional = required and parameter.kind is not parameter.KEYWORD_ONLY
    name = parameter.name if positional else "--" + parameter.name.replace("_", "-")
    settings: dict[str, Any] = {"help": text}
    if kind is bool:
        settings["action"] = "store_true"
    elif kind in (list[str], Sequence[str]):
        settings |= {"type": str, "nargs": "+"}
    else:
        settings["type"] = kind
    if not required and kind is not bool:
        settings["default"] = parameter.default
    if required and not positional:
        settings["required"] = True
    parser.add_argument(name, **settings)
