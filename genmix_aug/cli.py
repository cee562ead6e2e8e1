"""The command `genmix`: fills an edit store, and shows what edits and GenMix look like."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from genmix_aug.prompts import PROMPT_SETS
from genmix_aug.seeding import hash_seed

if TYPE_CHECKING:
    from torch import Tensor

    from genmix_aug.editors import Editor

# torch, OpenCV and NumPy are imported where they are needed: --help must not wait for them.

PROMPTS_HELP = (
    f"a prompt set ({', '.join(PROMPT_SETS)}) or single prompts separated by commas, "
    'such as "snowy,retro comic"'
)


def chosen_prompts(text: str) -> tuple[str, ...]:
    """The prompts that a set's name or a list separated by commas stands for.

    Raises:
        ValueError: a prompt that is none of the fifteen, or none at all.
    """
    if text in PROMPT_SETS:
        return PROMPT_SETS[text]
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [prompt for prompt in chosen if prompt not in PROMPT_SETS["all"]]
    if unknown or not chosen:
        known = ", ".join((*PROMPT_SETS, *PROMPT_SETS["all"]))
        raise ValueError(f"unknown prompt {unknown[0] if unknown else text!r}: choose from {known}")
    return chosen


def make_editor(name: str) -> Editor:
    """The editor of this name, with its defaults.

    Raises:
        ValueError: there is no such editor.
    """
    from genmix_aug.editors import EDITORS

    if name not in EDITORS:
        raise ValueError(f"unknown editor {name!r}: choose from {', '.join(EDITORS)}")
    return EDITORS[name]()


class ImageFiles:
    """Image files read when asked for, by number: uint8 [3, H, W]."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        from genmix_aug.images import load_rgb

        return load_rgb(self.paths[index])


def edit(options: Namespace) -> None:
    """`genmix edit`: makes the edits of all images that the store does not have yet."""
    from tqdm import tqdm

    from genmix_aug.edit_store import EditStore, image_digest, plan_edits
    from genmix_aug.images import find_images

    prompts = chosen_prompts(options.prompts)
    if options.per_image < 1:
        raise ValueError(f"--per-image must be at least 1, not {options.per_image}")
    editor = make_editor(options.editor)
    paths = find_images(options.images)
    names = [path.relative_to(options.images).as_posix() for path in paths]
    images, store = ImageFiles(paths), EditStore(options.store)
    with tqdm(range(len(paths)), desc="reading", unit="image", disable=None) as numbers:
        digests = [image_digest(images[number]) for number in numbers]
    requests = plan_edits(digests, prompts, options.per_image, options.seed)
    if options.dry_run:
        keys, todo = store.missing(images, requests, editor.fingerprint, True, digests)
        distinct = len(set(keys))
        print(
            f"{len(paths)} images, {distinct} distinct edits wanted, "
            f"{distinct - len(todo)} in {store.root} already, {len(todo)} to make"
        )
        return
    keys = store.fill(editor, images, names, requests, options.batch_size, True, digests)
    print(f"{len(set(keys))} edits of {len(paths)} images are in {store.root}")


def preview(options: Namespace) -> None:
    """`genmix preview`: draws a contact sheet of edits, or of the stages of GenMix."""
    from genmix_aug.contact_sheet import contact_sheet, save_png
    from genmix_aug.images import find_images, load_rgb

    prompts = chosen_prompts(options.prompts)
    if options.count < 1:
        raise ValueError(f"--count must be at least 1, not {options.count}")
    editor = make_editor(options.editor)
    paths = find_images(options.images)
    # Spread over the folder rather than its first few files, which are often of one class.
    step = max(1, len(paths) // options.count)
    paths = paths[::step][: options.count]
    rows: list[list[Tensor]] = []
    columns: list[str] = []
    for number, path in enumerate(paths):
        image = load_rgb(path)
        seed = hash_seed("preview", options.seed, path.name)
        if options.stages:
            prompt = prompts[number % len(prompts)]
            stages = _stages(editor, image, prompt, seed)
            rows.append(list(stages.values()))
            columns = list(stages)
        else:
            edits = editor.edit(
                image.expand(len(prompts), -1, -1, -1), list(prompts), [seed] * len(prompts)
            )
            rows.append([image, *edits])
            columns = ["original", *prompts]
    labels = [path.stem for path in paths]
    if options.stages:
        labels = [
            f"{label}: {prompts[number % len(prompts)]}" for number, label in enumerate(labels)
        ]
    save_png(contact_sheet(rows, labels, columns, options.size), options.out)
    print(f"wrote {options.out}: {len(rows)} images, {len(columns)} columns")


def _stages(editor: Editor, image: Tensor, prompt: str, seed: int) -> dict[str, Tensor]:
    from genmix_aug.fractals import fractal
    from genmix_aug.genmix import GenMix, blend_width_for

    size = min(image.shape[1:])
    edited = editor.edit(image[None], [prompt], [seed])[0]
    genmix = GenMix(fractal(seed, max(image.shape[1:]))[None], blend_width_for(size))
    return genmix.stages(image, edited, seed)


COMMANDS: dict[str, Callable[[Namespace], None]] = {"edit": edit, "preview": preview}


def build_parser() -> ArgumentParser:
    """The parser of `genmix` with its subcommands."""
    parser = ArgumentParser(
        prog="genmix",
        description="GenMix: label-preserving training images from edits, seams and fractals.",
        allow_abbrev=False,
    )
    commands = parser.add_subcommands(required=True, dest="command")

    edits = _command("edit", "Edit all images of a folder into a store; goes on where it stopped.")
    edits.add_argument("--store", type=str, required=True, help="folder of the edit store")
    edits.add_argument("--per-image", type=int, default=2, help="edits of each image")
    edits.add_argument("--batch-size", type=int, default=16, help="images edited at a time")
    edits.add_argument("--dry-run", action="store_true", help="only say what would be made")
    commands.add_subcommand("edit", edits, help="edit the images of a folder into a store")

    sheet = _command("preview", "Draw a contact sheet: a row an image, a column a prompt.")
    sheet.add_argument("--out", type=str, default="preview.png", help="the PNG to write")
    sheet.add_argument("--stages", action="store_true", help="columns are GenMix's stages")
    sheet.add_argument("--count", type=int, default=6, help="images to show")
    sheet.add_argument("--size", type=int, default=128, help="px of a picture on the sheet")
    commands.add_subcommand("preview", sheet, help="draw a contact sheet of edits or stages")
    return parser


def _command(name: str, description: str) -> ArgumentParser:
    parser = ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("images", type=str, help="folder of images, searched below as well")
    default = "cross-domain" if name == "edit" else "all"
    parser.add_argument("--prompts", type=str, default=default, help=PROMPTS_HELP)
    parser.add_argument("--seed", type=int, default=0, help="decides prompts and variations")
    parser.add_argument("--editor", type=str, default="filters", help="what makes the edits")
    return parser


def main(args: list[str] | None = None) -> int:
    """Runs `genmix` with these arguments (the command line's by default); the exit code."""
    options = build_parser().parse_args(args)
    try:
        COMMANDS[options.command](options[options.command])
    except (ValueError, OSError) as error:
        print(f"genmix: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("genmix: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
