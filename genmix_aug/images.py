"""Finding and reading image files."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

if TYPE_CHECKING:  # processes that only decode need not wait for torch
    from torch import Tensor

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
)

# Pictures that are not read: cameras' and vector formats, and those that not every Pillow knows.
OTHER_SUFFIXES = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".dng", ".cr2", ".nef", ".arw")

# Folders that systems and archives add; those with a dot in front are passed over anyway.
SYSTEM_FOLDERS = {
    *("@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN"),
    *("System Volume Information", "lost+found"),
}

# How a picture is turned by the value of its EXIF tag.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Where files keep the tag, in Pillow's words.
EXIF_PLACES = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}

# What Pillow raises on files that it cannot read; its readers of rare formats raise anything.
READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    EOFError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)

# A tag that cannot be read leaves a picture as it is; Pillow warns with a line of its code. The
# filter is set once, as changing it around each picture would not be safe in threads.
warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)

SIXTEEN_BITS_WIDE = ("PPM", "PNG")  # files of 16 bits that Pillow gives as 32-bit integers


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or a system's (``@eaDir``)."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def is_image(name: str) -> bool:
    """Return whether a file's name has an image's suffix and is not hidden (``._bike.jpg``)."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not is_hidden(name)


def find_images(folder: Path | str) -> list[Path]:
    """Return the image files below `folder`, as `images_below`; at least one.

    Raises:
        ValueError: `folder` does not exist, is no folder, or has no image below it; and as
            `images_below`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(f"image folder {folder} {problem}")
    images = images_below(folder)
    if not images:
        others = f" but {text}" if (text := other_pictures(folder)) else ""
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(f"image folder {folder} has no images ({kinds}){others}")
    return images


def images_below(folder: Path) -> list[Path]:
    """Return the image files below `folder`, sorted by path, without hidden files and folders.

    Links to folders are followed, each folder is entered once. An image that is a link to nothing
    is returned, so that whoever reads it names it.

    Raises:
        ValueError: A folder cannot be read, or a link that may be a folder's leads nowhere: passed
            over, it would be a class that is missing.
    """
    return [folder / name for name in _files_below(folder) if is_image(name)]


def other_pictures(folder: Path) -> str:
    """Return what pictures a folder has in formats that are not read: `8 pictures (.heic 8)`.

    Empty where all can be read.
    """
    suffixes = (os.path.splitext(name)[1].lower() for name in _files_below(folder))
    counts = Counter(suffix for suffix in suffixes if suffix in OTHER_SUFFIXES)
    kinds = ", ".join(f"{suffix} {count}" for suffix, count in counts.most_common())
    return f"{counts.total()} pictures ({kinds})" if counts else ""


def entries_in(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return the files and folders in `folder`, sorted by name, without hidden ones.

    Raises:
        ValueError: As `images_below`.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        entries = [entry for entry in entries if not is_hidden(entry.name)]
        for entry in entries:
            if not (entry.is_file() or entry.is_dir() or is_image(entry.name)):
                entry.stat()  # a link to nothing
    except OSError as error:
        path = error.filename
        if os.path.islink(path):
            raise ValueError(f"{path}: a link that leads nowhere; mend or remove it") from None
        # Passed over, it would be a class that is missing.
        raise ValueError(f"folder {path} cannot be read: {error.strerror}") from None
    return entries


def _files_below(folder: Path) -> Iterator[str]:
    """Yield the path from `folder` of each file below it, in order."""
    entered: set[str] = set()

    def walk(inner: str) -> Iterator[str]:
        path = os.path.join(folder, inner)
        if (real := os.path.realpath(path)) in entered:  # a link that leads back up has no end
            return
        entered.add(real)
        for entry in entries_in(path):
            name = os.path.join(inner, entry.name)
            if entry.is_dir():
                yield from walk(name)
            elif entry.is_file() or not os.path.exists(entry.path):
                yield name

    return walk("")


def load_rgb(path: Path | str, square_px: int = 0, upright: bool = True) -> Tensor:
    """Return an image file as RGB uint8 [3, H, W], whatever its mode; of animations, the first.

    Transparency is laid on white, 16 bits and floats in [0, 1] are scaled to 8 bits, palette,
    grey, CMYK and the rest are converted.

    Args:
        path: The file.
        square_px: Side of the square that the image is resized to, bilinearly, its aspect ratio
            not kept; 0 leaves it as it is.
        upright: Whether it is turned as its EXIF tag says, as viewers do, or stays as it is stored.

    Raises:
        ValueError: The file is missing, truncated, no image or of grey values of unknown scale
            (see `to_rgb`); a single line that names it.
    """
    try:
        with open_picture(path) as image:
            image.load()
            rgb = to_upright_rgb(image) if upright else to_rgb(image)
    except READ_ERRORS as error:
        advice = "" if isinstance(error, FileNotFoundError) else "; remove or replace it"
        raise ValueError(f"cannot read image {path}: {why_unreadable(error)}{advice}") from error
    if square_px and rgb.size != (square_px, square_px):
        rgb = rgb.resize((square_px, square_px), Image.Resampling.BILINEAR)
    return from_picture(rgb)


def open_picture(file: Path | str | BytesIO) -> Image.Image:
    """Open a picture file with Pillow, which decodes it later.

    Raises:
        READ_ERRORS: The file is missing, no picture, or of too many pixels. Pillow would wait for
            a pipe's writer for ever, and start Ghostscript to decode PostScript under any name.
    """
    if not isinstance(file, BytesIO) and os.path.exists(file) and not os.path.isfile(file):
        raise UnidentifiedImageError
    image = Image.open(file)
    if image.format == "EPS":
        image.close()
        raise UnidentifiedImageError
    return image


def why_unreadable(error: Exception) -> str:
    """Return in a line what one of `READ_ERRORS` says about an image file."""
    if isinstance(error, UnidentifiedImageError):
        return "no image"  # Pillow would repeat the path
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.DecompressionBombError):
        return f"over {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels"
    return " ".join(str(error).split()) or type(error).__name__


def orientation_of(image: Image.Image) -> int:
    """Return the orientation, 1 to 8, that an image's EXIF tag asks for; 1, as it is, without one.

    A TIFF file's is 1: Pillow turns these.
    """
    if image.format == "TIFF" or not EXIF_PLACES & image.info.keys():
        return 1
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow's parser raises many kinds on a broken tag, which tells nothing
        return 1
    return value if value in TURNS else 1


def has_orientation(path: Path | str) -> bool:
    """Return whether an image file has a tag by which viewers turn it; False if unreadable."""
    try:
        with open_picture(path) as image:
            return orientation_of(image) != 1
    except READ_ERRORS:
        return False


def size_of(path: Path | str) -> tuple[int, int]:
    """Return height and width in px of an image file as `load_rgb` reads it, from its first bytes.

    Raises:
        ValueError: As `load_rgb`.
    """
    try:
        with open_picture(path) as image:
            size = (image.height, image.width)
            return size[::-1] if orientation_of(image) >= 5 else size
    except READ_ERRORS:
        height, width = load_rgb(path).shape[-2:]  # says what is wrong with it
        return height, width


def from_picture(picture: Image.Image) -> Tensor:
    """Return a Pillow image of any mode as uint8 [3, H, W], as `load_rgb` reads its pixels."""
    import torch

    return torch.from_numpy(np.array(to_rgb(picture))).permute(2, 0, 1).contiguous()


def to_picture(image: Tensor) -> Image.Image:
    """Return an image uint8 [3, H, W] as a Pillow image of mode RGB."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any Pillow mode as RGB (`to_rgb`), turned as its EXIF tag says."""
    rgb, orientation = to_rgb(image), orientation_of(image)
    return rgb if orientation == 1 else rgb.transpose(TURNS[orientation])


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

    def part(self, numbers: Iterable[int]) -> ImageFiles:
        """Return some of the files, by number."""
        return ImageFiles([self.paths[number] for number in numbers], self.square_px)
