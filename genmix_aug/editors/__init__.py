"""Editors by name; adding one is one file here and one line below."""

from collections.abc import Callable

from genmix_aug.editors.base import Editor
from genmix_aug.editors.filters import FilterEditor

__all__ = ["EDITORS", "Editor", "FilterEditor"]

EDITORS: dict[str, Callable[..., Editor]] = {
    "filters": FilterEditor,
}
