"""The command line: ``uda data|import-lead|train|adapt|run|…``, a subcommand for each thing."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import textwrap
import time
from argparse import ArgumentError
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from uda import stages
from uda.config import CONFIGS, Experiment, read_yaml
from uda.dataset_spec import load_dataset_spec
from uda.splits import class_split

OWN_FOLDERS = CONFIGS / "experiments" / "own_folders.yaml"

# In which a launcher of several processes ends those whose first one has failed.
GRACE_SECONDS = 10
EXPERIMENTS = ("train", "adapt", "sweep")  # the commands that take an experiment


def data_emoji_home(root: str, image_px: int, mono: bool, workers: int) -> None:
    """Build EmojiHome under ``root``."""
    from uda.emoji_home import build
    from uda.emoji_packages import DEFAULT_DOMAINS, DOMAINS

    try:
        build(Path(root), tuple(DOMAINS) if mono else DEFAULT_DOMAINS, image_px, workers)
    except RuntimeError as error:  # a package that is refused, a drawing that cannot be drawn
        raise ValueError(error) from None


def data_export_lists(dataset: str, root: str, scenario: str) -> None:
    """Write the list file of each of the dataset's domains, and say so."""
    from uda.list_files import export_lists

    written, passed_over = export_lists(load_dataset_spec(_dataset_file(dataset), root), scenario)
    for domain, reason in passed_over.items():
        print(f"passed over {domain}: {reason}")
    for path, images, classes in written:
        print(f"wrote {path}: {images} images of {classes} classes")


def data_splits(dataset: str, scenario: str) -> None:
    """Print the classes of the dataset's splits by name."""
    spec = load_dataset_spec(_dataset_file(dataset))
    for name in [scenario] if scenario else spec.scenarios:
        split = class_split(spec, name)
        print(f"{spec.title}, {name.upper()}")
        for part in ("shared", "source_private", "target_private"):
            classes = getattr(split, part)
            words = f"{part.replace('_', '-')} ({len(classes)}): {', '.join(classes) or 'none'}"
            print(
                textwrap.fill(
                    words, 98, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
                )
            )


def data_check(dataset: str, root: str, domains: Sequence[str], workers: int, fix: bool) -> int:
    """Look at the dataset on disk and say what is there; 0 where it is whole, else 1."""
    from uda.data_check import check_dataset, describe, fix_names

    spec = load_dataset_spec(_dataset_file(dataset), root)
    if fix:
        for old, new in fix_names(spec, domains):
            print(f"renamed {old} to {new.name}")
        spec = load_dataset_spec(_dataset_file(dataset), root)
    check = check_dataset(spec, domains, workers)
    print("\n".join(describe(spec, check)))
    return int(bool(check.problems))


def _dataset_file(dataset: str) -> str:
    """``office-home`` is ``office_home``; a path stays as it is."""
    return dataset if dataset.endswith((".yaml", ".yml")) else dataset.replace("-", "_")


def predict(checkpoint: str, images: Sequence[str], out: str, sheet: str, device: str) -> None:
    """Answer for every picture, and say how many were found unknown or could not be read."""
    from uda.answers import load
    from uda.predict import find_pictures, summary, write_csv, write_sheet
    from uda.predict import predict as ask

    if sheet and not sheet.lower().endswith(".png"):
        raise ValueError(f"--sheet: the picture's name must end in .png: {sheet}")
    paths = find_pictures(images)
    answered = ask(load(Path(checkpoint), device), paths)
    for problem in answered.unreadable.values():
        print(f"passed over: {problem}", file=sys.stderr)
    write_csv(answered, Path(out))
    print("\n".join(summary(answered)))
    print(f"wrote {out}")
    if sheet:
        drawn = write_sheet(answered, Path(sheet))
        print(f"wrote {sheet}: {drawn} of them" if drawn else "nothing unknown: no sheet written")


def explain(runs: Sequence[str], images: Sequence[str], out: str, device: str) -> None:
    """Write the sheet of what the runs' models look at, and say what they answer."""
    if not out.lower().endswith(".png"):
        raise ValueError(f"--out: the picture's name must end in .png: {out}")
    from uda.explain import explain as draw
    from uda.predict import find_pictures

    print("\n".join(draw([Path(run) for run in runs], find_pictures(images), Path(out), device)))
    print(f"wrote {out}")


