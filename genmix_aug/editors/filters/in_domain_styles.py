"""The nine in-domain styles of `filters`: a scene and a generator in, a picture out.

Each returns float32 [H, W, 3]; values may leave [0, 1] a little, the editor clips them.
"""

from __future__ import annotations

import math
from functools import lru_cache

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
    hexes,
    lerp,
    opposite,
    paper,
    saturate,
    scale,
    scatter,
    segments,
    shade_polygons,
    smooth_regions,
    smoothstep,
    through,
    times,
    tone,
    warp,
    wide,
)


def autumn(scene: Scene, rng: Rng) -> Array:
    """Paint rust and gold, with falling leaves."""
    height, width = scene.luma.shape
    unit = scene.unit
    turned = through(scene.luma, hexes("2b0f06", "74240a", "b94c10", "e2912c", "ffedc0"))
    painted = times(lerp(saturate(scene.subject, 0.95), turned, 0.55), (1.05, 0.96, 0.84))
    air = 0.7 * down(height, width) + 0.3 * clouds(height, width, 30 * unit, rng)
    skies = (
        hexes("fdf0cd", "f8d283", "dd9a40", "93501f"),
        hexes("e9dcc0", "cfae72", "9c6a33", "5a3216"),
        hexes("f7e3c5", "f0b877", "c9683a", "7c2f1c"),
    )
    backdrop = through(air, skies[rng.integers(len(skies))])
    backdrop = add_light(backdrop, colour("fff0c0"), 0.16 * _bokeh(height, width, unit, rng))
    if scene.plain:
        backdrop = scale(backdrop, 1 - 0.40 * blur(scene.cover, 4 * unit))
    picture = compose(scene, painted, backdrop)
    cover, shade = _leaves(height, width, unit, rng)
    # Leaves blow past the subject, but must not hide it.
    strength = cover * (1 - (0.6 if scene.plain else 0.35) * scene.cover)
    leaf = through(shade, hexes("6d1606", "b82c0c", "e2570f", "f59b1a", "ffd23c"))
    return lerp(picture, leaf, strength)


def _bokeh(height: int, width: int, unit: float, rng: Rng) -> Array:
    """Return out-of-focus lights [H, W]."""
    centres, radii = scatter(height, width, 14, rng), rng.uniform(4, 11, 14) * unit
    return blur(dots(height, width, centres, radii), unit)


def _leaves(height: int, width: int, unit: float, rng: Rng) -> tuple[Array, Array]:
    """Return falling leaves, more of them near the ground: coverage and shade, both [H, W]."""
    count = int(rng.integers(26, 36) * max(height, width) / min(height, width))
    angle = np.linspace(0, 2 * math.pi, 33)[:-1]
    # Five lobes make a maple leaf; the other kind is an oval with a tip.
    lobes = 0.5 + 0.5 * np.abs(np.cos(2.5 * angle)) ** 0.7
    maple = np.stack([lobes * np.cos(angle), lobes * np.sin(angle)], axis=1)
    oval = np.stack([np.cos(angle), 0.42 * np.sin(angle) * (1 - 0.3 * np.cos(angle))], axis=1)
    centres = scatter(height, width, count, rng)
    centres[: count // 2, 1] = height * (1 - 0.3 * rng.random(count // 2) ** 2)
    shapes, shades = [], []
    for centre in centres:
        radius, turn = rng.uniform(3.0, 7.5) * unit, rng.uniform(0, 2 * math.pi)
        leaf = (maple if rng.random() < 0.6 else oval) * (radius, radius * rng.uniform(0.55, 1))
        spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        shapes.append(leaf @ spin + centre)
        shades.append(float(rng.random()))
    return shade_polygons(shapes, shades, height, width)


def snowy(scene: Scene, rng: Rng) -> Array:
    """Paint cold light, snow on all that faces up, falling flakes."""
    height, width = scene.luma.shape
    unit = scene.unit
    cold = through(scene.luma, hexes("16263f", "46658a", "93b1cf", "eef5fd"))
    painted = times(lerp(saturate(scene.subject, 0.8), cold, 0.40), (0.93, 0.97, 1.02))
    depth = down(height, width)
    skies = (hexes("5f7fa6", "8fabc9", "c3d5e6"), hexes("46546e", "7388a6", "aebdd0"))
    sky = through(depth, skies[rng.integers(len(skies))])
    x, _ = grid(height, width)
    hill = 0.80 + 0.05 * np.sin(x * rng.uniform(4, 7) + rng.uniform(0, 6)) - 0.04 * x
    drift = through(clouds(height, width, 20 * unit, rng), hexes("d7e3f0", "ffffff"))
    backdrop = lerp(sky, drift, smoothstep(-0.01, 0.02, depth - hill))
    if scene.plain:
        backdrop = scale(backdrop, 1 - 0.22 * blur(scene.cover, 3 * unit))
    picture = compose(scene, painted, backdrop)
    snow, shadow = _caps(scene, rng)
    picture = lerp(picture, colour("9db6d3"), 0.5 * shadow)
    picture = lerp(picture, colour("f8fcff"), snow)
    return lerp(picture, 1.0, _snowfall(height, width, unit, rng))


def _caps(scene: Scene, rng: Rng) -> tuple[Array, Array]:
    """Return snow [H, W] on upper edges of the subject and its darker parts, and its shade."""
    unit = scene.unit
    soft = blur(scene.luma, max(0.6, 1.2 * unit))
    falling = -cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3) * max(1.0, unit)
    ledge = smoothstep(0.25, 0.55, falling) if scene.plain else smoothstep(0.45, 1.0, falling)
    caps = (0.7 if scene.plain else 0.8) * ledge * scene.cover
    if scene.plain:
        height, width = scene.luma.shape
        uneven = clouds(height, width, 9 * unit, rng)
        thick = rng.uniform(6, 10) * unit
        for share in (0.3, 0.6, 1.0):
            shift = min(height - 1, max(1, round(thick * share)))
            above = np.zeros_like(scene.cover)
            above[shift:] = scene.cover[: height - shift]
            top = np.clip(scene.cover - above, 0, 1) * (uneven > share - 0.45)
            caps = np.maximum(caps, top)
    caps = np.clip(blur(caps, 0.8 * unit) * 1.3, 0, 1)
    below = np.roll(caps, max(1, round(1.5 * unit)), axis=0)
    return caps, np.clip(below - caps, 0, 1) * scene.cover


