"""The commands of ``uda data``: emoji-home, export-lists, splits and check."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from uda.cli.command import Command
from uda.data.scenarios import class_split
from uda.data.spec import DatasetSpec, load_dataset_spec


def _load_spec(dataset: str, root: str = "") -> DatasetSpec:
    """Return a dataset's specification; ``office-home`` is ``office_home``."""
    is_file = dataset.endswith((".yaml", ".yml"))
    return load_dataset_spec(dataset if is_file else dataset.replace("-", "_"), root)


def emoji_home(
    root: str = "data/emoji_home", image_px: int = 128, mono: bool = False, workers: int = 2
) -> None:
    """Build EmojiHome: emoji of four vendors as four domains of 57 classes.

    Args:
        root: Folder to build.
        image_px: Side of the pictures, px.
        mono: Draw the optional fifth domain, black and white, too.
        workers: Processes that draw.
    """
    from uda.data.emoji_home.build import build
    from uda.data.emoji_home.packages import DEFAULT_DOMAINS, DOMAINS

    try:
        build(Path(root), tuple(DOMAINS) if mono else DEFAULT_DOMAINS, image_px, workers)
    except RuntimeError as error:  # a package that is refused, a drawing that cannot be drawn
        raise ValueError(error) from None


def export_lists(dataset: str, root: str = "", scenario: str = "opda") -> None:
    """Write image_unida_list.txt (`relative/path label` a line) into each domain's folder.

    It is the form in which LEAD, GLC and other code reads a dataset.

    Args:
        dataset: Name under configs/datasets, or a YAML file.
        root: Folder of the dataset's domains.
        scenario: Decides the classes and their numbers.
    """
    from uda.data.lists import export_lists

    written, passed_over = export_lists(_load_spec(dataset, root), scenario)
    for domain, reason in passed_over.items():
        print(f"passed over {domain}: {reason}")
    for path, num_images, num_classes in written:
        print(f"wrote {path}: {num_images} images of {num_classes} classes")


def splits(dataset: str, scenario: str = "") -> None:
    """Print which classes source and target hold under each scenario, by name.

    Args:
        dataset: Name under configs/datasets, or a YAML file.
        scenario: opda, osda or pda; all of them if empty.
    """
    spec = _load_spec(dataset)
    if not spec.scenarios:
        print(f"{spec.title} has no scenarios: it is for training in one domain")
        return
    for name in [scenario] if scenario else spec.scenarios:
        split = class_split(spec, name)
        print(f"{spec.title}, {name.upper()}")
        for part in ("shared", "source_private", "target_private"):
            _print_classes(part.replace("_", "-"), getattr(split, part))


def _print_classes(title: str, class_names: Sequence[str]) -> None:
    text = f"{title} ({len(class_names)}): {', '.join(class_names) or 'none'}"
    wrapper = textwrap.TextWrapper(
        98, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )
    print(wrapper.fill(text))


def check(
    dataset: str,
    root: str = "",
    domains: Sequence[str] = (),
    workers: int = 2,
    fix_names: bool = False,
) -> int:
    """Look at a dataset on disk: its domains, classes and numbers of pictures against the expected.

    Names pictures that cannot be read, and near-duplicates across domains. The exit code is 0
    where the dataset is whole.

    Args:
        dataset: Name under configs/datasets, or a YAML file.
        root: Folder of the dataset's domains.
        domains: Domains to look at (all of them).
        workers: Processes that decode pictures.
        fix_names: First rename folders of domains and classes that differ from the expected names
            in case, spaces, hyphens or underscores only; nothing else is touched.
    """
    from uda.data import check as checking

    spec = _load_spec(dataset, root)
    if spec.reader:
        raise ValueError(
            f"{spec.title} is for training in one domain, and `uda train` reads it as it is "
            "unpacked; this command checks datasets of several domains"
        )
    if fix_names:
        for old, new in checking.fix_names(spec, domains):
            print(f"renamed {old} to {new.name}")
        spec = _load_spec(dataset, root)
    result = checking.check_dataset(spec, domains, workers)
    print("\n".join(checking.describe(spec, result)))
    return int(bool(result.problems))


COMMANDS = (
    Command(emoji_home, "the embedded benchmark, built here"),
    Command(export_lists, "list files for other people's code"),
    Command(splits, "the classes of each scenario, by name"),
    Command(check, "whether a dataset on disk is whole"),
)
