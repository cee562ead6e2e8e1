"""What the painted styles of `filters` share: subject and backdrop, lines, textures, shapes.

Pictures are float32 [H, W, 3], RGB in [0, 1]; planes are float32 [H, W]. Lengths scale with the
picture: 1 `unit` is 1/128 of its shorter side.
"""

from __future__ import annotations

import colorsys
import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

Array = np.ndarray
Rng = np.random.Generator

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Scene(NamedTuple):
    """An image taken apart.

    picture: [H, W, 3]; the image.
    subject: [H, W, 3]; the image, its outline cleared of the backdrop's colour.
    cover: [H, W, 1]; 1 on the subject, 0 on a plain backdrop. Without a plain backdrop, as in
        photographs, it sinks to about 1/2 in the smoothest parts, so that a painted backdrop
        shimmers through there.
    plain: whether there is a plain backdrop.
    luma: [H, W]; brightness of `subject`.
    unit: px of 1/128 of the shorter side.
    """

    picture: Array
    subject: Array
    cover: Array
    plain: bool
    luma: Array
    unit: float


def read_scene(image: Array) -> Scene:
    """Takes an image uint8 [H, W, 3] apart; deterministic."""
    picture = image.astype(np.float32) * np.float32(1 / 255)
    unit = min(image.shape[:2]) / 128
    outside = _plain_backdrop(image)
    if outside is None:
        subject, cover = picture, _calm_cover(picture, unit)
    else:
        subject, cover = _cut_out(picture, outside, unit)
    luma = subject @ LUMA
    return Scene(picture, subject, cover[..., None], outside is not None, luma, unit)


def _plain_backdrop(image: Array) -> Array | None:
    """uint8 [H, W], 1 on the even backdrop that reaches the border; None if there is none."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(np.int16)
    tone = np.median(border, axis=0)
    if (np.abs(border - tone).max(axis=1) <= 10).mean() < 0.6:
        return None
    low, high = np.clip(tone - 7, 0, 255), np.clip(tone + 7, 0, 255)
    near = cv2.inRange(image, low, high)
    framed = cv2.copyMakeBorder(near, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=255)
    cv2.floodFill(framed, None, (0, 0), 1)
    outside = (framed[1:-1, 1:-1] == 1).astype(np.uint8)
    return outside if 0.05 < outside.mean() < 0.995 else None


def _cut_out(picture: Array, outside: Array, unit: float) -> tuple[Array, Array]:
    """The subject without the backdrop's fringe, and its cover [H, W], edges antialiased."""
    backdrop = picture[outside > 0].mean(axis=0)
    inside = 1 - outside
    core = cv2.erode(inside, np.ones((3, 3), np.uint8)).astype(np.float32)
    sigma = max(1.0, 1.2 * unit)
    weight = cv2.GaussianBlur(core, (0, 0), sigma)
    spread = cv2.GaussianBlur(picture * core[..., None], (0, 0), sigma)
    spread /= np.maximum(weight, 1e-3)[..., None]
    # Lines thinner than the erosion have no core: they keep their own colour.
    known = np.where(core > 0, 0, np.clip(weight * 12, 0, 1))[..., None]
    subject = picture + (spread - picture) * known
    contrast = np.abs(subject - backdrop).max(axis=2)
    strength = np.abs(picture - backdrop).max(axis=2) / np.maximum(contrast, 0.12)
    cover = np.where(core > 0, 1, np.clip(strength, 0, 1) * inside).astype(np.float32)
    return subject, cover


def _calm_cover(picture: Array, unit: float) -> Array:
    """Cover [H, W] of an image without a plain backdrop: low where it is smooth."""
    luma = picture @ LUMA
    detail = np.abs(luma - cv2.GaussianBlur(luma, (0, 0), max(0.8, 2 * unit)))
    busy = cv2.GaussianBlur(detail, (0, 0), max(1.0, 5 * unit))
    return (0.5 + 0.5 * smoothstep(0.006, 0.035, busy)).astype(np.float32)


def compose(scene: Scene, painted: Array, backdrop: Array) -> Array:
    """The painted subject in front of a backdrop, both [H, W, 3]."""
    return backdrop + (painted - backdrop) * scene.cover


