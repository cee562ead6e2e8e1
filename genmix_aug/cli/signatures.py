"""Command-line parsers made of a function's signature and docstring: an option is written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, NamedTuple, get_type_hints

from docstring_parser import parse
from jsonargparse import ArgumentParser


def parser_of(function: Callable[..., Any], skip: Sequence[str] = ()) -> ArgumentParser:
    """Return a parser whose description is that of ``function``'s docstring, with its options."""
    parser = ArgumentParser(description=description_of(function), allow_abbrev=False)
    add_options(parser, function, skip)
    return parser


def add_options(
    parser: ArgumentParser, function: Callable[..., Any], skip: Sequence[str] = ()
) -> None:
    """Add an option for each parameter of ``function``, but for those to ``skip``.

    A parameter without a default is a positional argument, or a required flag where it is
    keyword-only. Flags have dashes for underscores. A bool is a switch, and a list takes several
    words. The help is the parameter's text in the docstring's section *Args*. A parameter whose
    type is a dataclass stands for the fields of it, which become flags.
    """
    for parameter in _parameters(function, skip):
        if is_dataclass(parameter.kind):
            for field in _parameters(parameter.kind):
                default = getattr(parameter.default, field.name, field.default)
                _add_option(parser, field._replace(default=default, is_flag=True))
        else:
            _add_option(parser, parameter)


def call(function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Call ``function`` with the values that its parser has read."""
    arguments = {}
    for name, kind, *_ in _parameters(function):
        if is_dataclass(kind) and isinstance(kind, type):
            fields = [field.name for field in _parameters(kind)]
            arguments[name] = kind(**{field: values[field] for field in fields})
        else:
            arguments[name] = values[name]
    return function(**arguments)


def description_of(function: Callable[..., Any], short: bool = False) -> str:
    """Return the docstring's text before its sections; with ``short`` its first sentence alone."""
    parsed = parse(inspect.getdoc(function) or "")
    parts = filter(None, (parsed.short_description, parsed.long_description))
    text = " ".join(" ".join(parts).replace("``", "`").split())
    return text.partition(". ")[0].rstrip(".") if short else text


class _Parameter(NamedTuple):
    """A parameter of a function: its name, type, default (`empty` for none) and help."""

    name: str
    kind: Any
    default: Any
    help: str
    is_flag: bool


def _parameters(function: Any, skip: Sequence[str] = ()) -> Iterator[_Parameter]:
    sections = parse(inspect.getdoc(function) or "").params
    helps = {each.arg_name: " ".join((each.description or "").split()) for each in sections}
    types = get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in skip:
            has_default = parameter.default is not parameter.empty
            is_flag = has_default or parameter.kind is parameter.KEYWORD_ONLY
            yield _Parameter(name, types[name], parameter.default, helps.get(name, ""), is_flag)


def _add_option(parser: ArgumentParser, parameter: _Parameter) -> None:
    kind, is_required = parameter.kind, parameter.default is inspect.Parameter.empty
    name = "--" + parameter.name.replace("_", "-") if parameter.is_flag else parameter.name
    settings: dict[str, Any] = {"help": parameter.help}
    if kind is bool:
        settings["action"] = "store_true"
    elif kind in (list[str], Sequence[str]):
        settings |= {"type": str, "nargs": "+"}
    else:
        settings["type"] = kind
    if not is_required and kind is not bool:
        settings["default"] = parameter.default
    if is_required and parameter.is_flag:
        settings["required"] = True
    parser.add_argument(name, **settings)
