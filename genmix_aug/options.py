"""Options as keyword arguments: a function's defaults, with chosen values over them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def resolved_options(
    function: Callable[..., Any],
    chosen: Mapping[str, Any],
    *,
    unknown: str,
    mistyped: str,
    nothing: str,
) -> dict[str, Any]:
    """Return the keyword options of a function: its defaults, with `chosen` values over them.

    A value must have the type of its default, where that is not None. A whole number serves as a
    float, and a number as a text: YAML reads a folder or a revision of digits alone as such.

    Args:
        function: Parameters without a default are no options.
        chosen: Values by name.
        unknown: The error for a name that is no option, with the fields `key` and `known`.
        mistyped: The error for a value of another type, with `key`, `value` and `wanted`.
        nothing: What `known` says where the function has no options.

    Raises:
        ValueError: A name or a value that does not fit.
    """
    parameters = inspect.signature(function).parameters.values()
    options = {p.name: p.default for p in parameters if p.default is not p.empty}
    for key, value in chosen.items():
        if key not in options:
            raise ValueError(unknown.format(key=key, known=", ".join(options) or nothing))
        wanted = type(options[key])
        if wanted is float and type(value) is int:
            value = float(value)
        elif wanted is str and type(value) in (int, float):
            value = str(value)
        elif type(value) is not wanted and options[key] is not None:
            raise ValueError(mistyped.format(key=key, value=value, wanted=wanted.__name__))
        options[key] = value
    return options