def smoothstep(low: float, high: float, values: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def lerp(first: Array, second: Array | float, amount: Array | float) -> Array:
    """first where amount is 0, second where it is 1."""
    return first + (second - first) * amount


def blur(values: Array, sigma: float) -> Array:
    """Gaussian blur; `sigma` in px, nothing below a quarter."""
    if sigma < 0.25:
        return values
    return cv2.GaussianBlur(values, (0, 0), sigma)


def tone(hue: float, saturation: float, value: float) -> Array:
    """A colour float32 [3] from hue (turns), saturation and value in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


def hexes(*codes: str) -> Array:
    """Colours float32 [K, 3] from codes such as "ff8800"."""
    return np.array([[int(c[k : k + 2], 16) / 255 for k in (0, 2, 4)] for c in codes], np.float32)


def through(values: Array, colours: Array) -> Array:
    """Maps [H, W] in [0, 1] through evenly spaced colours [K, 3]: [H, W, 3]."""
    stops = np.linspace(0, 255, len(colours))
    table = np.stack([np.interp(np.arange(256), stops, colours[:, c]) for c in range(3)], axis=1)
    index = np.clip(values * 255, 0, 255).astype(np.uint8)
    return table.astype(np.float32)[index]


def saturate(picture: Array, amount: float) -> Array:
    """Chroma times `amount` about the luma; may leave [0, 1]."""
    grey = (picture @ LUMA)[..., None]
    return grey + (picture - grey) * amount


def grid(height: int, width: int) -> tuple[Array, Array]:
    """x [1, W] and y [H, 1] in units of the shorter side, (0, 0) at the centre."""
    side = min(height, width)
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / side
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / side
    return x[None, :], y[:, None]


def down(height: int, width: int) -> Array:
    """[H, W] rising from 0 at the top to 1 at the bottom."""
    column = (np.arange(height, dtype=np.float32) + 0.5) / height
    return np.repeat(column[:, None], width, axis=1)


def clouds(height: int, width: int, cell: float, rng: Rng) -> Array:
    """Smooth noise [H, W] in [0, 1] with blobs of about `cell` px."""
    rows, columns = (max(2, math.ceil(length / max(cell, 1)) + 1) for length in (height, width))
    coarse = rng.random((rows, columns), dtype=np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0, 1)


@lru_cache(maxsize=1)
def _grain_bank() -> Array:
    return np.random.default_rng(1).standard_normal((512, 512), dtype=np.float32)


def grain(height: int, width: int, rng: Rng) -> Array:
    """White noise [H, W] of unit variance: a random window of one fixed sheet."""
    top, left = rng.integers(0, 512, 2)
    rows, columns = np.arange(top, top + height) % 512, np.arange(left, left + width) % 512
    return _grain_bank()[np.ix_(rows, columns)]


def paper(height: int, width: int, unit: float, rng: Rng) -> Array:
    """Tooth of rough paper [H, W], about 0 +- 1."""
    tooth = blur(grain(height, width, rng), max(0.5, 0.7 * unit))
    return tooth * (1 / max(float(tooth.std()), 1e-6))


def warp(values: Array, amount: float, cell: float, rng: Rng) -> Array:
    """Moves pixels by up to `amount` px along smooth noise: wobbly hand-drawn edges."""
    height, width = values.shape[:2]
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    columns += (clouds(height, width, cell, rng) - 0.5) * (2 * amount)
    rows += (clouds(height, width, cell, rng) - 0.5) * (2 * amount)
    return cv2.remap(values, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def smooth_regions(picture: Array, unit: float, strength: float = 0.12) -> Array:
    """Flattens shading and texture, keeps edges (two bilateral passes)."""
    diameter = int(np.clip(round(5 * unit), 3, 9)) | 1
    for _ in range(2):
        picture = cv2.bilateralFilter(picture, diameter, strength, 2.5 * max(unit, 0.5))
    return picture


def lines(picture: Array, sigma: float, gain: float = 1.0) -> Array:
    """Outlines [H, W] in [0, 1] along the borders of colours, about 3 sigma px wide."""
    soft = blur(picture, sigma)
    dx = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3)
    dy = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3)
    slope = np.sqrt((dx * dx + dy * dy).max(axis=2)) * max(sigma, 0.5)
    threshold = float(np.clip(1.6 * slope.mean(), 0.10, 0.45)) / gain
    return smoothstep(0.6 * threshold, 1.8 * threshold, slope)


def outline(cover: Array, width: float) -> Array:
    """A band [H, W] of about `width` px just outside the subject; zero where all is subject."""
    plane = cover[..., 0] if cover.ndim == 3 else cover
    reach = max(3, 2 * round(width) + 1)
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return np.clip(cv2.dilate(plane, ball) - plane, 0, 1)


def shade_polygons(
    shapes: list[Array], shades: list[float], height: int, width: int
) -> tuple[Array, Array]:
    """Antialiased filled polygons: coverage and shade index, both [H, W] in [0, 1].

    Args:
        shapes: [K, 2] points each, x and y in px.
        shades: one value in [0, 1] for each polygon; later ones lie on top.
    """
    canvas = np.zeros((height, width), np.uint8)
    shade = np.zeros((height, width), np.uint8)
    for points, value in zip(shapes, shades, strict=True):
        fixed = np.rint(points * 16).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], 255, cv2.LINE_AA, 4)
        cv2.fillPoly(shade, [fixed], round(value * 255), cv2.LINE_8, 4)
    return canvas.astype(np.float32) / 255, shade.astype(np.float32) / 255


def dots(height: int, width: int, centres: Array, radii: Array) -> Array:
    """Antialiased filled discs [H, W] in [0, 1]; centres [K, 2] (x, y) and radii [K] in px."""
    canvas = np.zeros((height, width), np.uint8)
    for (x, y), radius in zip(centres, radii, strict=True):
        cv2.circle(
            canvas, (round(x * 16), round(y * 16)), max(1, round(radius * 16)), 255, -1,
            cv2.LINE_AA, 4,
        )
    return canvas.astype(np.float32) / 255


def scatter(height: int, width: int, count: int, rng: Rng) -> Array:
    """`count` points [count, 2] (x, y) in px, evenly random."""
    return rng.random((count, 2)) * (width, height)


def segments(
    height: int, width: int, pairs: list[tuple[float, float, float, float]], thickness: float
) -> Array:
    """Antialiased line segments (x0, y0, x1, y1) in px: [H, W] in [0, 1]."""
    canvas = np.zeros((height, width), np.uint8)
    for x0, y0, x1, y1 in pairs:
        ends = [round(value * 16) for value in (x0, y0, x1, y1)]
        cv2.line(
            canvas, (ends[0], ends[1]), (ends[2], ends[3]), 255, max(1, round(thickness)),
            cv2.LINE_AA, 4,
        )
    return canvas.astype(np.float32) / 255
