"""Options that several commands of `genmix` share, and what they choose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from genmix_aug.prompts import check_prompts, parse_prompts

if TYPE_CHECKING:
    from genmix_aug.editors import Editor
    from genmix_aug.edits.plan import EditPlan
    from genmix_aug.mixing.genmix import GenMix

MOST_PX = 8192  # a picture of this side is 200 MB


@dataclass(frozen=True)
class EditorOptions:
    """Prompts, and the editor that draws them.

    Args:
        prompts: a prompt set (in-domain, cross-domain, all) or prompts separated by commas, such
            as "snowy,retro comic"
        seed: decides prompts and variations
        editor: filters or neural_style (CPU), instruct-pix2pix, image-to-image or kontext (GPU),
            or folder (edits that other tools made)
        editor_options: such as "preset=fast,steps=30" or style_images=FOLDER
    """

    prompts: str = "cross-domain"
    seed: int = 0
    editor: str = "filters"
    editor_options: str = ""


@dataclass(frozen=True)
class PlanOptions:
    """Which edits every image gets; the same for `genmix edit` and `genmix export`.

    Args:
        per_image: edits of each image
        square_px: read images as squares of this side, as `uda train` reads them at
            images.decode_px
    """

    per_image: int = 2
    square_px: int = 0


@dataclass(frozen=True)
class MixingOptions:
    """How GenMix joins originals and edits.

    Args:
        fractals: folder of them; drawn if empty
        join: seam (the paper's), cutmix, mixup, edited or original
        sides: where the edit may show
        fractal_weight: 0 leaves the fractal out
        blend_width: px of the seam; 0: the paper's, scaled; -1: none, a hard cut
    """

    fractals: str = ""
    join: str = "seam"
    sides: str = "left,right,top,bottom"
    fractal_weight: float = 0.20
    blend_width: int = 0


@dataclass(frozen=True)
class WorkerOptions:
    """Who makes the edits.

    Args:
        workers: processes, each with an editor; without it this one or, with --address, as many as
            the cluster has room for
        gpus_per_worker: of each, or a share such as 0.5; without it an equal share, one at most,
            if the editor uses GPUs
        address: of a Ray cluster to work on; auto finds the one that this machine is part of
    """

    workers: int | None = None
    gpus_per_worker: float | None = None
    address: str = ""


def check_least(flag: str, value: int, least: int) -> None:
    """Refuse a number below `least`, naming its flag.

    Raises:
        ValueError: The number is smaller.
    """
    if value < least:
        raise ValueError(f"--{flag} must be at least {least}, not {value}")


def check_square(square_px: int) -> None:
    """Refuse squares that no memory holds, and negative ones.

    Raises:
        ValueError: The side is out of range.
    """
    check_least("square-px", square_px, 0)
    if square_px > MOST_PX:
        raise ValueError(f"--square-px must be at most {MOST_PX}, not {square_px}")


def chosen_editor(options: EditorOptions) -> Editor:
    """Return the editor, which must know the prompts.

    Raises:
        ValueError: No such editor, option or prompt.
    """
    import torch

    from genmix_aug.editors.options import make_editor, parse_options

    editor = make_editor(options.editor, parse_options(options.editor_options))
    check_prompts(parse_prompts(options.prompts), editor.prompts)
    if torch.cuda.is_available():
        editor.prefer_device("cuda:0")  # Ray hides the GPUs of other workers
    return editor


def chosen_plan(options: EditorOptions, plan: PlanOptions, fingerprint: str) -> EditPlan:
    """Return the plan of these options for an editor of this fingerprint."""
    from genmix_aug.edits.plan import EditPlan

    prompts = parse_prompts(options.prompts)
    return EditPlan(prompts, plan.per_image, fingerprint, options.seed, plan.square_px)


def chosen_mixing(options: MixingOptions) -> GenMix:
    """Return GenMix as the options describe it.

    Raises:
        ValueError: A value out of range, or a folder without images.
    """
    from genmix_aug.mixing.fractal_folder import load_fractals
    from genmix_aug.mixing.fractals import draw_fractals
    from genmix_aug.mixing.genmix import parse_settings
    from genmix_aug.transform import DEFAULT_FRACTALS

    # Faults are better named before the fractals are drawn, which takes seconds.
    settings = parse_settings(
        options.join, options.sides, options.fractal_weight, options.blend_width
    )
    folder = options.fractals
    pictures = load_fractals(folder, 512) if folder else draw_fractals(*DEFAULT_FRACTALS)
    return replace(settings, fractals=pictures)
