"""The commands that ask a finished run's model, or bring models in: evaluate, probe, predict,
explain, export and import-lead."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from uda.cli.command import Command, only_run, refuse_runs


def evaluate(run: list[str], target: str = "", root: str = "", per_class: bool = False) -> None:
    """Score a finished run's model: on its target, on another one, or on the part held out.

    Args:
        run: Folder of a run of `uda train` or `uda adapt`.
        target: Domain to score on (the run's).
        root: Folder of the dataset's domains (the run's).
        per_class: Print every class's accuracy.
    """
    from uda.stages.evaluate import evaluate

    evaluate(only_run(run), target, root, per_class)


def probe(runs: list[str], root: str = "", imagenet: str = "", device: str = "auto") -> None:
    """Score pretrained backbones by what their frozen features say of held-out pictures.

    Multinomial logistic regression and 20 nearest neighbours learn from the labels of the pictures
    that the backbones were trained on. Beside them stand a random network and ImageNet's. Runs that
    differ in their seeds alone are a row. Scores are kept in each run's folder.

    Args:
        runs: Folders of runs of `uda pretrain`.
        root: Folder of the dataset's domains (the runs').
        imagenet: Backbone with ImageNet weights to stand beside; the runs' own if these can be had.
        device: auto, cpu, cuda or cuda:N.
    """
    from uda.stages.probe import probe

    probe(runs, root, imagenet, device)


def predict(
    checkpoint: str,
    images: list[str],
    out: str = "predictions.csv",
    sheet: str = "",
    threshold: str = "",
    device: str = "auto",
) -> None:
    """Ask a finished run's model for each picture: a class name, or unknown.

    Args:
        checkpoint: A run's folder, or a .pt in it.
        images: Folders, list files (.txt, .csv), globs in quotes, or files.
        out: Table to write.
        sheet: Draw what is unknown into this .png.
        threshold: Unknown is what has a higher entropy / log K: a number, mixture or two-means.
        device: auto, cpu, cuda or cuda:N.
    """
    refuse_runs(images, checkpoint)
    from genmix_aug.images import has_orientation
    from uda.inference.model import load
    from uda.inference.pictures import find_pictures, predict, summary, write_csv, write_sheet
    from uda.runs.files import check_writable
    from uda.stages.build import AS_STORED

    if sheet:
        _require_png("sheet", sheet)
    paths = find_pictures(images)
    for path in filter(None, (out, sheet)):
        check_writable(Path(path))
    model = load(Path(checkpoint), device, threshold)
    if not model.is_upright and any(map(has_orientation, paths)):
        print(f"{checkpoint}: {AS_STORED}", file=sys.stderr)
    answered = predict(model, paths)
    for problem in answered.unreadable.values():
        print(f"passed over: {problem}", file=sys.stderr)
    if not answered.predictions:
        raise ValueError(f"none of {len(paths)} pictures could be read; nothing written")
    write_csv(answered, Path(out))
    print("\n".join(summary(answered)))
    print(f"wrote {out}")
    if sheet:
        num_drawn, key = write_sheet(answered, Path(sheet))
        wrote = f"wrote {sheet}: {num_drawn} of them"
        print("\n".join([wrote if num_drawn else "nothing unknown: no sheet written", *key]))


def explain(
    runs: list[str], images: Sequence[str] = (), out: str = "explain.png", device: str = "auto"
) -> None:
    """Show where finished runs' models look (Grad-CAM of their most probable class).

    Draws a sheet with a row a picture and a column a run.

    Args:
        runs: Folders of runs, side by side; without --images the last is of the images.
        images: As for `uda predict`; 12 are drawn.
        out: Picture to write.
        device: auto, cpu, cuda or cuda:N.
    """
    _require_png("out", out)
    from uda.inference.explain import explain
    from uda.inference.pictures import find_pictures

    if not images:
        *runs, last = runs
        images = [last]
        if not runs:
            raise ValueError(f"--images: none are named beside {last}")
    paths = find_pictures(images)
    print("\n".join(explain([Path(run) for run in runs], paths, Path(out), device)))
    print(f"wrote {out}")


def _require_png(option: str, path: str) -> None:
    if not path.lower().endswith(".png"):
        raise ValueError(f"--{option}: the picture's name must end in .png: {path}")


def export(checkpoint: list[str], *, out: str, format: str = "onnx", threshold: str = "") -> None:
    """Write a finished run's model for other programs.

    Preprocessing, class names and threshold are inside, in float32; its answers are checked
    against the model's in float32 when it is written.

    Args:
        checkpoint: A run's folder, or a .pt in it.
        out: File to write: .onnx or .pt2.
        format: onnx, or torch (torch.export).
        threshold: Unknown is what has a higher entropy / log K: a number, mixture or two-means.
    """
    run = only_run(checkpoint)
    from uda.inference.export import export
    from uda.inference.model import load

    difference = export(load(Path(run), "cpu", threshold), format, Path(out))
    print(
        f"wrote {out}, in float32: its answers differ from those of the model in float32 by at "
        f"most {difference:.1g}"
    )


def import_lead(checkpoint: str, *, out: str) -> None:
    """Make a checkpoint of a source model that the released code of LEAD or GLC has trained.

    It is for `uda adapt --adapt.checkpoint`.

    Args:
        checkpoint: The released code's file (.pth, .tar).
        out: File to write.
    """
    from uda.models.released import import_lead

    model = import_lead(Path(checkpoint), Path(out))
    print(
        f"wrote {out}: {model.backbone}, {model.num_classes} classes, bottleneck of "
        f"{model.bottleneck_dim}\n"
        f"For a scenario whose source has {model.num_classes} classes:\n"
        f"uda adapt EXPERIMENT.yaml --model.backbone {model.backbone} --model.head "
        f"bottleneck_wn --model.bottleneck_dim {model.bottleneck_dim} --adapt.checkpoint "
        f"{shlex.quote(out)}"
    )


COMMANDS = (
    Command(evaluate, "score a run's model", several_processes=True),
    Command(probe, "score pretrained backbones"),
    Command(predict, "class names, or unknown, for pictures"),
    Command(explain, "where models look, side by side"),
    Command(export, "the model as ONNX or torch.export file"),
    Command(import_lead, "go on from LEAD's or GLC's source model"),
)
