"""What is typed, in the form that the parser takes: configuration files and options of methods."""

from __future__ import annotations

import json
import re
from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import get_loader

from genmix_aug.cli.console import with_home
from uda.cli.command import Command
from uda.config import CONFIGS, check_sections, read_yaml

OPTION = re.compile(r"--(adapt|augment|pretrain)\.options\.(\w+)(?:\.(\w+))?")


def with_config_flag(arguments: Sequence[str], command: Command) -> list[str]:
    """Return ``train --config FILE.yaml`` for ``train FILE.yaml``; so with adapt and sweep.

    The file that a command always starts from is put before the others.
    """
    name, *options = arguments
    if command.base:
        return [name, "--config", str(command.base), *options]
    if command.takes_experiment and options and not options[0].startswith("-"):
        return [name, "--config", *options]
    return [name, *options]


def with_merged_options(arguments: Sequence[str]) -> list[str]:
    """Put all ``--adapt.options.lead.KEY VALUE`` into a single ``--adapt.options.lead={…}``.

    The parser takes each for the whole of ``lead``, so the last would win over the others and over
    the configuration files, of which the last with options counts.
    """
    kept: list[str] = []
    merged = _MergedOptions()
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        option = OPTION.fullmatch(flag)
        if not (option or flag == "--config"):
            kept.append(word)
            continue
        text = value if equals else next(words, "--")
        if text.startswith("--") or not (text or option):
            raise ArgumentError(None, f"{flag}: expected a value")
        if option:
            section, name, key = option.groups()
            merged.add(section, name, key, text)
        else:
            kept += ["--config", merged.read(text)]
    return kept + merged.flags()


class _MergedOptions:
    """The options of methods and augmentations, from flags over those of configuration files."""

    def __init__(self) -> None:
        self.load = get_loader("yaml")  # the parser's: plain YAML takes 1e-1 for text
        self.in_files: dict[str, dict[str, Any]] = {}  # by section
        self.in_flags: dict[str, Any] = {}  # by section.name

    def read(self, path: str) -> str:
        """Read a configuration file and note its options; return its content as JSON."""
        config = read_config(Path(installed_config(path)), self.load)
        for section in ("adapt", "augment", "pretrain"):
            if options := config.get(section, {}).get("options"):
                self.in_files[section] = options
        return json.dumps(config, default=str)  # YAML may hold dates

    def add(self, section: str, name: str, key: str | None, text: str) -> None:
        """Note a flag ``--SECTION.options.NAME[.KEY] TEXT``."""
        value = self.load(text)
        if key is None:
            self.in_flags[f"{section}.{name}"] = value
            return
        in_file = self.in_files.get(section, {}).get(name) or {}
        options = self.in_flags.setdefault(f"{section}.{name}", dict(in_file))
        if not isinstance(options, dict):
            flag = f"--{section}.options.{name}.{key}"
            raise ValueError(f"{flag}: {section}.options.{name} was given as {options!r}")
        options[key] = value

    def flags(self) -> list[str]:
        """Return a flag for each method and augmentation with options."""
        texts = []
        for where, options in self.in_flags.items():
            section, name = where.split(".")
            texts.append(f"--{section}.options.{name}={json.dumps(options)}")
        return texts


def read_config(path: Path, load: Callable[[str], Any]) -> dict[str, Any]:
    """Return the keys of an experiment's file, laid over those of the file that it calls ``base``.

    The base is a path from the file's folder, and has no base itself.

    Raises:
        ValueError: naming the file and the key at fault; the parser's messages would not name the
            file.
    """
    config = read_yaml(path, load)
    check_sections(config, str(path))
    base = config.pop("base", "")
    if not base:
        return config
    base_file = path.parent / with_home(str(base))
    if base_file.suffix not in (".yaml", ".yml"):  # a stranger's may name /dev/zero
        raise ValueError(f"{path}: base: {str(base)[:100]!r} names no .yaml file")
    below = read_yaml(base_file, load)
    check_sections(below, str(base_file))
    if "base" in below:
        raise ValueError(f"{path}: base: {base} has a base itself; name that file")
    return _laid_over(below, config)


def _laid_over(below: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings key by key; where both values are no mappings, that of ``over`` counts."""
    merged = {**below, **over}
    for key in below.keys() & over.keys():
        if isinstance(below[key], Mapping) and isinstance(over[key], Mapping):
            merged[key] = _laid_over(below[key], over[key])
    return merged


def installed_config(path: str) -> str:
    """Return the installed file for a path ``configs/…`` that does not exist, or ``path``."""
    path = with_home(path)
    installed = CONFIGS.parent / path
    is_missing = path.startswith("configs/") and not Path(path).exists()
    return str(installed) if is_missing and installed.is_file() else path
