"""Sample pictures of unknowns that were detected and missed, as data URIs for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genmix_aug.images import load_rgb, to_picture
from uda.data.fingerprints import content_hash
from uda.data.items import Item, domain_items, paths_by_name
from uda.data.spec import load_dataset_spec
from uda.reports.chapter import DrawnPair
from uda.reports.predictions import Predictions
from uda.reports.results import Setting
from uda.stages.pictures import target_hashes

if TYPE_CHECKING:
    from PIL.Image import Image

PER_KIND = 8
SAMPLE_PX = 96
KINDS = {  # as in `Predictions.surest`
    "detected": "Unknown and found: of target-private classes, called unknown",
    "missed": "Unknown and missed: of target-private classes, taken for a known one",
    "rejected": "Known and rejected: of shared classes, called unknown",
}


@dataclass(frozen=True)
class Sample:
    """An image with its true class, what it was called and its unknown score."""

    true: str
    called: str
    score: str
    picture: str  # a data URI


@dataclass(frozen=True)
class Samples:
    """Sample images of a pair by the title of their kind, or ``why`` none can be had."""

    title: str
    kinds: Mapping[str, Sequence[Sample]]
    why: str = ""


def read_samples(setting: Setting, drawn: DrawnPair, root: str) -> Samples:
    """Return sample images of the last row of a pair.

    Args:
        root: The folder of the domains; empty for the folder that the dataset's file names.
    """
    row, predictions = list(drawn.by_row.items())[-1]
    title = f"{drawn.pair.arrow}, {row}, seed {drawn.seed}"
    try:
        items = domain_items(load_dataset_spec(setting.dataset, root), drawn.pair.target)
        paths = paths_by_name(items, map(str, predictions.name))
        rows = {text: predictions.surest(kind, PER_KIND) for kind, text in KINDS.items()}
        _check_same(predictions, {row for of_kind in rows.values() for row in of_kind}, paths)
        kinds = {
            text: [_sample(predictions, row, paths) for row in of_kind]
            for text, of_kind in rows.items()
        }
    except (ValueError, KeyError) as error:
        reason = f"no picture {error}" if isinstance(error, KeyError) else str(error)
        why = f"Not shown: {reason.partition(';')[0]}; --root names the folder of the domains."
        return Samples(title, {}, why)
    return Samples(title, kinds)


def _check_same(predictions: Predictions, rows: Iterable[int], paths: Mapping[str, Path]) -> None:
    """Raise ValueError naming a picture that is not that which was predicted."""
    hashes = target_hashes(predictions.run)
    for name in map(str, predictions.name[list(rows)]):
        if hashes.get(name, "") not in ("", content_hash(Item(paths[name], ""))):
            raise ValueError(f"{paths[name]} is not the picture that was predicted")


def _sample(predictions: Predictions, index: int, paths: Mapping[str, Path]) -> Sample:
    name = str(predictions.name[index])
    classes = [*predictions.split.source_classes, "unknown"]
    return Sample(
        name.split("/")[0],
        classes[int(predictions.label[index])],
        f"{predictions.score[index]:.2f}",
        data_uri(to_picture(load_rgb(paths[name], SAMPLE_PX))),
    )


def reduced(path: Path, width: int) -> Image:
    """Return the image in the file, no wider than ``width`` px.

    Raises:
        ValueError: naming a broken file.
    """
    picture = to_picture(load_rgb(path))
    picture.thumbnail((width, 10 * width))
    return picture


def data_uri(picture: Image) -> str:
    """Return the image as a data URI, WebP."""
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=82, method=4)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
