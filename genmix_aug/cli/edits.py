"""The commands `genmix edit` and `genmix screen`: a store of edits, filled and screened."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from genmix_aug.cli.options import (
    EditorOptions,
    PlanOptions,
    WorkerOptions,
    check_least,
    check_square,
    chosen_editor,
    chosen_plan,
)

if TYPE_CHECKING:
    from torch import Tensor

    from genmix_aug.edits.fill import Filler, Originals, Screen
    from genmix_aug.edits.workers import Filled, Recipe
    from genmix_aug.images import ImageFiles
    from genmix_aug.screening.checks import Features, Reference

ALONE = WorkerOptions()


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
    working: WorkerOptions = ALONE,
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
        working: processes and machines
        dry_run: only say how many, how large and how long
    """
    from genmix_aug.edits.fill import Filler, FillSettings
    from genmix_aug.edits.store import EditStore
    from genmix_aug.edits.workers import (
        Filled,
        Recipe,
        Workers,
        digests_of,
        fill_together,
        read_digests,
        worker_pool,
    )
    from genmix_aug.images import ImageFiles, find_images

    check_least("per-image", plan.per_image, 1)
    check_least("batch-size", filling.batch_size, 1)
    check_least("redraws", filling.redraws, 0)
    check_square(plan.square_px)
    workers = Workers(working.workers, working.gpus_per_worker, working.address)
    _check_apart(Path(images), Path(store))
    _check_single(os.environ)
    editor = chosen_editor(editing)
    files = ImageFiles(find_images(images), plan.square_px)
    screen = None if dry_run else chosen_screen(screening.features, files)
    recipe = Recipe(
        EditStore(store, filling.image_format),
        partial(chosen_editor, editing),
        editor.fingerprint,
        partial(chosen_screen, screening.features, reference_files(files)),
        FillSettings(filling.batch_size, redraws=filling.redraws, progress=True),
    )
    wanted = chosen_plan(editing, plan, editor.fingerprint)
    if dry_run or workers.is_local:
        originals = _originals(Path(images), files, digests_of(files, progress=True))
        settings = replace(recipe.settings, screen=screen)
        requests = wanted.requests(originals.digests)
        filler = Filler(recipe.store, editor, originals, requests, settings)
        if dry_run:
            _print_estimate(filler)
            return
        filled = Filled(filler.fill(), filler.rejected, Counter(editor.remarks()))
    else:
        with worker_pool(recipe, workers, editor.uses_gpu) as pool:
            originals = _originals(Path(images), files, read_digests(pool, files))
            requests = wanted.requests(originals.digests)
            filled = fill_together(pool, recipe, originals, requests)
    _report(recipe, originals, filled, screening.features)


def _print_estimate(filler: Filler) -> None:
    """Print what is to be made, and what it will take."""
    from genmix_aug.edits.estimate import estimate

    keys, todo = filler.missing()
    distinct = len({key for key in keys if key})
    print(
        f"{len(filler.originals.names)} images, {distinct} distinct edits wanted, "
        f"{distinct - len(todo)} in {filler.store.root} already, {len(todo)} to make"
    )
    if todo:
        print(estimate(filler, todo))


def _check_apart(images: Path, store: Path) -> None:
    if store.exists() and not store.is_dir():
        raise ValueError(f"the store {store} is not a folder")
    if images.resolve() in (store.resolve(), *store.resolve().parents):
        raise ValueError(f"the store {store} must not lie within the images {images}")


def _check_single(environment: Mapping[str, str]) -> None:
    """Refuse to be started by `torchrun`: each process would make the same edits."""
    if int(environment.get("WORLD_SIZE") or 1) > 1:
        raise ValueError(
            "genmix edit is for one process: start it without a launcher; --workers N "
            "--gpus-per-worker 1 takes N GPUs"
        )


def _originals(folder: Path, files: ImageFiles, digests: list[str]) -> Originals:
    """Return the images of a folder, and what the manifest is to say of them."""
    from genmix_aug.edits.fill import Originals

    names = [path.relative_to(folder).as_posix() for path in files.paths]
    origin = {"folder": str(folder.absolute()), "square_px": files.square_px}
    return Originals(files, names, digests, origin)


def reference_files(files: ImageFiles) -> ImageFiles:
    """Return those of the files that `chosen_screen` reads."""
    from genmix_aug.edits.again import reference_numbers

    return files.part(reference_numbers(len(files)))


def chosen_screen(features: str, images: ImageFiles) -> Screen:
    """Return the checks of pixels, and of features where a function is named.

    The limit of similarity comes from an even sample of the folder's images; of that sample alone
    it is the same.
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


def _report(recipe: Recipe, originals: Originals, filled: Filled, features: str) -> None:
    """Print what is in the store now, and what screening and the editors have to say."""
    store = recipe.store
    served = {key for key in filled.keys if key}
    print(f"{len(served)} edits of {len(originals.names)} images are in {store.root}")
    wanted = set(originals.digests)
    refused: Counter[str] = Counter()
    unseen = 0
    for record in store.entries():
        if record["image"] in wanted and record["editor"] == recipe.fingerprint:
            refused[record["reason"]] += 1
            unseen += record["key"] in served and "similarity" not in record.get("scores", {})
    del refused[""]
    if refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
        print(
            f"screening rejected {refused.total()} ({reasons}); "
            f"{filled.keys.count(None)} could not be redrawn well and are left out"
        )
    if features and unseen:
        print(
            f"{unseen} were there already and have not been compared by features: "
            f"`genmix screen {store.root} --features {features} --reject`, then this again"
        )
    for what, count in filled.remarks.items():
        print(f"{count} {what}")


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
