"""What the subcommands of `genmix` do; `genmix_aug.cli` reads their arguments."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.contact_sheet import check_name, check_size, contact_sheet, save_png
from genmix_aug.editors import Editor
from genmix_aug.editors.base import edit_each
from genmix_aug.editors.options import editor_options, make_editor, parse_options
from genmix_aug.edits.again import judged, originals_of, pair_of, reference_from
from genmix_aug.edits.estimate import estimate
from genmix_aug.edits.fill import Screen, fill, missing
from genmix_aug.edits.plan import image_digest, plan_edits
from genmix_aug.edits.store import EditStore
from genmix_aug.export import check_sizes
from genmix_aug.export import export as write_export
from genmix_aug.files import sweep
from genmix_aug.images import ImageFiles, find_images, load_rgb
from genmix_aug.mixing.fractal_folder import load_fractals, write_fractals
from genmix_aug.mixing.fractals import draw_fractals as drawn_fractals
from genmix_aug.mixing.genmix import GenMix, parse_settings
from genmix_aug.prompts import check_prompts, parse_prompts
from genmix_aug.screening.checks import Features, Reference, screen
from genmix_aug.screening.report import draw_similarities, draw_worst, summary, worst
from genmix_aug.seeding import hash_seed
from genmix_aug.transform import DEFAULT_FRACTALS

MOST_PX = 8192  # a picture of this side is 200 MB
PREVIEW_BATCH = 4  # prompts of an image at a time: a sheet is not worth a full GPU


def chosen_editor(name: str, options: str, prompts: Sequence[str]) -> Editor:
    """The editor of this name with options such as "steps=20", which must know the prompts.

    Under `torchrun` each process takes the GPU of its local rank.

    Raises:
        ValueError: no such editor, option or prompt.
    """
    given = parse_options(options)
    if "device" in editor_options(name) and "device" not in given and torch.cuda.is_available():
        rank = int(os.environ.get("LOCAL_RANK", 0))
        given["device"] = f"cuda:{rank % torch.cuda.device_count()}"
    editor = make_editor(name, given)
    check_prompts(prompts, editor.prompts)
    return editor


def shard_of(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Which share of the work is this process's: (number from 0, how many).

    Args:
        text: "2/8" for the second of eight; "" for that of `torchrun`, if it runs us.
        environment: RANK and WORLD_SIZE, as `torchrun` sets them.

    Raises:
        ValueError: another form, or a number out of range.
    """
    if not text:
        return int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    number, slash, total = text.partition("/")
    if not (slash and number.isdigit() and total.isdigit() and 1 <= int(number) <= int(total)):
        raise ValueError(f"--shard: {text!r} must be such as 2/8, the second of eight")
    return int(number) - 1, int(total)


def load_features(text: str) -> Features:
    """The function that "package.module:function" names; modules of the current folder are found.

    Raises:
        ValueError: it cannot be imported.
    """
    module, colon, name = text.partition(":")
    # An installed command looks beside itself alone, `python -m` in the current folder too.
    if (here := os.getcwd()) not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        if not colon:
            raise ImportError("expected MODULE:FUNCTION")
        function: Features = getattr(import_module(module), name)
        if not callable(function):
            raise ImportError("not a function")
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--features {text}: {error}") from None

    def checked(images: Tensor) -> Tensor:
        found = function(images)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images):
            raise ValueError(f"--features {text}: it must turn images [B,3,H,W] into [B,D]")
        return found

    return checked


def chosen_screen(features: str, images: ImageFiles) -> Screen:
    """The checks of pixels, and of features where a function is named.

    The limit of similarity comes from all of the folder's images, so every shard sets the same.
    """
    if not features:
        return screen
    function = load_features(features)

    @cache  # read when the first edit is to be judged
    def reference() -> Reference:
        return reference_from(function, images.__getitem__, len(images))

    return lambda originals, edits: screen(originals, edits, function, reference())


def check_least(flag: str, value: int, least: int) -> None:
    """Refuses a number below `least`, naming its flag."""
    if value < least:
        raise ValueError(f"--{flag} must be at least {least}, not {value}")


def check_square(square_px: int) -> None:
    """Refuses squares that no memory holds, and negative ones."""
    check_least("square-px", square_px, 0)
    if square_px > MOST_PX:
        raise ValueError(f"--square-px must be at most {MOST_PX}, not {square_px}")


