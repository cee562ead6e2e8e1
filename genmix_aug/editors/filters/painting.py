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

    subject: [H, W, 3]; the image, its outline cleared of a plain backdrop's colour.
    cover: [H, W]; 1 on the subject, 0 on a plain backdrop. Without a plain backdrop, as in
        photographs, it sinks to 0.4 in the smoothest parts, so that a painted backdrop
        shimmers through.
    plain: whether the backdrop is plain.
    luma: [H, W]; brightness of `subject`.
    unit: px of 1/128 of the shorter side.
    """

    subject: Array
    cover: Array
    plain: bool
    luma: Array
    unit: float


def read_scene(image: Array) -> Scene:
    """Take an image uint8 [H, W, 3] apart; deterministic."""
    picture = image.astype(np.float32)
    picture *= np.float32(1 / 255)
    unit = min(image.shape[:2]) / 128
    outside = _plain_backdrop(image)
    if outside is None:
        subject, cover = picture, _calm_cover(picture, unit)
    else:
        subject, cover = _cut_out(picture, outside, unit)
    return Scene(subject, cover, outside is not None, grey(subject), unit)


def _plain_backdrop(image: Array) -> Array | None:
    """Return a mask uint8 [H, W], 1 on an even backdrop that reaches the border, or None."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(np.int16)
    shade = np.median(border, axis=0)
    if (np.abs(border - shade).max(axis=1) <= 10).mean() < 0.6:
        return None
    near = cv2.inRange(image, np.clip(shade - 7, 0, 255), np.clip(shade + 7, 0, 255))
    framed = cv2.copyMakeBorder(near, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=255)
    cv2.floodFill(framed, None, (0, 0), 1)
    outside = (framed[1:-1, 1:-1] == 1).astype(np.uint8)
    return outside if 0.05 < outside.mean() < 0.995 else None


def _cut_out(picture: Array, outside: Array, unit: float) -> tuple[Array, Array]:
    """Return the subject without the backdrop's fringe, and its cover [H, W], edges antialiased."""
    backdrop = np.array(cv2.mean(picture, outside)[:3], np.float32)
    inside = 1 - outside
    core = cv2.erode(inside, np.ones((3, 3), np.uint8)).astype(np.float32)
    sigma = max(1.0, 1.2 * unit)
    weight = blur(core, sigma)
    spread = scale(blur(scale(picture, core), sigma), 1 / np.maximum(weight, 1e-3))
    # Lines thinner than the erosion have no core: they keep their colour.
    known = np.clip(weight * 12, 0, 1) * (1 - core)
    subject = lerp(picture, spread, known)
    ground = fill(backdrop, *outside.shape)
    contrast = channel_max(cv2.absdiff(subject, ground))
    strength = channel_max(cv2.absdiff(picture, ground)) / np.maximum(contrast, 0.12)
    return subject, np.maximum(core, np.clip(strength, 0, 1) * inside).astype(np.float32)


def _calm_cover(picture: Array, unit: float) -> Array:
    """Return the cover [H, W] of an image without a plain backdrop: low where it is smooth."""
    luma = grey(picture)
    detail = np.abs(luma - blur(luma, max(0.8, 2 * unit)))
    busy = smoothstep(0.006, 0.035, blur(detail, max(1.0, 5 * unit)))
    # A guided filter (He et al. 2010) pulls the blurred borders back to those of the image.
    box = (max(3, round(14 * unit)),) * 2
    mean, aim = cv2.blur(luma, box), cv2.blur(busy, box)
    slope = (cv2.blur(luma * busy, box) - mean * aim) / (
        cv2.blur(luma * luma, box) - mean**2 + 2e-3
    )
    guided = cv2.blur(slope, box) * luma + cv2.blur(aim - slope * mean, box)
    return 0.4 + 0.6 * np.clip(guided, 0, 1)


def compose(scene: Scene, painted: Array, backdrop: Array) -> Array:
    """Return the painted subject in front of a backdrop, both [H, W, 3]."""
    return lerp(backdrop, painted, scene.cover)


def opposite(scene: Scene, rng: Rng) -> float:
    """Return a hue (turns) far from the subject's mean hue, so that it stands out."""
    red, green, blue, _ = cv2.mean(scene.subject, (scene.cover > 0.5).astype(np.uint8))
    return colorsys.rgb_to_hsv(red, green, blue)[0] + rng.uniform(0.36, 0.64)


def grey(picture: Array) -> Array:
    """Return the brightness [H, W] of a picture."""
    return cv2.transform(picture, LUMA[None])


def channel_max(picture: Array) -> Array:
    """Return the largest channel [H, W]; NumPy's max over an axis of 3 is many times slower."""
    first, second, third = cv2.split(picture)
    return cv2.max(cv2.max(first, second), third)


def wide(plane: Array) -> Array:
    """Return a plane [H, W] as three equal channels."""
    return cv2.merge([plane, plane, plane])


def scale(picture: Array, plane: Array) -> Array:
    """Return a picture [H, W, 3] times a plane [H, W]."""
    return picture * wide(plane.astype(np.float32, copy=False))


