"""The commands `genmix preview`, `fractals` and `export`, which write pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from genmix_aug.cli.options import (
    EditorOptions,
    MixingOptions,
    PlanOptions,
    check_least,
    check_square,
    chosen_editor,
    chosen_mixing,
    chosen_plan,
)
from genmix_aug.prompts import parse_prompts
from genmix_aug.seeding import hash_seed

if TYPE_CHECKING:
    from torch import Tensor

    from genmix_aug.editors import Editor

ALL_PROMPTS = EditorOptions(prompts="all")
PREVIEW_SIZES = 2  # times the side of a picture on the sheet, to which images are reduced
PREVIEW_BATCH = 4  # prompts of an image at a time: a sheet is not worth a full GPU


@dataclass(frozen=True)
class TreeOptions:
    """The GenMix images of a tree.

    Args:
        copies: GenMix images of each original
        draw_seed: decides edits, seams and fractals
        image_format: of the copies: png or jpeg
        replace_spaces: white space in names: _
    """

    copies: int = 1
    draw_seed: int = 0
    image_format: str = "png"
    replace_spaces: bool = False


def preview(
    images: str,
    *,
    mixing: MixingOptions,
    editing: EditorOptions = ALL_PROMPTS,
    out: str = "preview.png",
    stages: bool = False,
    count: int = 6,
    size: int = 128,
) -> None:
    """Draw a contact sheet of edits, or of GenMix's stages: a row an image, a column a prompt.

    Large images are reduced first: effects scale with them, and the sheet shows no more.

    Args:
        images: folder of images, searched below as well
        mixing: the stages
        editing: the editor
        out: the PNG to write
        stages: columns are GenMix's stages
        count: images to show
        size: px of a picture on the sheet
    """
    from genmix_aug.contact_sheet import check_name, check_size, contact_sheet, save_png
    from genmix_aug.export import check_sizes
    from genmix_aug.images import find_images, load_rgb
    from genmix_aug.lettering import legible
    from genmix_aug.progress import show_progress

    prompts = parse_prompts(editing.prompts)
    check_least("count", count, 1)
    check_name(out)
    check_size(size)
    editor = chosen_editor(editing)
    paths = find_images(images)
    # Spread over the folder rather than its first few files, which are often of one class.
    paths = paths[:: max(1, len(paths) // count)][:count]
    genmix = chosen_mixing(mixing) if stages else None
    if genmix:
        check_sizes(genmix, paths)
    bar = show_progress(paths, desc="preview", unit="image", leave=False, delay=2)
    names, key = legible([path.stem for path in paths])
    rows: list[list[Tensor]] = []
    labels: list[str] = []
    columns = ["original", *prompts]
    for number, path in enumerate(bar):
        original = load_rgb(path)
        image = _reduced(original, PREVIEW_SIZES * size)
        seed = hash_seed("preview", editing.seed, path.name)
        if genmix:
            prompt = prompts[number % len(prompts)]
            edited = editor.edit(image[None], [prompt], [seed])[0]
            width = genmix.blend_width or 0
            if width > 0:  # px of the original
                width = max(1, round(width * image.shape[2] / original.shape[2]))
            pictures = replace(genmix, blend_width=width).stages(image, edited, seed)
            columns = list(pictures)
            rows.append(list(pictures.values()))
            labels.append(f"{names[number]}: {prompt}")
        else:
            rows.append([image, *_edits(editor, image, prompts, seed)])
            labels.append(names[number])
    save_png(contact_sheet(rows, labels, columns, size), out)
    print("\n".join([f"wrote {out}: {len(rows)} images, {len(columns)} columns", *key]))


def _reduced(image: Tensor, most_px: int) -> Tensor:
    """Return an image uint8 [3, H, W] whose longer side is at most `most_px`."""
    from genmix_aug.images import from_picture, to_picture

    picture = to_picture(image)
    picture.thumbnail((most_px, most_px))
    return from_picture(picture)


def _edits(editor: Editor, image: Tensor, prompts: Sequence[str], seed: int) -> list[Tensor]:
    """Return the edits of an image under each prompt."""
    edits: list[Tensor] = []
    for start in range(0, len(prompts), PREVIEW_BATCH):
        some = list(prompts[start : start + PREVIEW_BATCH])
        edits += editor.edit_each([image] * len(some), some, [seed] * len(some))
    return edits


def fractals(
    *, out: str, count: int = 1000, size: int = 512, seed: int = 0, workers: int = 1
) -> None:
    """Draw a set of fractals into a folder; goes on where it stopped.

    Args:
        out: folder to write to
        count: number of fractals
        size: px of a side
        seed: of the set
        workers: processes that draw
    """
    from genmix_aug.mixing.fractal_folder import write_fractals

    made = write_fractals(out, count, size, seed, workers, progress=True)
    print(f"{count} fractals of {size} px are in {out}, {made} of them new")


def export(
    images: str,
    *,
    store: str,
    out: str,
    editing: EditorOptions,
    plan: PlanOptions,
    tree: TreeOptions,
    mixing: MixingOptions,
) -> None:
    """Write originals and GenMix images as a tree of files, for other code.

    Args:
        images: folder of images, searched below as well
        store: edits, made by `genmix edit`
        out: folder to write
        editing: the editor
        plan: the edits
        tree: the copies
        mixing: how they are mixed
    """
    from genmix_aug.edits.store import EditStore
    from genmix_aug.export import ExportSettings, export_tree

    check_square(plan.square_px)
    fingerprint = chosen_editor(editing).fingerprint
    done = export_tree(
        images,
        EditStore(store),
        out,
        chosen_plan(editing, plan, fingerprint),
        chosen_mixing(mixing),
        ExportSettings(tree.copies, tree.draw_seed, tree.image_format, tree.replace_spaces),
        progress=True,
    )
    print(
        f"{done.originals} originals and {done.augmented} GenMix images are in {out}, "
        f"{done.written} files of them new"
    )
    if done.tagged and done.augmented:
        print(
            f"{done.tagged} originals are turned by an EXIF tag, which torchvision's ImageFolder "
            "passes over; their GenMix images are upright. Turn the originals and export again, or "
            "read the tree with PIL.ImageOps.exif_transpose"
        )
    if done.unaugmented:
        print(f"{done.unaugmented} images have none: screening rejected all of their edits")