def edit(
    images: str,
    store: str,
    prompts: str,
    per_image: int,
    seed: int,
    editor: str,
    editor_options: str,
    batch_size: int,
    square_px: int,
    image_format: str,
    features: str,
    redraws: int,
    shard: str,
    dry_run: bool,
) -> None:
    """`genmix edit`: makes the edits of all images that the store does not have yet."""
    chosen = parse_prompts(prompts)
    check_least("per-image", per_image, 1)
    check_least("batch-size", batch_size, 1)
    check_least("redraws", redraws, 0)
    check_square(square_px)
    if Path(store).exists() and not Path(store).is_dir():
        raise ValueError(f"the store {store} is not a folder")
    if Path(images).resolve() in (Path(store).resolve(), *Path(store).resolve().parents):
        raise ValueError(f"the store {store} must not lie within the images {images}")
    share, shares = shard_of(shard, os.environ)
    redraw_with = chosen_editor(editor, editor_options, chosen)
    edits = EditStore(store, image_format)
    everything = find_images(images)
    paths = everything[share::shares]
    names = [path.relative_to(images).as_posix() for path in paths]
    files = ImageFiles(paths, square_px)
    with tqdm(range(len(paths)), desc="reading", unit="image", disable=None) as numbers:
        digests = [image_digest(files[number]) for number in numbers]
    requests = plan_edits(digests, chosen, per_image, seed)
    of = f" (shard {share + 1} of {shares})" if shares > 1 else ""
    if dry_run:
        fingerprint = redraw_with.fingerprint
        keys, todo = missing(edits, files, requests, fingerprint, True, digests, redraws)
        distinct = len({key for key in keys if key})
        print(
            f"{len(paths)} images{of}, {distinct} distinct edits wanted, "
            f"{distinct - len(todo)} in {store} already, {len(todo)} to make"
        )
        if todo:
            print(estimate(redraw_with, edits, files, [requests[k] for k in todo], batch_size))
        return
    keys = fill(
        edits,
        redraw_with,
        files,
        names,
        requests,
        batch_size,
        True,
        digests,
        chosen_screen(features, ImageFiles(everything, square_px)),
        redraws,
        {"folder": str(Path(images).absolute()), "square_px": square_px},
    )
    served = {key for key in keys if key}
    print(f"{len(served)} edits of {len(paths)} images{of} are in {store}")
    wanted = set(digests)
    records = [
        record
        for record in edits.entries()
        if record["image"] in wanted and record["editor"] == redraw_with.fingerprint
    ]
    refused = Counter(record["reason"] for record in records if record["reason"])
    if refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
        print(
            f"screening rejected {refused.total()} ({reasons}); "
            f"{keys.count(None)} could not be redrawn well and are left out"
        )
    unseen = sum(r["key"] in served and "similarity" not in r.get("scores", {}) for r in records)
    if features and unseen:
        print(
            f"{unseen} were there already and have not been compared by features: "
            f"`genmix screen {store} --features {features} --reject`, then this again"
        )
    if redone := getattr(redraw_with, "redone", 0):
        print(f"{redone} were not finite in half precision and were made in float32")
    if failed := getattr(redraw_with, "failed", 0):
        print(f"{failed} were not finite in float32 either and came out black")


def screen_store(
    store: str,
    images: str,
    features: str,
    reject: bool,
    out: str,
    count: int,
    size: int,
) -> None:
    """`genmix screen`: which edits failed, under which prompts, and the worst of them."""
    edits = EditStore(store)
    records = list(edits.entries())
    if not records:
        raise ValueError(f"{store}: no edits there; make some with `genmix edit`")
    check_least("count", count, 1)
    check_size(size)
    if reject and not features:
        raise ValueError("--reject goes by similarity: name a feature function with --features")
    originals = originals_of(records, images)
    limit, found = None, records
    if features:
        records, limit = judged(edits, records, originals, load_features(features))
    print(summary(records, limit))
    folder = Path(out)
    sweep(folder)
    if any("similarity" in record["scores"] for record in records):
        draw_similarities(records, limit, folder / "similarities.png")
        print(f"wrote {folder / 'similarities.png'}")
    shown = worst(records, count)
    pairs = [pair_of(edits, record, originals) for record in shown]
    save_png(draw_worst(pairs, shown, size), folder / "worst.png")
    print(f"wrote {folder / 'worst.png'}: the worst {len(shown)}, originals beside edits")
    changed = [
        {**record, "reason": old["reason"]}
        for record, old in zip(records, found, strict=True)
        if record["scores"] != old["scores"]
    ]
    if changed:
        edits.record(changed)
    if reject:
        for record in records:
            if record["reason"]:
                edits.reject(record, record["reason"])


