"""The commands `genmix edit` and `genmix screen`: a store of edits, filled and screened."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from genmix_aug.cli.options import (
    EditorOptions,
    PlanOptions,
    check_least,
    check_square,
    chosen_editor,
    chosen_plan,
)

if TYPE_CHECKING:
    from torch import Tensor

    from genmix_aug.edits.fill import Filler, Originals, Screen
    from genmix_aug.images import ImageFiles
    from genmix_aug.screening.checks import Features, Reference


@dataclass(frozen=True)
class FillOptions:
    """How the store is filled.

    Args:
        batch_size: images edited at a time
        image_format: of the edits: png or jpeg
        redraws: new seeds to try for a bad edit
    """

    batch_size: int = 16
    image_format: str = "png"
    redraws: int = 3


@dataclass(frozen=True)
class ScreenOptions:
    """What edits are screened by, besides their pixels.

    Args:
        features: PACKAGE.MODULE:FUNCTION from images uint8 [B,3,H,W] to features [B,D], to detect
            edits that are changed past recognition, such as
            uda.models.imagenet:imagenet_features
    """

    features: str = ""


def edit(
    images: str,
    *,
    store: str,
    editing: EditorOptions,
    plan: PlanOptions,
    filling: FillOptions,
    screening: ScreenOptions,
    shard: str = "",
    dry_run: bool = False,
) -> None:
    """Edit the images of a folder into a store; goes on where it stopped.

    Args:
        images: folder of images, searched below as well
        store: folder of the edit store
        editing: the editor
        plan: the edits
        filling: batches and redraws
        screening: features
        shard: such as 2/8: the second of eight processes' shares
        dry_run: only say how many, how large and how long
    """
    from genmix_aug.edits.estimate import estimate
    from genmix_aug.edits.fill import Filler, FillSettings
    from genmix_aug.edits.store import EditStore
    from genmix_aug.images import ImageFiles, find_images

    check_least("per-image", plan.per_image, 1)
    check_least("batch-size", filling.batch_size, 1)
    check_least("redraws", filling.redraws, 0)
    check_square(plan.square_px)
    _check_apart(Path(images), Path(store))
    share, shares = shard_of(shard, os.environ)
    editor = chosen_editor(editing)
    edits = EditStore(store, filling.image_format)
    paths = find_images(images)
    originals = _originals(Path(images), paths[share::shares], plan.square_px)
    screen = None
    if not dry_run:
        screen = chosen_screen(screening.features, ImageFiles(paths, plan.square_px))
    requests = chosen_plan(editing, plan, editor.fingerprint).requests(originals.digests)
    settings = FillSettings(filling.batch_size, screen, redraws=filling.redraws, progress=True)
    filler = Filler(edits, editor, originals, requests, settings)
    of = f"{len(originals.names)} images"
    of += f" (shard {share + 1} of {shares})" if shares > 1 else ""
    if dry_run:
        keys, todo = filler.missing()
        distinct = len({key for key in keys if key})
        print(
            f"{of}, {distinct} distinct edits wanted, "
            f"{distinct - len(todo)} in {store} already, {len(todo)} to make"
        )
        if todo:
            print(estimate(filler, todo))
        return
    _report(filler, filler.fill(), of, screening.features)


def _check_apart(images: Path, store: Path) -> None:
    if store.exists() and not store.is_dir():
        raise ValueError(f"the store {store} is not a folder")
    if images.resolve() in (store.resolve(), *store.resolve().parents):
        raise ValueError(f"the store {store} must not lie within the images {images}")


def shard_of(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Return this process's share of the work: its number, from 0, and how many shares.

    Args:
        text: "2/8" for the second of eight; "" for that of `torchrun`, if it runs us.
        environment: RANK and WORLD_SIZE, as `torchrun` sets them.

    Raises:
        ValueError: Another form, or a number out of range.
    """
    if not text:
        return int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    number, slash, total = text.partition("/")
    if not (slash and number.isdigit() and total.isdigit() and 1 <= int(number) <= int(total)):
        raise ValueError(f"--shard: {text!r} must be such as 2/8, the second of eight")
    return int(number) - 1, int(total)