def _snowfall(height: int, width: int, unit: float, rng: Rng) -> Array:
    """Return flakes [H, W] near and far, and a few six-armed crystals."""
    count = int(80 * height * width / min(height, width) ** 2)
    far = dots(
        height, width, scatter(height, width, count, rng), rng.uniform(0.4, 1.1, count) * unit
    )
    few = count // 4
    near = dots(height, width, scatter(height, width, few, rng), rng.uniform(1.2, 2.4, few) * unit)
    flakes = np.maximum(0.85 * far, blur(near, 0.5 * unit))
    pairs = []
    for x, y in scatter(height, width, 6, rng):
        radius, turn = rng.uniform(3.5, 6) * unit, rng.uniform(0, 1)
        for arm in range(6):
            angle = turn + arm * math.pi / 3
            dx, dy = math.cos(angle), math.sin(angle)
            pairs.append((x, y, x + radius * dx, y + radius * dy))
            bx, by = x + 0.6 * radius * dx, y + 0.6 * radius * dy
            for lean in (angle - 0.7, angle + 0.7):
                tip = 0.35 * radius
                pairs.append((bx, by, bx + tip * math.cos(lean), by + tip * math.sin(lean)))
    return np.maximum(flakes, segments(height, width, pairs, max(1.0, unit)))