def fill(colour: Array, height: int, width: int) -> Array:
    """Return a picture of a single colour [3]."""
    return cv2.merge([np.full((height, width), value, np.float32) for value in colour])


def times(picture: Array, colour: Array | tuple[float, float, float]) -> Array:
    """Return a picture times a colour [3]."""
    return cv2.transform(picture, np.diag(colour).astype(np.float32))


def lerp(first: Array, second: Array | float, amount: Array | float) -> Array:
    """Return `first` where amount is 0, `second` where it is 1.

    Pictures [H, W, 3]; `second` may be a colour [3] or a grey; amount a plane [H, W] or a number.
    """
    if isinstance(second, np.ndarray) and second.ndim == 1:
        second = fill(second, *first.shape[:2])
    if isinstance(amount, np.ndarray) and first.ndim == 3:
        amount = wide(amount.astype(np.float32, copy=False))
    return first + (second - first) * amount


def add_light(picture: Array, colour: Array, amount: Array) -> Array:
    """Return a picture plus a colour [3] in the amounts [H, W]."""
    return picture + cv2.merge([(amount * value).astype(np.float32) for value in colour])


def smoothstep(low: float, high: float, values: Array) -> Array:
    """Return 0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def blur(values: Array, sigma: float) -> Array:
    """Blur by a Gaussian of `sigma` px, not below a quarter; a wide blur works at half the size."""
    if sigma < 0.25:
        return values
    if sigma < 4 or min(values.shape[:2]) < 16:
        return cv2.GaussianBlur(values, (0, 0), sigma)
    height, width = values.shape[:2]
    half = cv2.resize(values, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(blur(half, sigma / 2), (width, height), interpolation=cv2.INTER_LINEAR)


def tone(hue: float, saturation: float, value: float) -> Array:
    """Return a colour float32 [3] from hue (turns), saturation and value in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


def hexes(*codes: str) -> Array:
    """Return colours float32 [K, 3] from codes such as "ff8800"."""
    return np.array([[int(c[k : k + 2], 16) / 255 for k in (0, 2, 4)] for c in codes], np.float32)


def colour(code: str) -> Array:
    """Return a colour float32 [3] from a code such as "ff8800"."""
    return hexes(code)[0]


