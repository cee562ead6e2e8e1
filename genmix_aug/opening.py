"""Opening picture files of strangers: nothing is run, nothing unfolds to more than memory holds.

This module does not import torch, since processes that only decode import it.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError


def open_picture(file: Path | str | BytesIO) -> Image.Image:
    """Open a picture file with Pillow, which decodes it later.

    Raises:
        OSError: The file is missing, or no picture. Pillow would wait for a pipe's writer for ever,
            and start Ghostscript to decode PostScript, whatever the file is called.
        ValueError: It has more pixels than Pillow decodes (``Image.MAX_IMAGE_PIXELS``, twice).
    """
    if not isinstance(file, BytesIO) and os.path.exists(file) and not os.path.isfile(file):
        raise UnidentifiedImageError
    try:
        image = Image.open(file)
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ValueError(f"of over {most:.0f} megapixels; reduce it") from None
    if image.format == "EPS":
        image.close()
        raise UnidentifiedImageError
    return image
