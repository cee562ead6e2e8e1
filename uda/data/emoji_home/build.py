"""EmojiHome: a benchmark of Office-Home's shape, built from emoji drawn by several vendors.

Each vendor's drawings are a domain and each emoji subgroup is a class: the whales of two vendors
are the same class in two styles. The drawings come from `uda.data.emoji_home.packages`;
`classes.csv` beside this file maps each codepoint to its class.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import platform
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock
from PIL import Image, ImageChops, ImageOps

from genmix_aug.pools import process_map
from genmix_aug.progress import show_progress
from uda.data.emoji_home.packages import (
    DEFAULT_DOMAINS,
    DOMAINS,
    Drawing,
    DrawingSet,
    fetch,
    package_drawings,
    read_package,
)
from uda.runs.files import write_text, writing

MARK = "emoji_home.json"
FORMAT = 1  # to be raised when the same settings give different images
MARGIN = 0.08  # white on each side, as a share of the drawing's longer side
NEARLY_WHITE = 8  # grey levels from white that do not count as drawing


def codepoint_classes() -> dict[str, str]:
    """Return the class of each codepoint (57 classes).

    Codepoints are in lower-case hexadecimal, joined by `-`, without `fe0f`.
    """
    with open(Path(__file__).with_name("classes.csv"), encoding="utf-8", newline="") as file:
        return {row["codepoint"]: row["class"] for row in csv.DictReader(file)}


def build(
    root: Path,
    domains: Sequence[str] = DEFAULT_DOMAINS,
    image_px: int = 128,
    workers: int = 2,
    progress: bool = True,
    cache: Path | None = None,
) -> None:
    """Build EmojiHome: `root/<Domain>/<class>/<codepoint>.png`, square RGB of `image_px` pixels.

    Only codepoints that all domains draw are used, and none that a domain draws exactly like an
    earlier codepoint. `root/<Domain>/LICENSE.txt` names the author and the licence;
    `root/emoji_home.json`, written last, marks the folder as complete. The images appear under
    `root` all at once, by a rename, and their bytes do not depend on `workers`. A complete `root`
    of these settings is left as it is.

    Args:
        domains: Keys of `DOMAINS`.
        workers: Processes, of a single thread each; 1 works in this process.
        progress: Whether to show a progress bar and print what is done.
        cache: Folder of the fetched packages (default: `.emoji_home_packages` beside `root`).

    Raises:
        ValueError: An argument is wrong, `root` holds anything else (which is left alone), or a
            package has unexpected content.
        ConnectionError: The network or npm fails.
        RuntimeError: A package is refused, or a drawing cannot be drawn.
    """
    root = Path(root).resolve()
    settings = _settings(domains, image_px)
    if workers < 1:
        raise ValueError(f"workers: {workers} is not a number of processes (1 or more)")
    prefix = f".{root.name}.partial-"
    partial = root.with_name(f"{prefix}{secrets.token_hex(4)}")
    with contextlib.ExitStack() as lock:
        if not _is_complete(root, settings):  # checked again once other builders are done
            lock.enter_context(FileLock(root.with_name(f".{root.name}.lock")))
        if _is_complete(root, settings):
            if progress:
                print(f"EmojiHome is already whole in {root}")
            return
        for leftover in [path for path in root.parent.iterdir() if path.name.startswith(prefix)]:
            shutil.rmtree(leftover)
        try:
            cache = cache or root.with_name(".emoji_home_packages")
            sets = {name: DOMAINS[name] for name in settings["domains"]}
            tarballs = fetch(sets, Path(cache).resolve(), progress)
            with writing(root, partial):
                mark = {**settings, **_fill(partial, tarballs, image_px, workers, progress)}
                write_text(partial / MARK, json.dumps(mark, indent=1) + "\n")
                if root.exists():
                    root.rmdir()  # it is empty, or _is_complete had raised
                partial.rename(root)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    if progress:
        for name, counts in mark["counts"].items():
            print(f"{name}: {sum(counts.values()):,} images in {len(counts)} classes")


def check(root: Path) -> None:
    """Raise ValueError, naming what is missing, unless `root` is a complete EmojiHome folder.

    This takes milliseconds: it counts files and does not open the images.
    """
    _read_mark(Path(root))


def draw(drawing: Drawing, image_px: int) -> Image.Image:
    """Draw an emoji on white, cropped to the drawing and `MARGIN`: RGB, `image_px` square.

    SVG is drawn at twice the size that the crop needs and reduced with Lanczos, since resvg's masks
    alias at the target size. Raises ValueError where the drawing is empty.
    """
    if isinstance(drawing.data, bytes):
        with Image.open(io.BytesIO(drawing.data)) as file:
            image = file.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    else:
        units_px = image_px / max(drawing.width, drawing.height)
        left, top, right, bottom = _content_box(_render(drawing, units_px))
        side = max(right - left, bottom - top) * (1 + 2 * MARGIN)
        # A speck on a large canvas is not worth a huge image: at most 8 times the target size.
        image = _render(drawing, units_px * min(2 * image_px / side, 8))
    image = _crop(image, image_px)
    if drawing.h_flip:
        image = ImageOps.mirror(image)
    if drawing.v_flip:
        image = ImageOps.flip(image)
    return image.rotate(-90 * drawing.quarter_turns)


def drawn_twice(
    codepoints: Sequence[str], digests: Mapping[tuple[str, str], str]
) -> dict[str, str]:
    """Return the codepoints that a domain draws exactly like an earlier codepoint.

    Args:
        digests: (domain, codepoint) -> digest of the image's pixels.

    Returns:
        Codepoint -> text that names the domain and the earlier codepoint.
    """
    first: dict[tuple[str, str], str] = {}
    twice = {}
    domains = sorted({name for name, _ in digests})
    for code in codepoints:
        keys = [(name, digests[name, code]) for name in domains]
        seen = [f"{key[0]} draws it as {first[key]}" for key in keys if key in first]
        if seen:
            twice[code] = ", ".join(seen)
        else:
            first.update({key: code for key in keys})
    return twice


def license_text(drawn: DrawingSet, texts: Mapping[str, Any], image_px: int) -> str:
    """Return a domain's credits and licence, from its package's JSON files."""
    package, info = texts["package.json"], texts.get("info.json", {})
    terms = info.get("license", {"spdx": package["license"]})
    author = info.get("author", {"name": package.get("author")})
    lines = {
        "Drawings": info.get("name", package["name"]),
        "Author": f"{author['name']} {author.get('url', '')}",
        "Credit": drawn.credit,
        "Licence": f"{terms.get('title', terms['spdx'])} (SPDX: {terms['spdx']})",
        "Licence text": terms.get("url", package.get("homepage")),
        "Package": f"{package['name']} {package['version']} {package.get('homepage', '')}",
        "Changes": f"drawn at {image_px} x {image_px} pixels on white, cropped to the drawing",
    }
    if "-SA-" in terms["spdx"]:
        lines["ShareAlike"] = (
            "whoever passes on these images, or works made from them, does so under this licence"
        )
    return "".join(f"{key}: {value}".rstrip() + "\n" for key, value in lines.items() if value)


def _settings(domains: Sequence[str], image_px: int) -> dict[str, Any]:
    """Return all that the images depend on, for the mark."""
    known = [name for name in DOMAINS if name in domains]
    if not known or isinstance(domains, str) or sorted(known) != sorted(domains):
        raise ValueError(f"domains: {domains!r} are not different ones of {', '.join(DOMAINS)}")
    if not 16 <= image_px <= 512:
        raise ValueError(f"image_px: {image_px} is not between 16 and 512 pixels")
    return {
        "format": FORMAT,
        "image_px": image_px,
        "domains": {name: f"{DOMAINS[name].package}@{DOMAINS[name].version}" for name in known},
        "classes_sha256": _sha256(json.dumps(codepoint_classes(), sort_keys=True)),
    }


def _is_complete(root: Path, settings: Mapping[str, Any]) -> bool:
    """Return whether `root` is built, False for a missing or empty folder; else ValueError."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    if not (root / MARK).is_file():
        raise ValueError(
            f"{root} exists and is not EmojiHome ({MARK} is missing): "
            "name another folder, or move this one away"
        )
    mark = _read_mark(root)
    for key, wanted in settings.items():
        if mark.get(key) != wanted:
            raise ValueError(
                f"{root} holds EmojiHome of other settings ({key} is {mark.get(key)}, not "
                f"{wanted}): name another folder, or delete this one to build it anew"
            )
    return True


