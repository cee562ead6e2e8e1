"""Editors by name and options, as a command line or a YAML file gives them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import yaml

from genmix_aug.editors import EDITORS, Editor
from genmix_aug.options import resolved_options


def parse_options(text: str) -> dict[str, Any]:
    """Return an editor's options from "steps=20,preset=fast"; values are read as YAML.

    Raises:
        ValueError: A part without "=", or a value that YAML cannot read.
    """
    options = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"editor options: {part!r} is not KEY=VALUE")
        try:
            options[key.strip()] = yaml.safe_load(os.path.expanduser(value.strip()))
        except yaml.YAMLError:
            raise ValueError(f"editor options: the value in {part!r} cannot be read") from None
    return options


def make_editor(name: str, options: Mapping[str, Any] | None = None) -> Editor:
    """Return the editor of this name, with `options` over its defaults.

    Raises:
        ValueError: No such editor or option, or a value of another type or out of range.
    """
    if name not in EDITORS:
        raise ValueError(f"unknown editor {name!r}: choose from {', '.join(EDITORS)}")
    resolved = resolved_options(
        EDITORS[name],
        options or {},
        unknown=f"editor {name} has no option {{key!r}}: {{known}}",
        mistyped=f"editor {name}: {{key}}={{value!r}} is not a {{wanted}}",
        nothing="it has none",
    )
    return EDITORS[name](**resolved)