def _originals(folder: Path, paths: list[Path], square_px: int) -> Originals:
    """Read every image once, for its digest."""
    from tqdm import tqdm

    from genmix_aug.edits.fill import Originals
    from genmix_aug.edits.keys import image_digest
    from genmix_aug.images import ImageFiles

    files = ImageFiles(paths, square_px)
    with tqdm(range(len(paths)), desc="reading", unit="image", disable=None) as numbers:
        digests = [image_digest(files[number]) for number in numbers]
    names = [path.relative_to(folder).as_posix() for path in paths]
    origin = {"folder": str(folder.absolute()), "square_px": square_px}
    return Originals(files, names, digests, origin)


def chosen_screen(features: str, images: ImageFiles) -> Screen:
    """Return the checks of pixels, and of features where a function is named.

    The limit of similarity comes from all of the folder's images, so every shard sets the same.
    """
    from genmix_aug.edits.again import reference_from
    from genmix_aug.screening.checks import screen

    if not features:
        return screen
    function = load_features(features)

    @cache  # computed when the first edit is to be judged
    def reference() -> Reference:
        return reference_from(function, images.__getitem__, len(images))

    return lambda originals, edits: screen(originals, edits, function, reference())


def load_features(text: str) -> Features:
    """Return the function that "package.module:function" names, in the current folder as well.

    Raises:
        ValueError: It cannot be imported.
    """
    module, colon, name = text.partition(":")
    # An installed command looks beside itself alone, `python -m` in the current folder too.
    if (current := os.getcwd()) not in sys.path and "" not in sys.path:
        sys.path.append(current)
    try:
        if not colon:
            raise ImportError("expected MODULE:FUNCTION")
        function: Features = getattr(import_module(module), name)
        if not callable(function):
            raise ImportError("not a function")
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--features {text}: {error}") from None

    def checked(images: Tensor) -> Tensor:
        features = function(images)
        if getattr(features, "ndim", 0) != 2 or len(features) != len(images):
            raise ValueError(f"--features {text}: it must turn images [B,3,H,W] into [B,D]")
        return features

    return checked


def _report(filler: Filler, keys: list[str | None], of: str, features: str) -> None:
    """Print what is in the store now, and what screening and the editor have to say."""
    store = filler.store
    served = {key for key in keys if key}
    print(f"{len(served)} edits of {of} are in {store.root}")
    wanted = set(filler.originals.digests)
    records = [
        record
        for record in store.entries()
        if record["image"] in wanted and record["editor"] == filler.editor.fingerprint
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
            f"`genmix screen {store.root} --features {features} --reject`, then this again"
        )
    for line in filler.editor.remarks():
        print(line)


def screen(
    store: str,
    *,
    screening: ScreenOptions,
    images: str = "",
    reject: bool = False,
    out: str = "screening",
    count: int = 24,
    size: int = 128,
) -> None:
    """Say which edits failed, under which prompts, and show the worst.

    Args:
        store: folder of the edit store
        screening: features
        images: originals, if they were moved
        reject: take what fails out of service; `genmix edit` draws it again
        out: folder of the figures
        count: worst edits to show
        size: px of a picture on the sheet
    """
    from genmix_aug.contact_sheet import check_size, save_png
    from genmix_aug.edits.again import judged, originals_of, pair_of
    from genmix_aug.edits.store import EditStore
    from genmix_aug.files import remove_abandoned
    from genmix_aug.screening.report import draw_similarities, draw_worst, summary, worst

    edits = EditStore(store)
    stored = list(edits.entries())
    if not stored:
        raise ValueError(f"{store}: no edits there; make some with `genmix edit`")
    check_least("count", count, 1)
    check_size(size)
    if reject and not screening.features:
        raise ValueError("--reject goes by similarity: name a feature function with --features")
    originals = originals_of(stored, images)
    limit, records = None, stored
    if screening.features:
        function = load_features(screening.features)
        records, limit = judged(edits, stored, originals, function)
    print(summary(records, limit))
    folder = Path(out)
    remove_abandoned(folder)
    if any("similarity" in record["scores"] for record in records):
        draw_similarities(records, limit, folder / "similarities.png")
        print(f"wrote {folder / 'similarities.png'}")
    worst_records = worst(records, count)
    pairs = [pair_of(edits, record, originals) for record in worst_records]
    save_png(draw_worst(pairs, worst_records, size), folder / "worst.png")
    print(f"wrote {folder / 'worst.png'}: the worst {len(pairs)}, originals beside edits")
    changed = [
        {**record, "reason": old["reason"]}
        for record, old in zip(records, stored, strict=True)
        if record["scores"] != old["scores"]
    ]
    if changed:
        edits.record(changed)
    if reject:
        for record in records:
            if record["reason"]:
                edits.reject(record, record["reason"])
