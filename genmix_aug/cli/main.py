"""The command `genmix`: fills an edit store, and shows what edits and GenMix look like."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentError
from collections.abc import Callable
from io import TextIOWrapper

from jsonargparse import ArgumentParser

from genmix_aug.prompts import PROMPT_SETS

# What the commands do is imported when one is run: --help must not wait for torch and OpenCV.

PROMPTS_HELP = (
    f"a prompt set ({', '.join(PROMPT_SETS)}) or prompts separated by commas, "
    'such as "snowy,retro comic"'
)
FEATURES_HELP = (
    "PACKAGE.MODULE:FUNCTION from images uint8 [B,3,H,W] to features [B,D], to find edits that are "
    "changed past recognition, such as uda.models.classifier:imagenet_features"
)


def build_parser() -> ArgumentParser:
    """The parser of `genmix` with its subcommands."""
    parser = ArgumentParser(
        prog="genmix",
        description="GenMix: label-preserving training images from edits, seams and fractals.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    commands = parser.add_subcommands(required=True, dest="command")

    edit = _parser("Edit all images of a folder into a store; goes on where it stopped.")
    _add_images(edit)
    _add_editor(edit, "cross-domain")
    edit.add_argument("--store", type=str, required=True, help="folder of the edit store")
    edit.add_argument("--per-image", type=int, default=2, help="edits of each image")
    edit.add_argument("--batch-size", type=int, default=16, help="images edited at a time")
    _add_square(edit)
    edit.add_argument("--image-format", type=str, default="png", help="of the edits: png or jpeg")
    edit.add_argument("--features", type=str, default="", help=FEATURES_HELP)
    edit.add_argument("--redraws", type=int, default=3, help="new seeds to try for a bad edit")
    edit.add_argument(
        "--shard", type=str, default="", help="such as 2/8: the second of eight processes' shares"
    )
    edit.add_argument(
        "--dry-run", action="store_true", help="only say how many, how large and how long"
    )
    commands.add_subcommand("edit", edit, help="edit the images of a folder into a store")

    sheet = _parser("Draw a contact sheet: a row an image, a column a prompt.")
    _add_images(sheet)
    _add_editor(sheet, "all")
    sheet.add_argument("--out", type=str, default="preview.png", help="the PNG to write")
    sheet.add_argument("--stages", action="store_true", help="columns are GenMix's stages")
    sheet.add_argument("--count", type=int, default=6, help="images to show")
    sheet.add_argument("--size", type=int, default=128, help="px of a picture on the sheet")
    _add_mixing(sheet)
    commands.add_subcommand("preview", sheet, help="draw a contact sheet of edits or stages")

    screen = _parser("Say which edits failed, under which prompts, and show the worst.")
    screen.add_argument("store", type=str, help="folder of the edit store")
    screen.add_argument("--images", type=str, default="", help="originals, if they were moved")
    screen.add_argument("--features", type=str, default="", help=FEATURES_HELP)
    screen.add_argument(
        "--reject",
        action="store_true",
        help="take what fails out of service; `genmix edit` draws it again",
    )
    screen.add_argument("--out", type=str, default="screening", help="folder of the figures")
    screen.add_argument("--count", type=int, default=24, help="worst edits to show")
    screen.add_argument("--size", type=int, default=128, help="px of a picture on the sheet")
    commands.add_subcommand("screen", screen, help="report, plot and rank what screening found")

    fractals = _parser("Draw a set of fractals; goes on where it stopped.")
    fractals.add_argument("--out", type=str, required=True, help="folder to write to")
    fractals.add_argument("--count", type=int, default=1000, help="fractals wanted")
    fractals.add_argument("--size", type=int, default=512, help="px of a side")
    fractals.add_argument("--seed", type=int, default=0, help="of the set")
    fractals.add_argument("--workers", type=int, default=1, help="processes that draw")
    commands.add_subcommand("fractals", fractals, help="draw a set of fractals into a folder")

    tree = _parser("Write originals and GenMix images as a tree of files, for other code.")
    _add_images(tree)
    _add_editor(tree, "cross-domain")
    tree.add_argument("--store", type=str, required=True, help="edits, made by `genmix edit`")
    tree.add_argument("--out", type=str, required=True, help="folder to write")
    tree.add_argument("--per-image", type=int, default=2, help="as it was for `genmix edit`")
    _add_square(tree)
    tree.add_argument("--copies", type=int, default=1, help="GenMix images of each original")
    tree.add_argument("--draw-seed", type=int, default=0, help="decides edits, seams and fractals")
    tree.add_argument("--image-format", type=str, default="png", help="of the copies: png or jpeg")
    tree.add_argument("--replace-spaces", action="store_true", help="white space in names: _")
    _add_mixing(tree)
    commands.add_subcommand("export", tree, help="write originals and GenMix images as files")
    return parser


def _parser(description: str) -> ArgumentParser:
    return ArgumentParser(description=description, allow_abbrev=False)


def _add_images(parser: ArgumentParser) -> None:
    parser.add_argument("images", type=str, help="folder of images, searched below as well")


def _add_square(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--square-px",
        type=int,
        default=0,
        help="read images as squares of this side, as `uda train` reads them at images.decode_px",
    )


def _add_editor(parser: ArgumentParser, prompts: str) -> None:
    parser.add_argument("--prompts", type=str, default=prompts, help=PROMPTS_HELP)
    parser.add_argument("--seed", type=int, default=0, help="decides prompts and variations")
    parser.add_argument(
        "--editor", type=str, default="filters", help="filters (CPU) or instruct-pix2pix (GPU)"
    )
    parser.add_argument(
        "--editor-options", type=str, default="", help='such as "preset=fast,steps=30"'
    )


def _add_mixing(parser: ArgumentParser) -> None:
    parser.add_argument("--fractals", type=str, default="", help="folder of them; drawn if empty")
    parser.add_argument(
        "--join",
        type=str,
        default="seam",
        help="seam (the paper's), cutmix, mixup, edited or original",
    )
    parser.add_argument(
        "--sides", type=str, default="left,right,top,bottom", help="where the edit may show"
    )
    parser.add_argument("--fractal-weight", type=float, default=0.20, help="0 leaves it out")
    parser.add_argument(
        "--blend-width",
        type=int,
        default=0,
        help="px of the seam; 0: the paper's, scaled; -1: none, a hard cut",
    )


def main(args: list[str] | None = None) -> int:
    """Runs `genmix` with these arguments (the command line's by default); the exit code."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files are of any encoding
    try:
        options = build_parser().parse_args(args)
        from genmix_aug.cli import commands

        run: dict[str, Callable[..., None]] = {
            "edit": commands.edit,
            "screen": commands.screen_store,
            "preview": commands.preview,
            "fractals": commands.fractals,
            "export": commands.export,
        }
        run[options.command](**vars(options[options.command]))
    except ArgumentError as error:
        message = " ".join(str(error).split())
        print(f"genmix: error: {message} (see genmix COMMAND --help)", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as head, has gone: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        print(f"genmix: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("genmix: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
