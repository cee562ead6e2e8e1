"""The six cross-domain styles of `filters`: a scene and a generator in, a picture out.

Each returns float32 [H, W, 3]; values may leave [0, 1] a little, the editor clips them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from genmix_aug.editors.filters.painting import (
    Array,
    Rng,
    Scene,
    add_light,
    blur,
    clouds,
    colour,
    compose,
    contours,
    dots,
    down,
    fill,
    grain,
    grey,
    grid,
    hatching,
    lerp,
    lines,
    opposite,
    outline,
    paper,
    saturate,
    scale,
    scatter,
    smooth_regions,
    smoothstep,
    through,
    times,
    tone,
    warp,
    wide,
)


def graffiti(scene: Scene, rng: Rng) -> Array:
    """Paint graffiti, spray paint on a brick wall: loud colours, black contour, glow, drips."""
    height, width = scene.luma.shape
    unit = scene.unit
    wall = _bricks(height, width, unit, rng)
    hue = opposite(scene, rng)
    neon, second = tone(hue, 0.9, 1.0), tone(hue + rng.uniform(0.1, 0.25), 0.85, 1.0)
    cloud = clouds(height, width, 26 * unit, rng)
    spray = lerp(fill(neon, height, width), second, smoothstep(0.3, 0.7, cloud))
    aura = np.clip(1.7 * blur(scene.cover, 8 * unit), 0, 1) if scene.plain else 0.7 * cloud
    backdrop = lerp(wall, spray, 0.9 * np.clip(aura * (0.5 + 0.7 * cloud), 0, 1))
    flat = smooth_regions(scene.subject, unit, 0.2)
    loud = np.round(np.clip(saturate(flat, 1.75), 0, 1) * 4) * 0.25
    fade = lerp(fill(neon, height, width), second, down(height, width))
    painted = scale(lerp(loud, fade, 0.16), 0.9 + 0.2 * cloud)
    painted = lerp(painted, wall, 0.12 if scene.plain else 0.22)
    if scene.plain:
        backdrop = lerp(backdrop, 1.0, 0.92 * outline(scene.cover, 3.6 * unit))
    picture = compose(scene, painted, backdrop)
    contour = contours(scene, flat, 0.9 * unit, 2.0 * unit)
    black = np.maximum(contour, _drips(contour, unit, rng))
    picture = lerp(picture, colour("0c0a12"), 0.93 * black)
    count = 60
    specks = dots(
        height, width, scatter(height, width, count, rng), rng.uniform(0.25, 0.9, count) * unit
    )
    return lerp(picture, neon, 0.75 * specks)


def _bricks(height: int, width: int, unit: float, rng: Rng) -> Array:
    """Return a brick wall [H, W, 3]."""
    tall, long = max(4.0, 9 * unit), max(8.0, 21 * unit)
    rows = (np.arange(height, dtype=np.float32)[:, None] + np.float32(rng.uniform(0, tall))) / tall
    row = np.floor(rows)
    columns = np.arange(width, dtype=np.float32)[None, :] / long + 0.5 * (row % 2)
    column = np.floor(columns)
    across, along = columns - column, rows - row
    joint = np.minimum(np.minimum(across, 1 - across) * long, np.minimum(along, 1 - along) * tall)
    mortar = smoothstep(0.35 * unit, 1.15 * unit, joint)
    shades = rng.uniform(0.78, 1.12, 97).astype(np.float32)
    shade = shades[((row * 31 + column * 17) % 97).astype(np.int32)]
    clay = colour(("96503e", "979490", "646f86", "ab7f5f")[rng.integers(4)])
    brick = scale(fill(clay, height, width), shade + 0.05 * grain(height, width, rng))
    return lerp(fill(clay * 0.35 + 0.34, height, width), brick, mortar)


def _drips(contour: Array, unit: float, rng: Rng) -> Array:
    """Return paint that runs down from contours [H, W]."""
    height, width = contour.shape
    canvas = np.zeros((height, width), np.uint8)
    for column in rng.integers(0, width, 26).tolist():
        inked = np.flatnonzero(contour[:, column] > 0.7)
        if inked.size == 0:
            continue
        start = int(inked[-1] if rng.random() < 0.7 else rng.choice(inked))
        end = start + int(rng.uniform(5, 22) * unit)
        cv2.line(canvas, (column, start), (column, end), 255, max(1, round(unit)), cv2.LINE_AA)
        cv2.circle(canvas, (column, end), max(1, round(1.1 * unit)), 255, -1, cv2.LINE_AA)
    return canvas.astype(np.float32) * np.float32(1 / 255)


def retro_comic(scene: Scene, rng: Rng) -> Array:
    """Paint a four-colour print: flat inks, halftone dots, sun rays, black contours."""
    height, width = scene.luma.shape
    unit = scene.unit
    flat = smooth_regions(scene.subject, unit, 0.2)
    vivid = np.clip(saturate(flat, 1.45) * 1.05, 0, 1)
    x, y = grid(height, width)
    wheel = np.arctan2(y + 0.08, x - 0.04) * int(rng.integers(7, 11)) + rng.uniform(0, 6.28)
    pairs = (("ffd91f", "f2662b"), ("63c9f0", "fff3c4"), ("ffe23b", "e8413c"), ("f7a8c4", "fff0a8"))
    light, dark = pairs[rng.integers(len(pairs))]
    ray = smoothstep(-0.12, 0.12, np.sin(wheel).astype(np.float32))
    backdrop = lerp(fill(colour(light), height, width), colour(dark), ray)
    pitch = max(2.6, 3.4 * unit)
    corners = np.clip(1.15 * np.sqrt(x * x + y * y) - 0.25, 0, 0.75)
    spots = _screen(corners, 1.4 * pitch, rng.uniform(0.2, 0.6))
    backdrop = lerp(backdrop, colour("d42a2a"), 0.8 * spots)
    # The tone that three flat levels leave out is carried by dots.
    flats = np.round(vivid * 3) * (1 / 3)
    shadow = _screen(0.9 * np.clip(1 - scene.luma, 0, 1) ** 1.3, pitch, 0.785)
    shadow = shadow * (1 - smoothstep(0.75, 0.95, 1 - scene.luma))
    painted = lerp(flats, times(flats, (0.48, 0.45, 0.58)), 0.9 * shadow)
    red, green, _ = cv2.split(vivid)
    blush = _screen(0.6 * np.clip(red - green, 0, 1), pitch, 0.26)
    painted = lerp(painted, times(painted, (1.0, 0.72, 0.72)), blush)
    # Plates that do not quite meet.
    slip = max(1, round(0.8 * unit))
    painted[..., 0] = np.roll(painted[..., 0], (0, slip), (0, 1))
    picture = (
        compose(scene, painted, backdrop)
        if scene.plain
        else (lerp(backdrop, painted, 0.5 + 0.5 * scene.cover))
    )
    picture = lerp(picture, colour("14101a"), contours(scene, flat, 0.85 * unit, 1.6 * unit))
    aged = 0.95 + 0.05 * clouds(height, width, 40 * unit, rng)
    aged = aged + 0.012 * paper(height, width, unit, rng)
    return times(scale(picture, aged), (1.0, 0.965, 0.87))


def _screen(amount: Array, pitch: float, angle: float) -> Array:
    """Return halftone dots [H, W], `pitch` px apart, that cover about `amount` of the surface."""
    height, width = amount.shape
    turn = math.pi * math.sqrt(2) / pitch
    columns = np.arange(width, dtype=np.float32)[None, :] * np.float32(turn)
    rows = np.arange(height, dtype=np.float32)[:, None] * np.float32(turn)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    wave = np.cos(columns * cos + rows * sin) * np.cos(rows * cos - columns * sin)
    return smoothstep(-0.25, 0.25, amount * 2 - 1 + 0.9 * wave - 0.05) * (amount > 0.04)


def chalk_drawing(scene: Scene, rng: Rng) -> Array:
    """Paint chalk on a board: light broken lines, pastel hatching, dust."""
    height, width = scene.luma.shape
    unit = scene.unit
    dust = 0.6 * clouds(height, width, 36 * unit, rng) + 0.4 * clouds(height, width, 9 * unit, rng)
    board = fill(colour(("23382e", "28292d", "23303f")[rng.integers(3)]), height, width)
    board = board + wide(0.09 * dust + 0.012 * grain(height, width, rng))
    tooth = paper(height, width, 0.8 * unit, rng)
    angle = rng.uniform(0.5, 1.0) * rng.choice([-1, 1])
    strokes = hatching(height, width, 1.1 * unit, angle, rng)
    flat = smooth_regions(scene.subject, unit, 0.18)
    pastel = np.clip(0.30 + 0.80 * saturate(flat, 1.5), 0, 1)
    body = scene.cover if scene.plain else np.ones_like(scene.luma)
    # Bright parts get more chalk; dark ones stay board.
    load = 0.10 + 0.42 * scene.luma + 0.38 * strokes + 0.10 * tooth
    picture = lerp(board, pastel, np.clip(load, 0.04, 0.8) * body)
    contour = warp(contours(scene, flat, 0.75 * unit, 1.4 * unit), 1.2 * unit, 10 * unit, rng)
    picture = add_light(picture, np.ones(3), 0.10 * blur(contour, 2.2 * unit))
    broken = contour * smoothstep(-1.7, 0.1, tooth + 0.8 * strokes)
    return lerp(picture, lerp(pastel, 0.98, 0.75), 0.95 * broken)


def watercolor_painting(scene: Scene, rng: Rng) -> Array:
    """Paint washes from edge to edge: strong colours, blooms, dried rims, a ragged border."""
    height, width = scene.luma.shape
    unit = scene.unit
    hue = opposite(scene, rng)
    washes = np.stack(
        [tone(hue - 0.04, 0.30, 0.98), tone(hue, 0.55, 0.88), tone(hue + 0.09, 0.62, 0.72)]
    )
    broad, fine = clouds(height, width, 42 * unit, rng), clouds(height, width, 13 * unit, rng)
    backdrop = through(np.clip(0.95 * broad + 0.35 * fine - 0.15, 0, 1), washes)
    vivid = saturate(scene.subject, 1.35) * 0.94
    picture = np.clip(compose(scene, vivid, backdrop), 0, 1)
    # Photographs hold finer parts than drawings do.
    brush = unit if scene.plain else 0.6 * unit
    picture = _dabs(warp(picture, 1.5 * brush, 8 * unit, rng), brush)
    luma = grey(picture)
    rim = np.clip((blur(luma, 2.6 * unit) - blur(luma, 0.5 * unit)) * 2.6, 0, 0.45)
    rim = np.maximum(rim * (0.35 + 0.65 * scene.cover), 0.4 * lines(picture, 0.9 * brush))
    # Backruns: water pushes pigment outward into a dark, feathered front.
    bloom = clouds(height, width, 24 * unit, rng) + 0.14 * clouds(height, width, 4 * unit, rng)
    front = smoothstep(0.54, 0.62, bloom) - smoothstep(0.62, 0.68, bloom)
    picture = lerp(picture, 1.0, 0.18 * smoothstep(0.62, 0.9, bloom))
    pooled = 0.86 + 0.22 * clouds(height, width, 18 * unit, rng)
    tooth = 0.05 * paper(height, width, unit, rng)
    picture = scale(picture, pooled * (1 - 0.18 * front - rim) + tooth)
    x, y = grid(height, width)
    side = min(height, width)
    inset = np.minimum(width / side / 2 - np.abs(x), height / side / 2 - np.abs(y))
    ragged = inset - 0.045 * clouds(height, width, 9 * unit, rng)
    return lerp(fill(colour("faf6ec"), height, width), picture, smoothstep(0.0, 0.012, ragged))


def _dabs(picture: Array, unit: float) -> Array:
    """Return broad brush dabs: a pixel takes the most even of five windows about it (Kuwahara)."""
    reach = max(3, round(3.4 * unit) | 1)
    luma = grey(picture)
    best = cv2.blur(picture, (reach, reach))
    mean = cv2.blur(luma, (reach, reach))
    spread = cv2.blur(luma * luma, (reach, reach)) - mean * mean
    windows, least = best.copy(), spread.copy()
    half = (reach + 1) // 2
    for dy, dx in ((-half, -half), (-half, half), (half, -half), (half, half)):
        shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        moved = cv2.warpAffine(spread, shift, spread.shape[::-1], borderMode=cv2.BORDER_REFLECT)
        other = cv2.warpAffine(windows, shift, spread.shape[::-1], borderMode=cv2.BORDER_REFLECT)
        take = (moved < least).astype(np.uint8)
        cv2.copyTo(other, take, best)
        cv2.copyTo(moved, take, least)
    return best


def digital_art(scene: Scene, rng: Rng) -> Array:
    """Paint a glossy render: rounded forms, shadows, highlights, neon rim, graded backdrop."""
    height, width = scene.luma.shape
    unit = scene.unit
    hue = rng.random()
    near, far = tone(hue, 0.5, 0.95), tone(hue + rng.uniform(0.12, 0.3), 0.75, 0.45)
    neon = tone(hue + 0.5, 0.75, 1.0)
    x, y = grid(height, width)
    slope = np.clip(0.5 + x * np.float32(rng.uniform(-0.5, 0.5)) + 0.8 * y, 0, 1)
    backdrop = through(slope, np.stack([near, far]))
    lamp = np.exp(-7 * (x * x + (y + np.float32(0.1)) ** 2))
    backdrop = backdrop + wide((0.16 * lamp).astype(np.float32))

    flat = smooth_regions(scene.subject, unit, 0.16)
    normal = _inflate(scene, flat)
    light = np.array([0.45 * rng.choice([-1.0, 1.0]), -0.65, 0.62], np.float32)
    half = light + np.array([0, 0, 1], np.float32)
    facing = cv2.transform(normal, light[None])
    mirror = cv2.transform(normal, half[None] / np.linalg.norm(half))
    gloss = np.clip(mirror, 0, 1) ** 26
    shade = 0.50 + 0.66 * np.clip(facing, -0.4, 1)
    painted = scale(saturate(flat, 1.25), shade)
    painted = add_light(painted, far, 0.25 * np.clip(1 - shade, 0, 1))
    painted = painted + wide(0.55 * gloss)
    rim = np.clip(1 - normal[..., 2], 0, 1) ** 2 * smoothstep(0.0, 0.8, 0.35 - facing)
    painted = add_light(painted, neon, (0.75 if scene.plain else 0.35) * rim)
    if scene.plain:
        cast = np.roll(blur(scene.cover, 5 * unit), round(5 * unit), axis=0)
        backdrop = scale(backdrop, 1 - 0.45 * cast)
        backdrop = add_light(backdrop, neon, 0.22 * blur(scene.cover, 3 * unit))
        picture = compose(scene, painted, backdrop)
    else:
        picture = lerp(backdrop, painted, 0.45 + 0.55 * scene.cover)
    bloom = blur(np.clip(picture - 0.8, 0, 0.5), 4 * unit)
    return picture + (0.8 if scene.plain else 0.4) * bloom


def _inflate(scene: Scene, flat: Array) -> Array:
    """Return unit normals [H, W, 3] of a surface that bulges over the subject and its parts."""
    unit = scene.unit
    relief = (9 if scene.plain else 5) * unit * blur(grey(flat), 1.6 * unit)
    if scene.plain:
        solid = (scene.cover > 0.5).astype(np.uint8)
        depth = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
        reach = max(4.0, 20 * unit)
        inner = np.clip(depth * (1 / reach), 0, 1)
        dome = np.sqrt(1 - (1 - inner) ** 2) * (0.85 * reach)
        relief = relief + blur(dome, 1.8 * unit)
    seams = lines(flat, max(0.7, 0.9 * unit))
    relief = relief - 2.2 * unit * blur(seams, 1.6 * unit)
    dx = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3) * (1 / 8)
    dy = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3) * (1 / 8)
    length = 1 / np.sqrt(dx * dx + dy * dy + 1)
    return cv2.merge([-dx * length, -dy * length, length])


def cartoon_style(scene: Scene, rng: Rng) -> Array:
    """Paint flat bright colours, two-tone shade, bold contours, a simple landscape."""
    height, width = scene.luma.shape
    unit = scene.unit
    flat = smooth_regions(scene.subject, unit, 0.22, passes=4)
    luma = grey(flat)
    step = np.floor(luma * 5)
    steps = (step + smoothstep(0.35, 0.65, luma * 5 - step)) * 0.2
    painted = scale(flat, (steps + 0.08) / (luma + 0.08))
    painted = np.clip(saturate(painted, 1.5) * 1.06, 0, 1)
    landscape = _landscape(height, width, unit, rng)
    if scene.plain:
        shift = round(6 * unit)
        moved = np.roll(scene.cover, (-shift, -shift), (0, 1))
        painted = scale(painted, 0.76 + 0.24 * smoothstep(0.3, 0.7, moved))
        picture = compose(scene, painted, landscape)
    else:
        picture = lerp(landscape, painted, 0.6 + 0.4 * scene.cover)
    contour = contours(scene, flat, 1.0 * unit, 2.0 * unit)
    return lerp(picture, colour("120f16"), smoothstep(0.1, 0.85, contour))


def _landscape(height: int, width: int, unit: float, rng: Rng) -> Array:
    """Return a flat sky, clouds and hills [H, W, 3]."""
    x, _ = grid(height, width)
    depth = down(height, width)
    sky = colour(("8fd8ff", "b8a6ff", "ffd3a0", "9ff0e0")[rng.integers(4)])
    hill = colour(("7ed957", "4fc47a", "ffcf5c", "f58fb0")[rng.integers(4)])
    picture = fill(sky, height, width)
    middles = scatter(max(1, height // 2), width, 4, rng)
    puffs = [middles + np.array([dx * unit, abs(dx) * 0.3 * unit]) for dx in (-8, 0, 8)]
    white = dots(height, width, np.concatenate(puffs), np.repeat([6.5, 9, 6.5], 4) * unit)
    picture = lerp(picture, 1.0, 0.95 * white)
    for base, dim in ((0.70, 1.0), (0.82, 0.8)):
        ridge = base + 0.05 * np.sin(x * rng.uniform(4, 8) + rng.uniform(0, 6))
        picture = lerp(picture, hill * dim, smoothstep(0, 0.012, depth - ridge))
    return picture


__all__ = [
    "cartoon_style",
    "chalk_drawing",
    "digital_art",
    "graffiti",
    "retro_comic",
    "watercolor_painting",
]
