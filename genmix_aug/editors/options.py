"""Editors by name and options, as a command line or a YAML file gives them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import yaml

from genmix_aug.editors import EDITORS, Editor


def editor_options(name: str) -> dict[str, Any]:
    """The options of an editor and their defaults.

    Raises:
        ValueError: there is no such editor.
    """
    if name not in EDITORS:
        raise ValueError(f"unknown editor {name!r}: choose from {', '.join(EDITORS)}")
    parameters = inspect.signature(EDITORS[name]).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


def parse_options(text: str) -> dict[str, Any]:
    """An editor's options from "steps=20,preset=fast"; values are read as YAML reads them.

    Raises:
        ValueError: a part without "=".
    """
    options = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"editor options: {part!r} is not KEY=VALUE")
        try:
            options[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"editor options: the value in {part!r} cannot be read") from None
    return options


def make_editor(name: str, options: Mapping[str, Any] | None = None) -> Editor:
    """The editor of this name; `options` over its defaults.

    Raises:
        ValueError: no such editor or option, or a value of another type or out of range.
    """
    defaults = editor_options(name)
    chosen = dict(options or {})
    for key, value in chosen.items():
        if key not in defaults:
            known = ", ".join(defaults) or "it has none"
            raise ValueError(f"editor {name} has no option {key!r}: {known}")
        wanted = type(defaults[key])
        if wanted is float and type(value) is int:
            chosen[key] = float(value)
        elif wanted is str and type(value) in (int, float):
            chosen[key] = str(value)  # a folder or a revision of digits alone
        elif type(value) is not wanted and defaults[key] is not None:
            raise ValueError(f"editor {name}: {key}={value!r} is not a {wanted.__name__}")
    return EDITORS[name](**chosen)