def through(values: Array, colours: Array) -> Array:
    """Map [H, W] in [0, 1] through evenly spaced colours [K, 3]: [H, W, 3]."""
    stops = np.linspace(0, 255, len(colours))
    table = np.stack([np.interp(np.arange(256), stops, colours[:, c]) for c in range(3)], axis=1)
    index = np.clip(values * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(wide(index), table.astype(np.float32)[None])


def saturate(picture: Array, amount: float) -> Array:
    """Multiply chroma by `amount` about the luma; the result may leave [0, 1]."""
    mixer = np.eye(3, dtype=np.float32) * amount + (1 - amount) * LUMA[None]
    return cv2.transform(picture, mixer.astype(np.float32))


def grid(height: int, width: int) -> tuple[Array, Array]:
    """Return x [1, W] and y [H, 1] in units of the shorter side, (0, 0) at the centre."""
    side = min(height, width)
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / side
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / side
    return x[None, :], y[:, None]


def down(height: int, width: int) -> Array:
    """Return a plane [H, W] rising from 0 at the top to 1 at the bottom."""
    column = (np.arange(height, dtype=np.float32) + 0.5) / height
    return np.repeat(column[:, None], width, axis=1)


def clouds(height: int, width: int, cell: float, rng: Rng) -> Array:
    """Return smooth noise [H, W] in [0, 1] with blobs of about `cell` px."""
    rows, columns = (max(2, math.ceil(length / max(cell, 1)) + 1) for length in (height, width))
    coarse = rng.random((rows, columns), dtype=np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0, 1)


@lru_cache(maxsize=1)
def _grain_bank() -> Array:
    return np.random.default_rng(1).standard_normal((512, 512), dtype=np.float32)


def grain(height: int, width: int, rng: Rng) -> Array:
    """Return white noise [H, W] of unit variance: a random window of a fixed sheet."""
    top, left = rng.integers(0, 512, 2)
    rows, columns = np.arange(top, top + height) % 512, np.arange(left, left + width) % 512
    return _grain_bank()[np.ix_(rows, columns)]


def paper(height: int, width: int, unit: float, rng: Rng) -> Array:
    """Return the tooth of rough paper [H, W], about 0 +- 1."""
    tooth = blur(grain(height, width, rng), max(0.5, 0.7 * unit))
    return tooth * (1 / max(float(tooth.std()), 1e-6))


def warp(values: Array, amount: float, cell: float, rng: Rng) -> Array:
    """Move pixels by up to `amount` px along smooth noise: wobbly hand-drawn edges."""
    height, width = values.shape[:2]
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    columns += (clouds(height, width, cell, rng) - 0.5) * (2 * amount)
    rows += (clouds(height, width, cell, rng) - 0.5) * (2 * amount)
    return cv2.remap(values, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def smooth_regions(picture: Array, unit: float, strength: float = 0.12, passes: int = 2) -> Array:
    """Flatten shading and texture, keep edges: bilateral passes, on bytes for speed."""
    diameter = 5 if unit < 3 else 7
    flat: Array = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    # Large pictures are flattened at a smaller size: the filter's reach would be too short.
    height, width = flat.shape[:2]
    shrink = max(1, round(unit / 1.5))
    if shrink > 1:
        flat = cv2.resize(flat, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
    for _ in range(passes):
        flat = cv2.bilateralFilter(flat, diameter, 255 * strength, 2.5)
    if shrink > 1:
        flat = cv2.resize(flat, (width, height), interpolation=cv2.INTER_CUBIC)
    return flat.astype(np.float32) * np.float32(1 / 255)


def lines(picture: Array, sigma: float) -> Array:
    """Return outlines [H, W] in [0, 1] along the borders of colours, about 3 sigma px wide."""
    soft = blur(picture, sigma)
    dx = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3)
    dy = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3)
    slope = cv2.sqrt(channel_max(dx * dx + dy * dy)) * max(sigma, 0.5)
    threshold = float(np.clip(2.3 * slope.mean(), 0.12, 0.6))
    return smoothstep(0.6 * threshold, 1.8 * threshold, slope)


def outline(cover: Array, width: float) -> Array:
    """Return a band [H, W] of about `width` px just outside the subject; 0 where all is subject."""
    reach = max(3, 2 * round(width) + 1)
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return cv2.dilate(cover, ball) - cover


def contours(scene: Scene, flat: Array, inner: float, outer: float) -> Array:
    """Return ink lines [H, W]: of sigma `inner` px in the subject, `outer` px wide around it."""
    inside = lines(flat, max(0.6, inner))
    if not scene.plain:
        return inside
    around = blur(outline(scene.cover, outer), 0.45)
    return np.maximum(inside * scene.cover, np.clip(1.15 * around, 0, 1))


def hatching(height: int, width: int, unit: float, angle: float, rng: Rng) -> Array:
    """Return parallel hand strokes [H, W], about -1 to 1, along `angle` (radians)."""
    length = max(5, round(17 * unit)) | 1
    kernel = np.zeros((length, length), np.float32)
    half = length // 2
    dx, dy = round(half * math.cos(angle)), round(half * math.sin(angle))
    cv2.line(kernel, (half - dx, half - dy), (half + dx, half + dy), 1.0, 1)
    noise = blur(grain(height, width, rng), 0.45 * unit)
    drawn = cv2.filter2D(noise, -1, kernel / kernel.sum())
    return np.clip(drawn / max(2.2 * float(drawn.std()), 1e-6), -1, 1)


def shade_polygons(
    shapes: list[Array], shades: list[float], height: int, width: int
) -> tuple[Array, Array]:
    """Return antialiased filled polygons: coverage and shade, both [H, W] in [0, 1].

    Args:
        shapes: [K, 2] points each, x and y in px.
        shades: A value in [0, 1] for each polygon; later polygons lie on top.
        height, width: Of the result in px.
    """
    canvas = np.zeros((height, width), np.uint8)
    shade = np.zeros((height, width), np.uint8)
    for points, value in zip(shapes, shades, strict=True):
        fixed = np.rint(points * 16).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], 255, cv2.LINE_AA, 4)
        cv2.fillPoly(shade, [fixed], round(value * 255), cv2.LINE_8, 4)
    return canvas.astype(np.float32) / 255, shade.astype(np.float32) / 255


def dots(height: int, width: int, centres: Array, radii: Array) -> Array:
    """Return antialiased discs [H, W] in [0, 1]; centres [K, 2] (x, y) and radii [K] in px."""
    canvas = np.zeros((height, width), np.uint8)
    for (x, y), radius in zip(centres, radii, strict=True):
        cv2.circle(
            canvas,
            (round(x * 16), round(y * 16)),
            max(1, round(radius * 16)),
            255,
            -1,
            cv2.LINE_AA,
            4,
        )
    return canvas.astype(np.float32) / 255


def scatter(height: int, width: int, count: int, rng: Rng) -> Array:
    """Return `count` points [count, 2] (x, y) in px, evenly random."""
    return rng.random((count, 2)) * (width, height)


def segments(
    height: int, width: int, pairs: list[tuple[float, float, float, float]], thickness: float
) -> Array:
    """Return antialiased line segments (x0, y0, x1, y1) in px: [H, W] in [0, 1]."""
    canvas = np.zeros((height, width), np.uint8)
    for x0, y0, x1, y1 in pairs:
        ends = [round(value * 16) for value in (x0, y0, x1, y1)]
        cv2.line(
            canvas,
            (ends[0], ends[1]),
            (ends[2], ends[3]),
            255,
            max(1, round(thickness)),
            cv2.LINE_AA,
            4,
        )
    return canvas.astype(np.float32) / 255
