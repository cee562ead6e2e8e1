"""The commands of ``uda``: what each takes, says of itself, and does.

A command does its own importing: torch takes seconds, and most commands' help needs none of it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from uda.config import CONFIGS, Experiment
from uda.runs.folder import is_run
from uda.stages.console import say
from uda.stages.evaluate import evaluate
from uda.stages.source import train
from uda.stages.target import adapt

OWN_FOLDERS = CONFIGS / "experiments" / "own_folders.yaml"
ROOT = "Folder of the dataset's domains"
THRESHOLD = "Unknown is what has a higher entropy / log K: a number, mixture or two-means"
DEVICE = "auto, cpu, cuda or cuda:N"


@dataclass(frozen=True)
class Command:
    """A subcommand: ``act`` takes its options, ``act_on`` an experiment and them. The exit code
    where it returns one, else 0."""

    name: str
    help: str
    parser: ArgumentParser
    act: Callable[[Namespace], int | None] | None = None
    act_on: Callable[[Experiment, Namespace], None] | None = None


def commands() -> Iterator[Command]:
    """All but those of ``uda data``, as ``uda --help`` lists them."""
    yield _import_lead()
    yield _stage("train", train)
    yield _stage("adapt", adapt)
    yield _sweep()
    yield _run()
    yield _evaluate()
    yield _predict()
    yield _explain()
    yield _export()
    yield _select()
    yield _report()
    yield _pack()
    yield _unpack()


def command_parser(description: str) -> ArgumentParser:
    """That of a subcommand which says ``description`` of itself."""
    return ArgumentParser(description=description, allow_abbrev=False)


def _add_sweep_flag(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--sweep", type=str, default="", help="Only the runs of the sweep of this name"
    )


def _one_run(given: Sequence[str]) -> str:
    """The first of ``given``. ValueError where there are more, as a glob may give them."""
    _refuse_runs(given[1:], given[0])
    if given[1:]:
        raise ValueError(f"{given[1]!r}: one run is named here, and {given[0]} was before it")
    return given[0]


def _refuse_runs(given: Sequence[str], first: str) -> None:
    """ValueError where one of ``given``, which follow the run ``first``, is a run too."""
    for name in given:
        path = Path(name)
        if is_run(path.parent if path.suffix == ".pt" else path):
            raise ValueError(f"several runs given: name one; {first} and {name} are two")


def _import_lead() -> Command:
    parser = command_parser(
        "Make a checkpoint of ours of a source model that the released code of LEAD or GLC has "
        "trained, for `uda adapt --adapt.checkpoint`."
    )
    parser.add_argument("checkpoint", type=str, help="The released code's file (.pth, .tar)")
    parser.add_argument("--out", type=str, required=True, help="File to write")

    def act(options: Namespace) -> None:
        from uda.models.released import import_lead

        found = import_lead(Path(options.checkpoint), Path(options.out))
        print(
            f"wrote {options.out}: {found.backbone}, {found.num_classes} classes, bottleneck of "
            f"{found.bottleneck_dim}\n"
            f"For a scenario whose source has {found.num_classes} classes:\n"
            f"uda adapt EXPERIMENT.yaml --model.backbone {found.backbone} --model.head "
            f"bottleneck_wn --model.bottleneck_dim {found.bottleneck_dim} --adapt.checkpoint "
            f"{shlex.quote(options.out)}"
        )

    return Command("import-lead", "go on from LEAD's or GLC's source model", parser, act)


def _stage(name: str, stage: Callable[[Experiment], None]) -> Command:
    description = stage.__doc__ or ""
    parser = command_parser(description)
    parser.add_argument("--config", action="config", help="YAML file of the options below")
    parser.add_class_arguments(Experiment)
    words = description.split(",")[0].lower()
    return Command(name, words, parser, act_on=lambda experiment, _: stage(experiment))


def _sweep() -> Command:
    parser = command_parser(
        "Run every pair, method, augmentation and seed of an experiment (its `sweep` section), "
        "those that are not there yet; first say how many that are."
    )
    parser.add_argument("--config", action="config", help="YAML file of the options below")
    parser.add_argument("--workers", type=int, default=1, help="Runs at a time, each in a process")
    parser.add_argument("--dry-run", action="store_true", help="Only say what would be run")
    parser.add_class_arguments(Experiment)

    def act_on(experiment: Experiment, options: Namespace) -> None:
        from uda.sweeps.sweep import sweep

        sweep(experiment, options.workers, options.dry_run)

    return Command(
        "sweep", "run a whole experiment, or what is missing of it", parser, act_on=act_on
    )


def _run() -> Command:
    parser = command_parser(
        "Two folders of your own: train on the one, which holds a folder for each class, adapt to "
        "the other one, with labels or without, and answer for its pictures. Starts from "
        f"{OWN_FOLDERS.relative_to(CONFIGS.parent)}; every option can be changed."
    )
    parser.add_argument("--config", action="config", help="YAML file of the options below")
    parser.add_argument("--source", type=str, required=True, help="Folder of folders, one a class")
    parser.add_argument("--target", type=str, required=True, help="Folder of pictures to adapt to")
    parser.add_argument(
        "--target-labels",
        type=str,
        default="auto",
        help="folders: the target's folders are classes; none: they mean nothing; auto: the first "
        "where one is named like a class of the source. Labels are for the scenario and the scores",
    )
    parser.add_class_arguments(Experiment)

    def act_on(experiment: Experiment, options: Namespace) -> None:
        from uda.inference.own_folders import run

        run(experiment, options.source, options.target, options.target_labels)

    return Command("run", "train, adapt and answer: two folders of your own", parser, act_on=act_on)


def _evaluate() -> Command:
    parser = command_parser(evaluate.__doc__ or "")
    parser.add_argument(
        "run", type=str, nargs="+", help="Folder of one run of `uda train` or `uda adapt`"
    )
    parser.add_argument("--target", type=str, default="", help="Domain to score on (its own)")
    parser.add_argument("--root", type=str, default="", help=f"{ROOT} (the run's own)")
    parser.add_argument("--per-class", action="store_true", help="Print every class's accuracy")

    def act(options: Namespace) -> None:
        evaluate(_one_run(options.run), options.target, options.root, options.per_class)

    return Command("evaluate", "score a run's model", parser, act)


def _predict() -> Command:
    parser = command_parser(
        "Ask a finished run's model for each picture: a class name, or unknown."
    )
    parser.add_argument("checkpoint", type=str, help="A run's folder, or a .pt in it")
    parser.add_argument(
        "images", type=str, nargs="+", help="Folders, list files (.txt), globs in quotes, or files"
    )
    parser.add_argument("--out", type=str, default="predictions.csv", help="Table to write")
    parser.add_argument("--sheet", type=str, default="", help="Draw what is unknown into this .png")
    parser.add_argument("--threshold", type=str, default="", help=THRESHOLD)
    parser.add_argument("--device", type=str, default="auto", help=DEVICE)

    def act(options: Namespace) -> None:
        _refuse_runs(options.images, options.checkpoint)
        from uda.inference.model import load
        from uda.inference.pictures import find_pictures, predict, summary, write_csv, write_sheet
        from uda.runs.files import check_writable

        out, sheet = options.out, options.sheet
        if sheet and not sheet.lower().endswith(".png"):
            raise ValueError(f"--sheet: the picture's name must end in .png: {sheet}")
        paths = find_pictures(options.images)
        for place in filter(None, (out, sheet)):
            check_writable(Path(place))
        model = load(Path(options.checkpoint), options.device, options.threshold)
        answered = predict(model, paths)
        for problem in answered.unreadable.values():
            print(f"passed over: {problem}", file=sys.stderr)
        if not answered.predictions:
            raise ValueError(f"none of {len(paths)} pictures could be read; nothing written")
        write_csv(answered, Path(out))
        print("\n".join(summary(answered)))
        print(f"wrote {out}")
        if sheet:
            drawn = write_sheet(answered, Path(sheet))
            said = f"wrote {sheet}: {drawn} of them"
            print(said if drawn else "nothing unknown: no sheet written")

    return Command("predict", "class names, or unknown, for pictures", parser, act)


def _explain() -> Command:
    parser = command_parser(
        "Show where finished runs' models look (Grad-CAM of their most probable class): a sheet "
        "with a row a picture and a column a run."
    )
    parser.add_argument(
        "runs",
        type=str,
        nargs="+",
        help="Folders of runs, side by side; without --images the last one is of the images",
    )
    parser.add_argument(
        "--images", type=str, nargs="+", default=[], help="As for `uda predict`; 12 are shown"
    )
    parser.add_argument("--out", type=str, default="explain.png", help="Picture to write")
    parser.add_argument("--device", type=str, default="auto", help=DEVICE)

    def act(options: Namespace) -> None:
        if not options.out.lower().endswith(".png"):
            raise ValueError(f"--out: the picture's name must end in .png: {options.out}")
        from uda.inference.explain import explain
        from uda.inference.pictures import find_pictures

        given, images = options.runs, options.images
        if not images:
            *given, last = given
            images = [last]
            if not given:
                raise ValueError(f"--images: none are named beside {last}")
        runs, paths = [Path(run) for run in given], find_pictures(images)
        print("\n".join(explain(runs, paths, Path(options.out), options.device)))
        print(f"wrote {options.out}")

    return Command("explain", "where models look, side by side", parser, act)


def _export() -> Command:
    parser = command_parser(
        "Write a finished run's model for other programs: preprocessing, class names and "
        "threshold inside, in float32, its answers checked against the model's in float32 when "
        "it is written."
    )
    parser.add_argument("checkpoint", type=str, nargs="+", help="One run's folder, or a .pt in it")
    parser.add_argument("--format", type=str, default="onnx", help="onnx, or torch (torch.export)")
    parser.add_argument("--out", type=str, required=True, help="File to write: .onnx or .pt2")
    parser.add_argument("--threshold", type=str, default="", help=THRESHOLD)

    def act(options: Namespace) -> None:
        checkpoint = _one_run(options.checkpoint)
        from uda.inference.export import export
        from uda.inference.model import load

        model = load(Path(checkpoint), "cpu", options.threshold)
        apart = export(model, options.format, Path(options.out))
        print(
            f"wrote {options.out}, in float32: its answers differ from those of the model in "
            f"float32 by at most {apart:.1g}"
        )

    return Command("export", "the model as ONNX or torch.export file", parser, act)


def _select() -> Command:
    parser = command_parser(
        "Choose epochs and unknown thresholds of finished adaptations without labels, and say how "
        "far each criterion falls short of the oracle: RUNS/selection.md and .csv, of one sweep in "
        "RUNS/sweeps/NAME."
    )
    parser.add_argument("runs", type=str, help="Folder of runs")
    _add_sweep_flag(parser)

    def act(options: Namespace) -> None:
        from uda.reports.selection import write_selection

        say(write_selection(Path(options.runs), options.sweep))

    return Command("select", "compare choices made without labels", parser, act)


def _report() -> Command:
    parser = command_parser(
        "Write the runs' tables and figures to report.md and report.html, and print the tables."
    )
    parser.add_argument("runs", type=str, help="Folder of runs")
    _add_sweep_flag(parser)
    parser.add_argument("--title", type=str, default="Results", help="Heading of the report")
    parser.add_argument(
        "--formats",
        type=str,
        default="md,tex,csv,html",
        help="What to write: md (report.md, figures, tables/*.md), tex, csv, html (report.html)",
    )
    parser.add_argument("--root", type=str, default="", help=f"{ROOT}, for sample pictures")
    parser.add_argument(
        "--leave-out",
        type=str,
        default="",
        help="Pairs (Tw2Fl,No2Om) that are no part of averages and differences",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="Write each run's metrics as event files into its folder, too",
    )

    def act(options: Namespace) -> None:
        from uda.reports.report import write_report

        formats, left_out = (
            [name.strip() for name in names.split(",") if name.strip()]
            for names in (options.formats, options.leave_out)
        )
        runs = Path(options.runs)
        if options.tensorboard:  # first, as unfinished runs have no tables
            from uda.runs.event_files import write_event_files
            from uda.sweeps.record import runs_and_plan

            for run in runs_and_plan(runs, options.sweep)[0]:
                write_event_files(run)
            say(f"For TensorBoard:\n  tensorboard --logdir {shlex.quote(options.runs)}")
        say(write_report(runs, options.title, formats, options.root, left_out, options.sweep))

    return Command("report", "make tables, figures and a page of runs", parser, act)


def _pack() -> Command:
    parser = command_parser(
        "Write finished runs' configurations and scores to one small file, without their models "
        "and predictions: to be committed, sent, and unpacked elsewhere."
    )
    parser.add_argument("runs", type=str, nargs="+", help="Folders of runs")
    _add_sweep_flag(parser)
    parser.add_argument("--out", type=str, required=True, help="File to write: .jsonl")

    def act(options: Namespace) -> None:
        from uda.sweeps.packing import pack

        folders = [Path(folder) for folder in options.runs]
        count = pack(folders, Path(options.out), options.sweep)
        print(f"wrote {options.out}: {count} run{'s' if count > 1 else ''}")

    return Command("pack", "finished runs' scores as one small file", parser, act)


def _unpack() -> Command:
    parser = command_parser(
        "Make folders of the runs that `uda pack` wrote, for tables and for sweeps to go on from. "
        "Runs that are there already are left as they are."
    )
    parser.add_argument("file", type=str, help="What `uda pack` wrote")
    parser.add_argument("runs", type=str, help="Folder of runs")

    def act(options: Namespace) -> None:
        from uda.sweeps.packing import unpack

        made, there = unpack(Path(options.file), Path(options.runs))
        print(f"wrote {made} runs into {options.runs}; {there} were there already")

    return Command("unpack", "make the runs' folders of such a file", parser, act)
