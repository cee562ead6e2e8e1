"""The commands of ``uda data``: what each takes, says of itself, and does."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from jsonargparse import Namespace

from uda.cli.commands import ROOT, Command, command_parser
from uda.data.scenarios import class_split
from uda.data.spec import load_dataset_spec

DATASET = "Name under configs/datasets, or a YAML file"


def data_commands() -> Iterator[Command]:
    """All of them, as ``uda data --help`` lists them."""
    yield _emoji_home()
    yield _export_lists()
    yield _splits()
    yield _check()


def _dataset_file(dataset: str) -> str:
    """``office-home`` is ``office_home``; a path stays as it is."""
    return dataset if dataset.endswith((".yaml", ".yml")) else dataset.replace("-", "_")


def _emoji_home() -> Command:
    parser = command_parser("Build EmojiHome: emoji of four vendors as four domains of 57 classes.")
    parser.add_argument("--root", type=str, default="data/emoji_home", help="Folder to build")
    parser.add_argument("--image-px", type=int, default=128, help="Side of the pictures, px")
    parser.add_argument(
        "--mono", action="store_true", help="Draw the optional fifth domain, black and white, too"
    )
    parser.add_argument("--workers", type=int, default=2, help="Processes that draw")

    def act(options: Namespace) -> None:
        from uda.data.emoji_home.build import build
        from uda.data.emoji_home.packages import DEFAULT_DOMAINS, DOMAINS

        domains = tuple(DOMAINS) if options.mono else DEFAULT_DOMAINS
        try:
            build(Path(options.root), domains, options.image_px, options.workers)
        except RuntimeError as error:  # a package that is refused, a drawing that cannot be drawn
            raise ValueError(error) from None

    return Command("emoji-home", "the embedded benchmark, built here", parser, act)


def _export_lists() -> Command:
    parser = command_parser(
        "Write image_unida_list.txt (`relative/path label` a line) into each domain's folder: the "
        "form in which LEAD, GLC and other code reads a dataset."
    )
    parser.add_argument("dataset", type=str, help=DATASET)
    parser.add_argument("--root", type=str, default="", help=ROOT)
    parser.add_argument(
        "--scenario", type=str, default="opda", help="Decides the classes and their numbers"
    )

    def act(options: Namespace) -> None:
        from uda.data.lists import export_lists

        spec = load_dataset_spec(_dataset_file(options.dataset), options.root)
        written, passed_over = export_lists(spec, options.scenario)
        for domain, reason in passed_over.items():
            print(f"passed over {domain}: {reason}")
        for path, images, classes in written:
            print(f"wrote {path}: {images} images of {classes} classes")

    return Command("export-lists", "list files for other people's code", parser, act)


def _splits() -> Command:
    parser = command_parser(
        "Print which classes source and target hold under each scenario, by name."
    )
    parser.add_argument("dataset", type=str, help=DATASET)
    parser.add_argument("--scenario", type=str, default="", help="opda, osda or pda; all of them")

    def act(options: Namespace) -> None:
        spec = load_dataset_spec(_dataset_file(options.dataset))
        if not spec.scenarios:
            print(f"{spec.title} has no scenarios: it is for training in one domain")
            return
        for name in [options.scenario] if options.scenario else spec.scenarios:
            split = class_split(spec, name)
            print(f"{spec.title}, {name.upper()}")
            for part in ("shared", "source_private", "target_private"):
                classes = getattr(split, part)
                title = f"{part.replace('_', '-')} ({len(classes)})"
                print(
                    textwrap.fill(
                        f"{title}: {', '.join(classes) or 'none'}",
                        98,
                        initial_indent="  ",
                        subsequent_indent="    ",
                        break_on_hyphens=False,
                    )
                )

    return Command("splits", "the classes of each scenario, by name", parser, act)


def _check() -> Command:
    parser = command_parser(
        "Look at a dataset on disk: its domains, classes and numbers of pictures against the "
        "expected ones, pictures that cannot be read, near-duplicates across domains. The exit "
        "code is 0 where it is whole."
    )
    parser.add_argument("dataset", type=str, help=DATASET)
    parser.add_argument("--root", type=str, default="", help=ROOT)
    parser.add_argument(
        "--domains", type=str, nargs="+", default=[], help="Domains to look at (all of them)"
    )
    parser.add_argument("--workers", type=int, default=2, help="Processes that decode pictures")
    parser.add_argument(
        "--fix-names",
        action="store_true",
        help="First rename folders of domains and classes that differ from the expected names in "
        "case, spaces, hyphens or underscores only; nothing else is touched",
    )

    def act(options: Namespace) -> int:
        from uda.data.check import check_dataset, describe, fix_names

        file = _dataset_file(options.dataset)
        spec = load_dataset_spec(file, options.root)
        if spec.reader:
            raise ValueError(
                f"{spec.title} is for training in one domain, and `uda train` reads it as it is "
                "unpacked; this command checks datasets of several domains"
            )
        if options.fix_names:
            for old, new in fix_names(spec, options.domains):
                print(f"renamed {old} to {new.name}")
            spec = load_dataset_spec(file, options.root)
        check = check_dataset(spec, options.domains, options.workers)
        print("\n".join(describe(spec, check)))
        return int(bool(check.problems))

    return Command("check", "whether a dataset on disk is whole", parser, act)