def _read_mark(root: Path) -> dict[str, Any]:
    """Return the mark of a complete folder; ValueError if a file is missing."""
    advice = "build it with `uda data emoji-home`"
    if not (root / MARK).is_file():
        raise ValueError(f"{root} is not a whole EmojiHome folder ({MARK} is missing): {advice}")
    advice = f"delete {root} and {advice}"
    try:
        mark: dict[str, Any] = json.loads((root / MARK).read_text(encoding="utf-8"))
        if mark["format"] != FORMAT:
            raise ValueError(f"format {mark['format']}, not {FORMAT}")
        counts = [(root / n / c, k) for n in mark["counts"] for c, k in mark["counts"][n].items()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{root / MARK} cannot be used ({error!r}): {advice}") from error
    for folder, count in counts:
        if not (folder.parent / "LICENSE.txt").is_file():
            raise ValueError(f"{folder.parent / 'LICENSE.txt'} is missing: {advice}")
        images = sum(f.endswith(".png") for f in os.listdir(folder)) if folder.is_dir() else 0
        if images != count:
            raise ValueError(f"{folder} has {images} images, {count} were built: {advice}")
    return mark


def _fill(
    partial: Path, tarballs: Mapping[str, Path], image_px: int, workers: int, progress: bool
) -> dict[str, Any]:
    """Draw everything into `partial`; return the mark without the settings."""
    classes = codepoint_classes()
    packages = {name: read_package(tarball) for name, tarball in tarballs.items()}
    drawings = {name: package_drawings(*package) for name, package in packages.items()}
    codepoints = [c for c in sorted(classes) if all(c in drawn for drawn in drawings.values())]
    for name, (texts, _) in packages.items():
        for label in {classes[code] for code in codepoints}:
            (partial / name / label).mkdir(parents=True)
        text = license_text(DOMAINS[name], texts, image_px)
        write_text(partial / name / "LICENSE.txt", text)
    paths = {(n, c): f"{n}/{classes[c]}/{c}.png" for n in drawings for c in codepoints}
    tasks = [(partial / paths[n, c], drawings[n][c], image_px) for n, c in paths]
    drawn = show_progress(
        _draw_all(tasks, workers), desc="EmojiHome", total=len(tasks), unit="img", shown=progress
    )
    digests = dict(zip(paths, drawn, strict=True))
    twice = drawn_twice(codepoints, {key: pixels for key, (pixels, _) in digests.items()})
    for name, code in [(n, c) for n in drawings for c in twice]:
        (partial / paths[name, code]).unlink()
    if progress:
        print(f"{len(classes) - len(codepoints)} of {len(classes):,} emoji are not drawn by all")
        print(f"{len(twice)} left out, drawn twice ({'; '.join(map(': '.join, twice.items()))})")
    kept = [code for code in codepoints if code not in twice]
    counts = dict(sorted(Counter(classes[code] for code in kept).items()))
    images = sorted((paths[key], *digests[key]) for key in paths if key[1] not in twice)
    return {
        "counts": {name: counts for name in drawings},
        "drawn_twice": twice,
        "pixels_sha256": _sha256("".join(f"{path} {pixels}\n" for path, pixels, _ in images)),
        "png_sha256": _sha256("".join(f"{path} {png}\n" for path, _, png in images)),
        "made_with": {name: version(name) for name in ("resvg_py", "pillow")},
        "machine": platform.machine(),
    }


def _draw_all(
    tasks: Sequence[tuple[Path, Drawing, int]], workers: int
) -> Iterator[tuple[str, str]]:
    with process_map(workers, "draws emoji", chunk=16) as run:
        yield from run(_draw_one, tasks)


def _draw_one(task: tuple[Path, Drawing, int]) -> tuple[str, str]:
    """Write an image; return the SHA-256 of its pixels and of its file."""
    path, drawing, image_px = task
    try:
        image = draw(drawing, image_px)
    except Exception as error:  # resvg and Pillow raise many kinds
        where = "/".join(path.parts[-3:])
        raise RuntimeError(f"{where}: the vendor's drawing cannot be drawn: {error}") from error
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)
    path.write_bytes(file.getvalue())
    return _sha256(image.tobytes()), _sha256(file.getvalue())


