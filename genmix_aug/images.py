"""Finding and reading image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from genmix_aug.opening import open_picture

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
)

# Pictures that are not read: cameras' and vector formats, and those that not every Pillow knows.
OTHER_SUFFIXES = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".dng", ".cr2", ".nef", ".arw")

SIXTEEN_BITS_WIDE = ("PPM", "PNG")  # files of 16 bits that Pillow gives as 32-bit integers


def find_images(folder: Path | str) -> list[Path]:
    """Return the image files below `folder`, sorted by path, without hidden files and folders.

    Links to folders are followed, each folder is entered once.

    Raises:
        ValueError: `folder` does not exist, is no folder, or has no image below it, or a folder in
            it cannot be read.
    """
    folder = Path(folder)

    def stop(error: OSError) -> None:
        # Passed over, it would be a class that is missing.
        raise ValueError(f"folder {error.filename} cannot be read: {error.strerror}")

    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(f"image folder {folder} {problem}")
    images: list[Path] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        # A link that leads back up would have no end.
        folders[:] = [name for name in folders if not name.startswith(".")]
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(real)
        images += [
            path
            for name in files
            if (path := Path(parent, name)).suffix.lower() in IMAGE_SUFFIXES
            and not name.startswith(".")
            and path.is_file()
        ]
    images.sort()
    if not images:
        raise ValueError(f"image folder {folder} has no images ({', '.join(IMAGE_SUFFIXES)})")
    return images


def other_pictures(folder: Path) -> str:
    """Return what pictures a folder has in formats that are not read: `8 pictures (.heic 8)`.

    Empty where all can be read.
    """
    counts = Counter(
        suffix
        for _, _, files in os.walk(folder, followlinks=False)
        for name in files
        if (suffix := Path(name).suffix.lower()) in OTHER_SUFFIXES and not name.startswith(".")
    )
    kinds = ", ".join(f"{suffix} {count}" for suffix, count in counts.most_common())
    return f"{counts.total()} pictures ({kinds})" if counts else ""


def load_rgb(path: Path | str, square_px: int = 0) -> Tensor:
    """Return an image file as RGB uint8 [3, H, W], whatever its mode.

    Transparency is laid on white, 16 bits and floats in [0, 1] are scaled to 8 bits, palette,
    grey, CMYK and the rest are converted. Pixels come as stored: an orientation noted beside them
    is not applied.

    Args:
        path: The file.
        square_px: Side of the square that the image is resized to, bilinearly, its aspect ratio
            not kept; 0 leaves it as it is.

    Raises:
        ValueError: The file is missing, truncated, no image or of grey values of unknown scale
            (see `to_rgb`); a single line that names it.
    """
    try:
        with open_picture(path) as image:
            image.load()
            rgb = to_rgb(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no image"  # Pillow would repeat the path
        advice = "" if "; " in reason else "; remove or replace it"
        if isinstance(error, FileNotFoundError):
            reason, advice = "no such file", ""
        raise ValueError(f"cannot read image {path}: {reason}{advice}") from error
    if square_px and rgb.size != (square_px, square_px):
        rgb = rgb.resize((square_px, square_px), Image.Resampling.BILINEAR)
    return from_picture(rgb)


def size_of(path: Path | str) -> tuple[int, int]:
    """Return height and width in px of an image file as `load_rgb` reads it, from its first bytes.

    Raises:
        ValueError: As `load_rgb`.
    """
    try:
        with open_picture(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        height, width = load_rgb(path).shape[-2:]  # says what is wrong with it
        return height, width


def from_picture(picture: Image.Image) -> Tensor:
    """Return a Pillow image of any mode as uint8 [3, H, W], as `load_rgb` reads its pixels."""
    return torch.from_numpy(np.array(to_rgb(picture))).permute(2, 0, 1).contiguous()


def to_picture(image: Tensor) -> Image.Image:
    """Return an image uint8 [3, H, W] as a Pillow image of mode RGB."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any Pillow mode as RGB; transparency on white, 16 bits scaled to 8.

    How grey values are scaled goes by the image's type, never by the values in it, so that the
    pictures of a folder stay alike. Floating point means [0, 1].

    Raises:
        ValueError: Floating-point values outside [0, 1], or integers of 32 bits, whose white
            nobody knows.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bit(np.asarray(image), image.format)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _eight_bit(grey: np.ndarray, file_format: str | None) -> np.ndarray:
    """Return grey values of 16 bits, or floats in [0, 1], as 8 bits."""
    values = np.nan_to_num(grey.astype(np.float64))
    low, high = values.min(initial=0), values.max(initial=0)
    if grey.dtype.kind == "f":
        if low < 0 or high > 1:
            raise ValueError(
                f"floating-point values from {low:g} to {high:g} where 0 to 1 is expected: save it "
                "with 8 or 16 bits"
            )
        values = values * 255
    elif grey.dtype.itemsize == 2 or file_format in SIXTEEN_BITS_WIDE:
        values = values / 257
    else:
        raise ValueError("32-bit integers, of which white is not known: save it with 8 or 16 bits")
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


class ImageFiles:
    """Image files read when asked for, by number: uint8 [3, H, W] (see `load_rgb`)."""

    def __init__(self, paths: Sequence[Path], square_px: int = 0) -> None:
        self.paths = paths
        self.square_px = square_px

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return load_rgb(self.paths[index], self.square_px)