def sunset(scene: Scene, rng: Rng) -> Array:
    """Paint a low sun in a burning sky over water, the subject against the light."""
    height, width = scene.luma.shape
    unit = scene.unit
    depth, (x, y) = down(height, width), grid(height, width)
    horizon = rng.uniform(0.70, 0.80)
    skies = (
        hexes("2a1450", "6d2268", "c73a5b", "f9733d", "ffc24a"),
        hexes("1d2a5e", "5a3d86", "b9527f", "f08a5a", "ffd98a"),
        hexes("401038", "8e1f3f", "d9432e", "f98a2b", "ffd45a"),
    )
    sky = through(np.clip(depth / horizon, 0, 1), skies[rng.integers(len(skies))])
    sun_x = rng.uniform(0.20, 0.36) * rng.choice([-1, 1])
    sun_y = (horizon - rng.uniform(0.08, 0.16) - 0.5) * height / min(height, width)
    far = np.sqrt((x - sun_x) ** 2 + (y - sun_y) ** 2)
    disc, glow = 1 - smoothstep(0.095, 0.105, far), np.exp(-far * 4.5)
    narrow = clouds(height, max(1, width // 8), 5 * unit, rng)
    bars = cv2.resize(narrow, (width, height), interpolation=cv2.INTER_CUBIC)
    sky = add_light(sky, colour("ff7a59"), 0.32 * smoothstep(0.6, 0.9, bars))
    sky = lerp(add_light(sky, colour("ff8c3a"), 0.5 * glow), colour("fff3c8"), disc)
    water = through(
        np.clip((depth - horizon) / (1 - horizon), 0, 1), hexes("f08a4b", "8b3a62", "2b1748")
    )
    glint = smoothstep(0.45, 0.75, bars) * np.exp(-(((x - sun_x) / 0.16) ** 2))
    water = add_light(water, colour("ffd27a"), 0.85 * glint)
    backdrop = lerp(sky, water, (depth > horizon).astype(np.float32))

    tint = through(depth, hexes("6f56a8", "d9698c", "ff9058", "c9573a"))
    painted = scene.subject * (0.26 + 0.66 * tint)
    if scene.plain:
        # The rim that faces the sun catches its light.
        inward = blur(scene.cover, 2.5 * unit)
        rim = smoothstep(0.05, 0.5, 1 - inward) * np.exp(-far * 1.8)
        painted = add_light(painted, colour("ffc070"), 1.1 * rim)
        return compose(scene, painted, backdrop)
    picture = compose(scene, painted, backdrop)
    picture = add_light(picture, colour("ff9a4a"), 0.45 * glow)
    return lerp(picture, colour("ffe9b0"), disc * np.clip(1.5 - 1.5 * scene.cover, 0, 1))


def watercolor_art(scene: Scene, rng: Rng) -> Array:
    """Paint pale pigment bleeding over white paper: wet edges, granulation, splashes."""
    height, width = scene.luma.shape
    unit = scene.unit
    subject = lerp(fill(np.ones(3), height, width), saturate(scene.subject, 1.15), scene.cover)
    soft = warp(smooth_regions(subject, unit, 0.18), 2.2 * unit, 8 * unit, rng)
    bleed = blur(soft, 5.5 * unit)
    blot = smoothstep(0.35, 0.75, clouds(height, width, 14 * unit, rng))
    wash = np.minimum(soft, lerp(fill(np.ones(3), height, width), bleed, 0.8 * blot))
    luma = grey(wash)
    # Pigment gathers where the paint dries last: at the rim of each patch.
    rim = np.clip((blur(luma, 2.2 * unit) - blur(luma, 0.7 * unit)) * 3.0, 0, 0.5)
    rim = rim * (0.4 + 0.9 * clouds(height, width, 9 * unit, rng))
    tooth = paper(height, width, unit, rng)
    thin = 0.62 + 0.42 * clouds(height, width, 12 * unit, rng) + 0.11 * tooth + rim
    density = scale(1 - wash, 0.86 * thin)
    splash, hue = _splashes(height, width, unit, rng)
    density = add_light(density, 1 - hue, 0.36 * splash)
    sheet = add_light(fill(colour("fcfaf3"), height, width), np.ones(3), 0.010 * tooth)
    return sheet * (1 - np.clip(density, 0, 1))


def _splashes(height: int, width: int, unit: float, rng: Rng) -> tuple[Array, Array]:
    """Return blots and drops of thin colour: how much [H, W], and which colour [3]."""
    hue = tone(rng.random(), 0.6, 0.95)
    field = clouds(height, width, 30 * unit, rng) + 0.12 * clouds(height, width, 5 * unit, rng)
    blot = smoothstep(0.66, 0.70, field)
    rim = blot - smoothstep(0.70, 0.76, field)
    drops = dots(height, width, scatter(height, width, 16, rng), rng.uniform(0.5, 2.0, 16) * unit)
    return np.clip(0.6 * blot + 0.5 * rim + drops, 0, 1), hue


def rainbow(scene: Scene, rng: Rng) -> Array:
    """Paint arcs of all hues across the sky and, as tints, across the subject."""
    height, width = scene.luma.shape
    unit = scene.unit
    x, y = grid(height, width)
    radius = np.sqrt((x - rng.uniform(-0.45, 0.45)) ** 2 + (y - rng.uniform(0.55, 0.8)) ** 2)
    phase = (radius * rng.uniform(1.15, 1.5) + rng.random()) % 1
    step = np.floor(phase * 8)
    phase = (step + smoothstep(0.7, 1.0, phase * 8 - step)) / 8
    hues = hexes(
        "ff2b3a", "ff8a1c", "ffe126", "35d04a", "1fb8f0", "3a4df0", "a035e8", "ff2b9a", "ff2b3a"
    )
    arcs = through(phase, hues)
    haze = smoothstep(0.45, 0.85, clouds(height, width, 34 * unit, rng))
    backdrop = lerp(arcs, 1.0, 0.15 + 0.35 * haze)
    # The subject keeps its light and dark, and half of its colours.
    luma = scene.luma
    dark, light = np.minimum(2 * luma, 1), np.maximum(2 * luma - 1, 0)
    tinted = lerp(scale(arcs, dark), 1.0, 0.82 * light)
    painted = lerp(saturate(scene.subject, 1.15), tinted, 0.5)
    if scene.plain:
        backdrop = lerp(backdrop, 1.0, 0.75 * blur(scene.cover, 2.5 * unit))
        rim = smoothstep(0.1, 0.5, 1 - blur(scene.cover, 1.2 * unit))
        painted = scale(painted, 1 - 0.35 * rim)
    return compose(scene, painted, backdrop)


def aurora(scene: Scene, rng: Rng) -> Array:
    """Paint a polar night: stars, dark hills, green and violet curtains of light."""
    height, width = scene.luma.shape
    unit = scene.unit
    depth = down(height, width)
    night = through(depth, hexes("050a24", "0a1a3c", "123152", "0c2233"))
    count = int(70 * height * width / min(height, width) ** 2)
    stars = dots(
        height, width, scatter(height, width, count, rng), rng.uniform(0.25, 0.7, count) * unit
    )
    light = _curtains(height, width, unit, rng)
    backdrop = add_light(night, colour("e8f0ff"), 0.9 * stars) + light
    x, _ = grid(height, width)
    ridge = 0.84 + 0.05 * np.abs(np.sin(x * 5 + rng.uniform(0, 6))) * np.sin(x * 11 + 1)
    backdrop = lerp(backdrop, colour("060b14"), smoothstep(0, 0.012, depth - ridge))
    dusk = through(scene.luma, hexes("060b22", "1c4a66", "8fe0d0"))
    painted = times(lerp(scene.subject, dusk, 0.4), (0.66, 0.76, 0.88))
    painted = painted + scale(light, 0.10 + 0.30 * scene.luma)
    if scene.plain:
        rim = smoothstep(0.1, 0.6, 1 - blur(scene.cover, 2.0 * unit))
        painted = add_light(painted, colour("4dffb0"), 0.6 * rim)
        return compose(scene, painted, backdrop)
    return compose(scene, painted, backdrop) + 0.35 * light


def _curtains(height: int, width: int, unit: float, rng: Rng) -> Array:
    """Return light [H, W, 3] of three curtains: sharp hems, rays that fade and redden upward."""
    x, y = grid(height, width)
    y = y * (min(height, width) / height)
    light = np.zeros((height, width, 3), np.float32)
    hues = hexes("6dffb8", "27e08a", "2fb9c9", "8a4be8", "d23bd0")
    for base in (-0.16, 0.02, 0.2):
        hem = np.float32(base + rng.uniform(-0.05, 0.05))
        for size, speed in ((0.10, 4), (0.05, 9), (0.02, 19)):
            turn = np.float32(speed * rng.uniform(0.7, 1.3))
            hem = hem + np.float32(size) * np.sin(x * turn + np.float32(rng.uniform(0, 6.28)))
        above = hem - y
        fine, broad = clouds(1, width, 3 * unit, rng), clouds(1, width, 12 * unit, rng)
        reach = float(rng.uniform(0.22, 0.34))
        # Fading slowly above the hem, quickly below it.
        glow = np.exp(np.minimum(-above / reach, above * 30)) * (0.55 * fine + 0.6 * broad)
        climb = np.clip(above * (1 / (1.7 * reach)), 0, 1)
        light += scale(through(climb, hues), glow * np.float32(rng.uniform(0.75, 1.05)))
    return light


def mosaic(scene: Scene, rng: Rng) -> Array:
    """Paint stone tiles in grout, each of a single colour."""
    height, width = scene.luma.shape
    unit = scene.unit
    pitch = (5.2 if scene.plain else 3.8) * unit * rng.uniform(0.9, 1.12)
    label, inset = _tiles(height, width, max(3.0, pitch), rng)
    # Bright subjects lie on darker stone, dark ones on brighter.
    mean = cv2.mean(scene.luma, (scene.cover > 0.5).astype(np.uint8))[0]
    base = tone(opposite(scene, rng), rng.uniform(0.3, 0.55), 0.92 if mean < 0.62 else 0.62)
    veins = 0.85 + 0.3 * clouds(height, width, 24 * unit, rng)
    ground = scale(fill(base, height, width), veins)
    picture = compose(scene, saturate(scene.subject, 1.25), ground)
    flat, count = label.ravel(), int(label.max()) + 1
    sizes = np.maximum(np.bincount(flat, minlength=count), 1)
    sums = [np.bincount(flat, channel.ravel(), count) for channel in cv2.split(picture)]
    means = np.stack(sums, axis=1) / sizes[:, None]
    means = means * rng.uniform(0.84, 1.12, (count, 1)) + rng.uniform(-0.03, 0.03, (count, 3))
    tiles = means.astype(np.float32)[label]
    stone = smoothstep(0.10, 0.24, inset)
    # A light from the upper left on the bevel of every tile.
    soft = blur(stone, 0.5 * unit)
    bevel = soft - np.roll(soft, (1, 1), (0, 1))
    tiles = tiles + wide(0.22 * bevel + 0.02 * grain(height, width, rng))
    # Grout takes on some of the colour around it, so that it does not cut the subject up.
    grout = lerp(blur(picture, 0.6 * unit) * 0.6, colour("3f3a36"), 0.5)
    return lerp(grout, tiles, stone)


def _tiles(height: int, width: int, pitch: float, rng: Rng) -> tuple[Array, Array]:
    """Return the tile of each pixel, int [H, W], and how far inside it lies (0 at the joint).

    The cells of a turned, jittered grid of points, nearest by the maximum norm.
    """
    angle, jitter = rng.uniform(-0.6, 0.6), rng.uniform(0.10, 0.30)
    columns = np.arange(width, dtype=np.float32)[None, :] * np.float32(1 / pitch)
    rows = np.arange(height, dtype=np.float32)[:, None] * np.float32(1 / pitch)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    u, v = columns * cos + rows * sin, rows * cos - columns * sin
    u, v = u - u.min() + 1, v - v.min() + 1
    across, along = int(u.max()) + 3, int(v.max()) + 3
    offset = (0.5 + rng.uniform(-jitter, jitter, (2, along * across))).astype(np.float32)
    cell_u, cell_v = u.astype(np.int32), v.astype(np.int32)
    part_u, part_v = u - cell_u, v - cell_v
    home = cell_v * across + cell_u
    nearest = np.full((height, width), 9, np.float32)
    second, label = nearest.copy(), home.copy()
    for dv in (-1, 0, 1):
        for du in (-1, 0, 1):
            cell = home + (dv * across + du)
            apart_u = np.abs(part_u - offset[0].take(cell) - du)
            distance = np.maximum(apart_u, np.abs(part_v - offset[1].take(cell) - dv))
            second = np.minimum(second, np.maximum(distance, nearest))
            label = np.where(distance < nearest, cell, label)
            nearest = np.minimum(nearest, distance)
    return label, second - nearest


def ukiyo_e(scene: Scene, rng: Rng) -> Array:
    """Paint a woodblock print: few flat inks, fine contours, graded sky, waves, a red sun."""
    height, width = scene.luma.shape
    unit = scene.unit
    flat = smooth_regions(scene.subject, unit, 0.16)
    # The softening stands in for the antialiasing that a choice of ink cannot have.
    painted = lerp(flat, blur(_in_inks(flat), 0.5), 0.8)
    wood = cv2.blur(grain(height, width, rng), (max(3, round(14 * unit)), 1)) * 1.4
    depth, (x, y) = down(height, width), grid(height, width)
    skies = (
        hexes("27496d", "86a3ac", "ead9b5", "efe2c4"),
        hexes("8c3b2f", "d9a06b", "efe0bd", "efe2c4"),
        hexes("3d5a4c", "9db39a", "e9dcb8", "efe2c4"),
    )
    sky = through(np.clip(depth * 1.6 + 0.04 * wood, 0, 1), skies[rng.integers(len(skies))])
    sun = np.sqrt((x - rng.uniform(-0.35, 0.35)) ** 2 + (y + 0.28) ** 2)
    sky = lerp(sky, colour("c2412d"), 1 - smoothstep(0.125, 0.14, sun))
    waves = lerp(fill(colour("2c5577"), height, width), colour("e8dcc0"), _scales(scene))
    shore = rng.uniform(0.70, 0.80)
    backdrop = lerp(sky, waves, smoothstep(shore, shore + 0.015, depth))
    picture = compose(scene, painted, backdrop)
    ink = contours(scene, flat, 0.6 * unit, 1.0 * unit)
    picture = lerp(picture, colour("1a1c2e"), 0.88 * ink)
    return times(scale(picture, 1 + 0.05 * wood), (1.0, 0.985, 0.94))


INKS = hexes(
    "1d1f2b", "1f3f66", "4a7396", "9fb8b8", "efe2c4", "d9b26a", "b5452c", "7d3b2e", "6b7f4a",
    "c98f7a",
)  # fmt: skip


def _in_inks(picture: Array) -> Array:
    """Return each pixel in the nearest ink [H, W, 3], in a space that weighs hue against light."""
    levels = np.clip(picture * 15 + 0.5, 0, 15).astype(np.uint8)
    red, green, blue = cv2.split(levels)
    return _ink_table()[(red.astype(np.int32) * 16 + green) * 16 + blue]


@lru_cache(maxsize=1)
def _ink_table() -> Array:
    """Return the ink [4096, 3] of every colour of 16 levels a channel."""

    def space(colours: Array) -> Array:
        luma = colours @ np.array([0.299, 0.587, 0.114], np.float32)
        return np.stack([1.1 * luma, colours[..., 0] - luma, colours[..., 2] - luma], axis=-1)

    axis = np.linspace(0, 1, 16, dtype=np.float32)
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    apart = np.square(space(cube)[:, None] - space(INKS)[None]).sum(axis=-1)
    return INKS[apart.argmin(axis=1)]


def _scales(scene: Scene) -> Array:
    """Return overlapping concentric arcs (seigaiha) [H, W], 1 on the lines."""
    height, width = scene.luma.shape
    pitch = max(6.0, 17 * scene.unit)
    columns = np.arange(width, dtype=np.float32)[None, :] / pitch
    rows = np.arange(height, dtype=np.float32)[:, None] / (0.25 * pitch)
    radius = np.full((height, width), 0.5, np.float32)
    # Rows of discs a quarter of a pitch apart; those nearer the bottom lie on top.
    row = np.floor(rows)
    for below in (0, 1, 2):
        level = row + below
        across = columns - 0.5 * (level % 2)
        across = across - np.round(across)
        distance = np.sqrt(across * across + ((level - rows) * 0.25) ** 2)
        radius = np.where(distance < 0.5, distance, radius)
    ring = np.abs((radius * 6) % 2 - 1)
    return smoothstep(0.5, 0.8, ring)


def crayon_sketch(scene: Scene, rng: Rng) -> Array:
    """Paint waxy strokes on white paper, rough double contours."""
    height, width = scene.luma.shape
    unit = scene.unit
    tooth = paper(height, width, 0.8 * unit, rng)
    angle = rng.uniform(0.6, 1.0) * rng.choice([-1, 1])
    strokes = hatching(height, width, unit, angle, rng)
    flat = saturate(smooth_regions(scene.subject, unit, 0.2), 1.4)
    flat = np.clip(warp(flat, 1.2 * unit, 9 * unit, rng), 0, 1) * 0.94
    inside = scene.cover if scene.plain else np.ones_like(scene.luma)
    inside = warp(inside, 1.8 * unit, 9 * unit, rng)
    load = 0.72 + 0.45 * (1 - grey(flat)) + 0.42 * strokes + 0.12 * tooth
    sheet = fill(colour("fdfbf4"), height, width)
    if scene.plain:
        other = hatching(height, width, 1.6 * unit, -angle + rng.uniform(-0.3, 0.3), rng)
        scribble = smoothstep(0.0, 0.7, other + 0.2 * tooth) * (1 - inside)
        sheet = lerp(sheet, tone(rng.random(), 0.45, 0.98), 0.8 * scribble)
    picture = lerp(sheet, flat, 0.96 * smoothstep(0.30, 0.80, load) * inside)
    first = contours(scene, flat, 0.8 * unit, 1.5 * unit)
    second = warp(first, 2.2 * unit, 14 * unit, rng)
    contour = np.maximum(first, 0.75 * second)
    rough = smoothstep(-1.6, 0.2, tooth + 0.6 * strokes)
    dark = times(blur(flat, 1.5 * unit), (0.36, 0.33, 0.38))
    return lerp(picture, dark, 0.9 * contour * rough)


__all__ = [
    "aurora",
    "autumn",
    "crayon_sketch",
    "mosaic",
    "rainbow",
    "snowy",
    "sunset",
    "ukiyo_e",
    "watercolor_art",
]