def export(checkpoint: str, kind: str, out: str) -> None:
    """Write the model for other programs, and say how far its answers are from the model's."""
    from uda.answers import load
    from uda.export import export as write

    difference = write(load(Path(checkpoint), "cpu"), kind, Path(out))
    print(f"wrote {out}: its probabilities differ from the model's by at most {difference:.1g}")


def import_lead(checkpoint: str, out: str) -> None:
    """Write a released source model as a checkpoint of ours, and say how to go on from it."""
    from uda.lead_checkpoints import import_lead as write

    found = write(Path(checkpoint), Path(out))
    print(
        f"wrote {out}: {found.backbone}, {found.num_classes} classes, bottleneck of "
        f"{found.bottleneck_dim}\n"
        f"For a scenario whose source has {found.num_classes} classes:\n"
        f"uda adapt EXPERIMENT.yaml --model.backbone {found.backbone} --model.head bottleneck_wn "
        f"--model.bottleneck_dim {found.bottleneck_dim} --adapt.checkpoint {shlex.quote(out)}"
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="uda",
        description="Train a classifier on one domain, with GenMix or without, adapt it to another "
        "one without labels, and score it.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    commands = parser.add_subcommands(required=True, dest="command")

    data = ArgumentParser(description="Build, check or prepare datasets.", allow_abbrev=False)
    commands.add_subcommand("data", data, help="build, check or prepare a dataset")
    datasets = data.add_subcommands(required=True, dest="dataset")
    emoji_home = ArgumentParser(
        description="Build EmojiHome: emoji of four vendors as four domains of 57 classes.",
        allow_abbrev=False,
    )
    emoji_home.add_argument("--root", type=str, default="data/emoji_home", help="Folder to build")
    emoji_home.add_argument("--image-px", type=int, default=128, help="Side of the pictures, px")
    emoji_home.add_argument(
        "--mono", action="store_true", help="Draw the optional fifth domain, black and white, too"
    )
    emoji_home.add_argument("--workers", type=int, default=2, help="Processes that draw")
    datasets.add_subcommand("emoji-home", emoji_home, help="the embedded benchmark, built here")
    lists = ArgumentParser(
        description="Write image_unida_list.txt (`relative/path label` a line) into each domain's "
        "folder: the form in which LEAD, GLC and other code reads a dataset.",
        allow_abbrev=False,
    )
    lists.add_argument("dataset", type=str, help="Name under configs/datasets, or a YAML file")
    lists.add_argument("--root", type=str, default="", help="Folder of the dataset's domains")
    lists.add_argument(
        "--scenario", type=str, default="opda", help="Decides the classes and their numbers"
    )
    datasets.add_subcommand("export-lists", lists, help="list files for other people's code")

    splits = ArgumentParser(
        description="Print which classes source and target hold under each scenario, by name.",
        allow_abbrev=False,
    )
    splits.add_argument("dataset", type=str, help="Name under configs/datasets, or a YAML file")
    splits.add_argument("--scenario", type=str, default="", help="opda, osda or pda; all of them")
    datasets.add_subcommand("splits", splits, help="the classes of each scenario, by name")
    check = ArgumentParser(
        description="Look at a dataset on disk: its domains, classes and numbers of pictures "
        "against the expected ones, pictures that cannot be read, near-duplicates across domains. "
        "The exit code is 0 where it is whole.",
        allow_abbrev=False,
    )
    check.add_argument("dataset", type=str, help="Name under configs/datasets, or a YAML file")
    check.add_argument("--root", type=str, default="", help="Folder of the dataset's domains")
    check.add_argument(
        "--domains", type=str, nargs="+", default=[], help="Domains to look at (all of them)"
    )
    check.add_argument("--workers", type=int, default=2, help="Processes that decode pictures")
    check.add_argument(
        "--fix-names",
        action="store_true",
        help="First rename folders of domains and classes that differ from the expected names in "
        "case, spaces, hyphens or underscores only; nothing else is touched",
    )
    datasets.add_subcommand("check", check, help="whether a dataset on disk is whole")

    released = ArgumentParser(
        description="Make a checkpoint of ours of a source model that the released code of LEAD or "
        "GLC has trained, for `uda adapt --adapt.checkpoint`.",
        allow_abbrev=False,
    )
    released.add_argument("checkpoint", type=str, help="The released code's file (.pth, .tar)")
    released.add_argument("--out", type=str, required=True, help="File to write")
    commands.add_subcommand("import-lead", released, help="go on from LEAD's or GLC's source model")

    for name, what in (("train", stages.train), ("adapt", stages.adapt)):
        command = ArgumentParser(description=what.__doc__, allow_abbrev=False)
        command.add_argument("--config", action="config", help="YAML file of the options below")
        command.add_class_arguments(Experiment)
        commands.add_subcommand(name, command, help=f"{(what.__doc__ or '').split(',')[0].lower()}")

    many = ArgumentParser(
        description="Run every pair, method, augmentation and seed of an experiment (its `sweep` "
        "section), those that are not there yet; first say how many that are.",
        allow_abbrev=False,
    )
    many.add_argument("--config", action="config", help="YAML file of the options below")
    many.add_argument("--workers", type=int, default=1, help="Runs at a time, each in a process")
    many.add_argument("--dry-run", action="store_true", help="Only say what would be run")
    many.add_class_arguments(Experiment)
    commands.add_subcommand("sweep", many, help="run a whole experiment, or what is missing of it")
    own = ArgumentParser(
        description="Two folders of your own: train on the one, which holds a folder for each "
        "class, adapt to the other one, with labels or without, and answer for its pictures. "
        f"Starts from {OWN_FOLDERS.relative_to(CONFIGS.parent)}; every option can be changed.",
        allow_abbrev=False,
    )
    own.add_argument("--config", action="config", help="YAML file of the options below")
    own.add_argument("--source", type=str, required=True, help="Folder of folders, one a class")
    own.add_argument("--target", type=str, required=True, help="Folder of pictures to adapt to")
    own.add_argument(
        "--target-labels",
        type=str,
        default="auto",
        help="folders: the target's folders are classes; none: they mean nothing; auto: the first "
        "where one is named like a class of the source. Labels are for the scenario and the scores",
    )
    own.add_class_arguments(Experiment)
    commands.add_subcommand("run", own, help="train, adapt and answer: two folders of your own")

    score = ArgumentParser(description=stages.evaluate.__doc__, allow_abbrev=False)
    score.add_argument("run", type=str, help="Folder of a run of `uda train` or `uda adapt`")
    score.add_argument("--target", type=str, default="", help="Domain to score on (its own)")
    score.add_argument("--root", type=str, default="", help="Folder of the dataset's domains")
    score.add_argument("--per-class", action="store_true", help="Print every class's accuracy")
    commands.add_subcommand("evaluate", score, help="score a run's model")

    ask = ArgumentParser(
        description="Ask a finished run's model for each picture: a class name, or unknown.",
        allow_abbrev=False,
    )
    ask.add_argument("checkpoint", type=str, help="A run's folder, or the checkpoint.pt in it")
    ask.add_argument(
        "images", type=str, nargs="+", help="Folders, list files (.txt), globs in quotes, or files"
    )
    ask.add_argument("--out", type=str, default="predictions.csv", help="Table to write")
    ask.add_argument("--sheet", type=str, default="", help="Draw what is unknown into this .png")
    ask.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    commands.add_subcommand("predict", ask, help="class names, or unknown, for pictures")

    look = ArgumentParser(
        description="Show where finished runs' models look (Grad-CAM of their most probable "
        "class): a sheet with a row a picture and a column a run.",
        allow_abbrev=False,
    )
    look.add_argument("runs", type=str, nargs="+", help="Folders of runs, side by side")
    look.add_argument(
        "--images", type=str, nargs="+", required=True, help="As for `uda predict`; 12 are shown"
    )
    look.add_argument("--out", type=str, default="explain.png", help="Picture to write")
    look.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    commands.add_subcommand("explain", look, help="where models look, side by side")

    graph = ArgumentParser(
        description="Write a finished run's model for other programs: preprocessing, class names "
        "and threshold inside, its answers checked against the model's when it is written.",
        allow_abbrev=False,
    )
    graph.add_argument("checkpoint", type=str, help="A run's folder, or the checkpoint.pt in it")
    graph.add_argument("--format", type=str, default="onnx", help="onnx, or torch (torch.export)")
    graph.add_argument("--out", type=str, required=True, help="File to write: .onnx or .pt2")
    commands.add_subcommand("export", graph, help="the model as ONNX or torch.export file")

    choices = ArgumentParser(
        description="Choose epochs and unknown thresholds of finished adaptations without labels, "
        "and say how far each criterion falls short of the oracle: RUNS/selection.md and .csv.",
        allow_abbrev=False,
    )
    choices.add_argument("runs", type=str, help="Folder of runs")
    choices.add_argument(
        "--sweep", type=str, default="", help="Only the runs of the sweep of this name"
    )
    commands.add_subcommand("select", choices, help="compare choices made without labels")

    tables = ArgumentParser(description=stages.report.__doc__, allow_abbrev=False)
    tables.add_argument("runs", type=str, help="Folder of runs")
    tables.add_argument(
        "--sweep", type=str, default="", help="Only the runs of the sweep of this name"
    )
    tables.add_argument("--title", type=str, default="Results", help="Heading of the report")
    tables.add_argument(
        "--formats",
        type=str,
        default="md,tex,csv,html",
        help="What to write: md (report.md, figures, tables/*.md), tex, csv, html (report.html)",
    )
    tables.add_argument(
        "--root", type=str, default="", help="Folder of the dataset's domains, for sample pictures"
    )
    tables.add_argument(
        "--leave-out",
        type=str,
        default="",
        help="Pairs (Tw2Fl,No2Om) that are no part of averages and differences",
    )
    tables.add_argument(
        "--tensorboard",
        action="store_true",
        help="Write each run's metrics as event files into its folder, too",
    )
    commands.add_subcommand("report", tables, help="make tables, figures and a page of runs")

    small = ArgumentParser(
        description="Write finished runs' configurations and scores to one small file, without "
        "their models and predictions: to be committed, sent, and unpacked elsewhere.",
        allow_abbrev=False,
    )
    small.add_argument("runs", type=str, nargs="+", help="Folders of runs")
    small.add_argument(
        "--sweep", type=str, default="", help="Only the runs of the sweep of this name"
    )
    small.add_argument("--out", type=str, required=True, help="File to write: .jsonl")
    commands.add_subcommand("pack", small, help="finished runs' scores as one small file")

    back = ArgumentParser(
        description="Make folders of the runs that `uda pack` wrote, for tables and for sweeps to "
        "go on from. Runs that are there already are left as they are.",
        allow_abbrev=False,
    )
    back.add_argument("file", type=str, help="What `uda pack` wrote")
    back.add_argument("runs", type=str, help="Folder of runs")
    commands.add_subcommand("unpack", back, help="make the runs' folders of such a file")
    return parser


def _with_config_flag(arguments: Sequence[str]) -> list[str]:
    """``uda train FILE.yaml`` is ``uda train --config FILE.yaml``; so with adapt and sweep.

    ``uda run`` has a file to begin with.
    """
    given = list(arguments)
    if given[:1] == ["run"]:
        given[1:1] = ["--config", str(OWN_FOLDERS)]
    if len(given) > 1 and given[0] in EXPERIMENTS and not given[1].startswith("-"):
        given.insert(1, "--config")
    return given


def _with_merged_options(arguments: Sequence[str]) -> list[str]:
    """Put all ``--adapt.options.lead.KEY VALUE`` into one ``--adapt.options.lead={…}`` at the end.

    The parser takes each of them for the whole of ``lead``, so the last one would win over the
    others and over the configuration files, of which the last one with options counts.
    """
    bases: dict[str, dict[str, Any]] = {}
    options: dict[str, dict[str, Any]] = {}
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        match = re.fullmatch(r"--(adapt|augment)\.options\.(\w+)(?:\.(\w+))?", flag)
        if not (match or flag == "--config"):
            kept.append(word)
            continue
        text = value if equals else next(words, "")
        if not match:
            kept += ["--config", text]
            config = read_yaml(Path(text))  # the parser's own words would not name the file
            for section in ("adapt", "augment"):
                if found := (config.get(section) or {}).get("options"):
                    bases[section] = found
            continue
        section, name, key = match.groups()
        given = yaml.safe_load(text)
        if not key:
            options[f"{section}.{name}"] = given
            continue
        base = bases.get(section, {}).get(name) or {}
        own = options.setdefault(f"{section}.{name}", dict(base))
        if not isinstance(own, dict):
            raise ValueError(f"{flag}: {section}.options.{name} was given as {own!r}")
        own[key] = given
    for place, given in options.items():
        section, name = place.split(".")
        kept.append(f"--{section}.options.{name}={json.dumps(given)}")
    return kept


def _fail(message: str, code: int) -> int:
    """Print ``message`` as an error; ``code``.

    Of several processes that fail alike only the first one speaks: it ends, and the launcher ends
    the others, which wait for that. One that fails alone speaks after all.
    """
    rank = int(os.environ.get("RANK", 0)) if _in_several_processes() else 0
    if rank:
        time.sleep(GRACE_SECONDS)
    print(f"uda: error: {f'process {rank}: ' if rank else ''}{message}", file=sys.stderr)
    return code


def _in_several_processes() -> bool:
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Mistakes of the user's are one line, not a traceback."""
    parser = _parser()
    typed = _with_config_flag(sys.argv[1:] if arguments is None else arguments)
    try:
        typed = _with_merged_options(typed)
        given = parser.parse_args(typed)
        options = given[given.command]
        if given.command in (*EXPERIMENTS, "run"):
            values = vars(parser.instantiate(given)[given.command])
            experiment = Experiment(**{one.name: values[one.name] for one in fields(Experiment)})
            if given.command == "sweep":
                from uda.sweep import sweep

                sweep(experiment, options.workers, options.dry_run)
            elif given.command == "run":
                from uda.own_run import run  # torch takes seconds to import

                run(experiment, options.source, options.target, options.target_labels)
            else:
                {"train": stages.train, "adapt": stages.adapt}[given.command](experiment)
        elif given.command == "data":
            chosen = options[options.dataset]
            if options.dataset == "emoji-home":
                data_emoji_home(chosen.root, chosen.image_px, chosen.mono, chosen.workers)
            elif options.dataset == "splits":
                data_splits(chosen.dataset, chosen.scenario)
            elif options.dataset == "check":
                return data_check(
                    chosen.dataset, chosen.root, chosen.domains, chosen.workers, chosen.fix_names
                )
            else:
                data_export_lists(chosen.dataset, chosen.root, chosen.scenario)
        elif given.command == "import-lead":
            import_lead(options.checkpoint, options.out)
        elif given.command == "explain":
            explain(options.runs, options.images, options.out, options.device)
        elif given.command == "predict":
            predict(options.checkpoint, options.images, options.out, options.sheet, options.device)
        elif given.command == "export":
            export(options.checkpoint, options.format, options.out)
        elif given.command == "evaluate":
            stages.evaluate(options.run, options.target, options.root, options.per_class)
        elif given.command == "select":
            from uda.selection_report import write_selection

            stages.say(write_selection(Path(options.runs), options.sweep))
        elif given.command == "pack":
            from uda.packing import pack

            folders = [Path(folder) for folder in options.runs]
            count = pack(folders, Path(options.out), options.sweep)
            stages.say(f"{options.out}: {count} run{'s' if count > 1 else ''}")
        elif given.command == "unpack":
            from uda.packing import unpack

            made, there = unpack(Path(options.file), Path(options.runs))
            stages.say(f"{options.runs}: {made} runs unpacked, {there} were there already")
        else:
            stages.report(
                options.runs,
                options.title,
                options.formats,
                options.root,
                options.leave_out,
                options.sweep,
                options.tensorboard,
            )
        if _in_several_processes():
            from uda.processes import finish

            finish()
    except ArgumentError as error:
        return _fail(f"{' '.join(str(error).split())} (see uda COMMAND --help)", 2)
    except BrokenPipeError:  # the reader, such as head, has gone: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, yaml.YAMLError) as error:
        return _fail(" ".join(str(error).split()), 1)
    except RuntimeError:
        if _in_several_processes():  # another one failed, has said so, and this one lost it?
            time.sleep(GRACE_SECONDS)
        raise
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print(
                "\nStopped. The same command goes on from the last finished epoch.", file=sys.stderr
            )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