def fractals(out: str, count: int, size: int, seed: int, workers: int) -> None:
    """`genmix fractals`: writes a set of fractals, or what it lacks of it."""
    made = write_fractals(out, count, size, seed, workers, progress=True)
    print(f"{count} fractals of {size} px are in {out}, {made} of them new")


def export(
    images: str,
    store: str,
    out: str,
    prompts: str,
    per_image: int,
    seed: int,
    editor: str,
    editor_options: str,
    square_px: int,
    copies: int,
    draw_seed: int,
    image_format: str,
    replace_spaces: bool,
    **mixing: Any,
) -> None:
    """`genmix export`: originals and GenMix images as a tree of files."""
    chosen = parse_prompts(prompts)
    check_square(square_px)
    fingerprint = chosen_editor(editor, editor_options, chosen).fingerprint
    done = write_export(
        images,
        EditStore(store),
        out,
        chosen,
        per_image,
        fingerprint,
        chosen_mixing(**mixing),
        copies,
        draw_seed,
        seed,
        image_format,
        replace_spaces,
        square_px,
        progress=True,
    )
    print(
        f"{done.originals} originals and {done.augmented} GenMix images are in {out}, "
        f"{done.written} files of them new"
    )
    if done.unaugmented:
        print(f"{done.unaugmented} images have none: screening rejected all of their edits")


def chosen_mixing(
    fractals: str, join: str, sides: str, fractal_weight: float, blend_width: int
) -> GenMix:
    """GenMix as the command line describes it.

    Raises:
        ValueError: a value that it cannot have, or a folder without images.
    """
    # What is wrong is better found before the fractals are drawn, which takes seconds.
    settings = parse_settings(join, sides, fractal_weight, blend_width)
    pictures = load_fractals(fractals, 512) if fractals else drawn_fractals(*DEFAULT_FRACTALS)
    return replace(settings, fractals=pictures)


def preview(
    images: str,
    prompts: str,
    seed: int,
    editor: str,
    editor_options: str,
    out: str,
    stages: bool,
    count: int,
    size: int,
    **mixing: Any,
) -> None:
    """`genmix preview`: draws a contact sheet of edits, or of the stages of GenMix."""
    chosen = parse_prompts(prompts)
    check_least("count", count, 1)
    check_name(out)
    check_size(size)
    redraw_with = chosen_editor(editor, editor_options, chosen)
    paths = find_images(images)
    # Spread over the folder rather than its first few files, which are often of one class.
    step = max(1, len(paths) // count)
    paths = paths[::step][:count]
    rows: list[list[Tensor]] = []
    labels: list[str] = []
    columns = ["original", *chosen]
    genmix = chosen_mixing(**mixing) if stages else None
    if genmix:
        check_sizes(genmix, paths)
    for number, path in enumerate(paths):
        image = load_rgb(path)
        own = hash_seed("preview", seed, path.name)
        if genmix:
            prompt = chosen[number % len(chosen)]
            edited = redraw_with.edit(image[None], [prompt], [own])[0]
            shown = genmix.stages(image, edited, own)
            columns = list(shown)
            rows.append(list(shown.values()))
            labels.append(f"{path.stem}: {prompt}")
        else:
            edits: list[Tensor] = []
            for start in range(0, len(chosen), PREVIEW_BATCH):
                some = list(chosen[start : start + PREVIEW_BATCH])
                edits += edit_each(redraw_with, [image] * len(some), some, [own] * len(some))
            rows.append([image, *edits])
            labels.append(path.stem)
    save_png(contact_sheet(rows, labels, columns, size), out)
    print(f"wrote {out}: {len(rows)} images, {len(columns)} columns")