def _render(drawing: Drawing, units_px: float) -> Image.Image:
    """Draw SVG on white, at `units_px` pixels for each of its units."""
    import resvg_py  # only builders need it

    width_px = max(1, round(drawing.width * units_px))
    height_px = max(1, round(drawing.height * units_px))
    png = resvg_py.svg_to_bytes(
        svg_string=str(drawing.data),
        background="#ffffff",
        width=width_px,
        height=height_px,
        skip_system_fonts=True,  # no text in them; loading fonts takes longer than drawing
    )
    return Image.open(io.BytesIO(bytes(png))).convert("RGB")


def _content_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part that is not white."""
    red, green, blue = ImageChops.invert(image).split()
    ink = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    box = ink.point([255 * (level > NEARLY_WHITE) for level in range(256)]).getbbox()
    if box is None:
        raise ValueError("the drawing is empty")
    return box


def _crop(image: Image.Image, image_px: int) -> Image.Image:
    """Crop to the square around the drawing, with margin, and reduce it to `image_px`."""
    left, top, right, bottom = _content_box(image)
    side = max(right - left, bottom - top) * (1 + 2 * MARGIN)
    pad = math.ceil(side)
    x, y = pad + (left + right - side) / 2, pad + (top + bottom - side) / 2
    image = ImageOps.expand(image, pad, "white")
    return image.resize(
        (image_px, image_px), Image.Resampling.LANCZOS, box=(x, y, x + side, y + side)
    )


def _sha256(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
