"""The nine in-domain styles of `filters`: a scene and a generator in, a picture out.

Each returns float32 [H, W, 3]; values may leave [0, 1] a little, the editor clips them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from genmix_aug.editors.painting import (
    LUMA,
    Array,
    Rng,
    Scene,
    blur,
    clouds,
    compose,
    dots,
    down,
    grain,
    grid,
    hexes,
    lerp,
    lines,
    outline,
    paper,
    saturate,
    scatter,
    segments,
    shade_polygons,
    smooth_regions,
    smoothstep,
    through,
    tone,
    warp,
)


def autumn(scene: Scene, rng: Rng) -> Array:
    """Rust and gold, with falling leaves."""
    height, width = scene.luma.shape
    turned = through(scene.luma, hexes("2b0f06", "7a2508", "c2530f", "eb9a2b", "ffe9b0"))
    painted = lerp(saturate(scene.subject, 0.9), turned, 0.58) * (1.06, 0.97, 0.84)
    sky = through(
        0.75 * down(height, width) + 0.25 * clouds(height, width, 30 * scene.unit, rng),
        hexes("fbe6b4", "f6c566", "e08a2c", "a9501a"),
    )
    backdrop = sky + 0.1 * _bokeh(height, width, scene.unit, rng)[..., None]
    picture = compose(scene, painted, backdrop)
    cover, shade = _leaves(height, width, scene.unit, rng)
    # Leaves blow past the subject, but must not hide it.
    strength = cover * (1 - 0.55 * scene.cover[..., 0] * (1.0 if scene.plain else 0.6))
    colours = through(shade, hexes("6d1606", "b82c0c", "e2570f", "f59b1a", "ffd23c"))
    return lerp(picture, colours, strength[..., None])


def _bokeh(height: int, width: int, unit: float, rng: Rng) -> Array:
    count = 14
    discs = dots(
        height, width, scatter(height, width, count, rng), rng.uniform(4, 11, count) * unit
    )
    return blur(discs, unit)


def _leaves(height: int, width: int, unit: float, rng: Rng) -> tuple[Array, Array]:
    count = int(rng.integers(26, 36) * max(height, width) / min(height, width))
    angle = np.linspace(0, 2 * math.pi, 33)[:-1]
    # Five lobes and a stalk make a maple leaf; the other kind is a plain oval with a tip.
    lobes = 0.62 + 0.38 * np.abs(np.cos(2.5 * angle)) ** 0.8
    maple = np.stack([lobes * np.cos(angle), lobes * np.sin(angle)], axis=1)
    oval = np.stack([np.cos(angle), 0.42 * np.sin(angle) * (1 - 0.3 * np.cos(angle))], axis=1)
    centres = scatter(height, width, count, rng)
    centres[: count // 2, 1] = height * (1 - 0.3 * rng.random(count // 2) ** 2)
    shapes, shades = [], []
    for centre in centres:
        radius, turn = rng.uniform(3.0, 7.5) * unit, rng.uniform(0, 2 * math.pi)
        squeeze = rng.uniform(0.55, 1)
        leaf = (maple if rng.random() < 0.55 else oval) * (radius, radius * squeeze)
        spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        shapes.append(leaf @ spin + centre)
        shades.append(float(rng.random()))
    return shade_polygons(shapes, shades, height, width)


def snowy(scene: Scene, rng: Rng) -> Array:
    """Cold light, snow on all that faces up, falling flakes."""
    height, width = scene.luma.shape
    unit = scene.unit
    cold = through(scene.luma, hexes("16263f", "4b6a8e", "9db8d2", "f4f9ff"))
    painted = lerp(saturate(scene.subject, 0.75), cold, 0.42)
    depth = down(height, width)
    sky = through(depth, hexes("5f7fa6", "8fabc9", "c3d5e6"))
    x, _ = grid(height, width)
    hill = 0.80 + 0.05 * np.sin(x * rng.uniform(4, 7) + rng.uniform(0, 6)) - 0.04 * x
    ground = smoothstep(-0.01, 0.02, depth - hill)[..., None]
    drift = through(clouds(height, width, 20 * unit, rng), hexes("dfe9f4", "ffffff"))
    picture = compose(scene, painted, lerp(sky, drift, ground))
    snow = _caps(scene, rng)[..., None]
    picture = lerp(picture, np.array([0.96, 0.98, 1.0], np.float32), snow)
    count = int(90 * height * width / min(height, width) ** 2)
    far = dots(
        height, width, scatter(height, width, count, rng), rng.uniform(0.4, 1.1, count) * unit
    )
    near = dots(
        height, width, scatter(height, width, count // 4, rng),
        rng.uniform(1.3, 2.6, count // 4) * unit,
    )
    flakes = np.maximum(0.85 * far, blur(near, 0.5 * unit))
    flakes = np.maximum(flakes, _crystals(height, width, unit, rng))
    return lerp(picture, 1.0, flakes[..., None])


def _caps(scene: Scene, rng: Rng) -> Array:
    """Snow [H, W] lying on upper edges: of the subject, and of darker parts under brighter."""
    height, width = scene.luma.shape
    unit = scene.unit
    thick = max(2, round(rng.uniform(5, 8) * unit))
    uneven = clouds(height, width, 9 * unit, rng)
    plane = scene.cover[..., 0] if scene.plain else np.ones_like(scene.luma)
    caps = np.zeros_like(plane)
    if scene.plain:
        for share in (0.35, 0.7, 1.0):
            shift = max(1, round(thick * share))
            above = np.zeros_like(plane)
            above[shift:] = plane[:-shift] if shift < height else 0
            caps = np.maximum(caps, np.clip(plane - above, 0, 1) * (uneven > share - 0.5))
    soft = blur(scene.luma, max(0.6, 1.2 * unit))
    falling = -cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3)
    ledge = smoothstep(0.18, 0.42, falling * max(1.0, unit))
    low = cv2.dilate(ledge, np.ones((max(1, thick // 3), 1), np.uint8))
    caps = np.maximum(caps, 0.8 * low * plane)
    return np.clip(blur(caps, 0.7 * unit) * 1.25, 0, 1)


def _crystals(height: int, width: int, unit: float, rng: Rng) -> Array:
    """A few six-armed flakes."""
    pairs = []
    for x, y in scatter(height, width, 7, rng):
        radius, turn = rng.uniform(4, 7) * unit, rng.uniform(0, 1)
        for arm in range(6):
            angle = turn + arm * math.pi / 3
            dx, dy = math.cos(angle), math.sin(angle)
            pairs.append((x, y, x + radius * dx, y + radius * dy))
            for side in (-0.7, 0.7):
                bx, by = x + 0.6 * radius * dx, y + 0.6 * radius * dy
                ex, ey = math.cos(angle + side), math.sin(angle + side)
                pairs.append((bx, by, bx + 0.35 * radius * ex, by + 0.35 * radius * ey))
    return segments(height, width, pairs, max(1.0, unit))


def sunset(scene: Scene, rng: Rng) -> Array:
    """A low sun in a burning sky over water."""
    height, width = scene.luma.shape
    unit = scene.unit
    depth = down(height, width)
    horizon = rng.uniform(0.70, 0.80)
    sky = through(
        np.clip(depth / horizon, 0, 1),
        hexes("2a1450", "6d2268", "c73a5b", "f9733d", "ffc24a"),
    )
    x, y = grid(height, width)
    sun_x = rng.uniform(0.22, 0.38) * rng.choice([-1, 1])
    sun_y = (horizon - rng.uniform(0.08, 0.16) - 0.5) * height / min(height, width)
    far = np.sqrt((x - sun_x) ** 2 + (y - sun_y) ** 2)
    disc = 1 - smoothstep(0.095, 0.105, far)
    glow = np.exp(-far * 4.5)
    streaks = clouds(height, width, 5 * unit, rng)
    bars = cv2.resize(
        cv2.resize(streaks, (max(1, width // 8), height)), (width, height)
    )
    sky = sky + 0.35 * (smoothstep(0.6, 0.9, bars) * (depth < horizon))[..., None] * hexes("ff7a59")
    water = through(
        np.clip((depth - horizon) / (1 - horizon), 0, 1), hexes("f08a4b", "8b3a62", "2b1748")
    )
    glint = smoothstep(0.45, 0.75, bars) * np.exp(-(((x - sun_x) / 0.16) ** 2))
    water = water + glint[..., None] * hexes("ffd27a") * 0.8
    light = disc[..., None] * hexes("fff1c0") + glow[..., None] * hexes("ff8c3a") * 0.55
    sky = lerp(sky, 1.0, 0.0) * (1 - disc[..., None]) + light
    backdrop = np.where((depth > horizon)[..., None], water, sky)
    tint = through(depth, hexes("7d5a9e", "e0708a", "ff9c5a", "d9643c"))
    painted = scene.subject * (0.42 + 0.75 * tint) * 0.92
    warm = np.exp(-far * 2.2)[..., None] * hexes("ff8a2a")
    painted = 1 - (1 - np.clip(painted, 0, 1)) * (1 - 0.42 * warm)
    picture = compose(scene, painted, backdrop)
    if not scene.plain:
        picture = 1 - (1 - np.clip(picture, 0, 1)) * (1 - 0.75 * np.clip(light, 0, 1))
    return picture


def watercolor_art(scene: Scene, rng: Rng) -> Array:
    """Pale pigment bleeding over white paper, wet edges, granulation, splashes."""
    height, width = scene.luma.shape
    unit = scene.unit
    sheet = np.ones((height, width, 3), np.float32) * (0.985, 0.975, 0.95)
    subject = lerp(1.0, saturate(scene.subject, 1.15), 0.78 * scene.cover)
    soft = smooth_regions(subject.astype(np.float32), unit, 0.18)
    soft = warp(soft, 2.6 * unit, 7 * unit, rng)
    bleed = blur(soft, 5.5 * unit)
    blot = smoothstep(0.35, 0.75, clouds(height, width, 14 * unit, rng))[..., None]
    wash = np.minimum(soft, lerp(1.0, bleed, 0.75 * blot))
    # Pigment gathers where the paint dries last: at the rim of each patch.
    grey = wash @ LUMA
    rim = np.clip(np.abs(blur(grey, 0.7 * unit) - blur(grey, 2.0 * unit)) * 2.2, 0, 0.35)
    thin = 0.75 + 0.45 * clouds(height, width, 11 * unit, rng)[..., None]
    density = (1 - wash) * thin * 0.92
    density = density * (1 + 1.6 * rim[..., None]) + 0.35 * rim[..., None] * (1 - grey[..., None])
    tooth = paper(height, width, unit, rng)[..., None]
    density = density * (1 + 0.16 * tooth)
    splash, hue = _splashes(height, width, unit, rng)
    density = density + 0.34 * splash[..., None] * (1 - hue)
    return sheet * (1 - np.clip(density, 0, 1)) + 0.012 * tooth


def _splashes(height: int, width: int, unit: float, rng: Rng) -> tuple[Array, Array]:
    """Blots and drops of thin colour: how much [H, W], and which colour [3]."""
    hue = tone(rng.random(), 0.6, 0.95)
    cloud = clouds(height, width, 30 * unit, rng)
    edge = 0.12 * clouds(height, width, 5 * unit, rng)
    blot = smoothstep(0.66, 0.70, cloud + edge)
    rim = smoothstep(0.66, 0.69, cloud + edge) - smoothstep(0.70, 0.76, cloud + edge)
    drops = dots(height, width, scatter(height, width, 16, rng), rng.uniform(0.5, 2.0, 16) * unit)
    return np.clip(0.6 * blot + 0.5 * rim + drops, 0, 1), hue


def rainbow(scene: Scene, rng: Rng) -> Array:
    """Arcs of all hues across the sky and, as tints, across the subject."""
    height, width = scene.luma.shape
    x, y = grid(height, width)
    centre = rng.uniform(-0.45, 0.45)
    radius = np.sqrt((x - centre) ** 2 + (y - rng.uniform(0.55, 0.8)) ** 2)
    phase = radius * rng.uniform(1.15, 1.5) + rng.random()
    colours = hexes(
        "ff2b3a", "ff8a1c", "ffe126", "35d04a", "1fb8f0", "3a4df0", "a035e8", "ff2b9a"
    )
    steps = phase * 8
    band = np.floor(steps) + smoothstep(0.8, 1.0, steps - np.floor(steps))
    arcs = colours[(np.floor(band) % 8).astype(np.int64)]
    following = colours[((np.floor(band) + 1) % 8).astype(np.int64)]
    arcs = lerp(arcs, following, (band - np.floor(band))[..., None])
    haze = clouds(height, width, 34 * scene.unit, rng)[..., None]
    backdrop = lerp(arcs, 1.0, 0.25 + 0.25 * smoothstep(0.5, 0.9, haze))
    luma = scene.luma[..., None]
    # The subject keeps its light and dark, and half of its own colours.
    tinted = np.where(luma < 0.5, 2 * luma * arcs, 1 - 2 * (1 - luma) * (1 - arcs))
    painted = lerp(saturate(scene.subject, 1.1), tinted, 0.62)
    return compose(scene, painted, backdrop)


def aurora(scene: Scene, rng: Rng) -> Array:
    """A polar night: stars, dark hills, green and violet curtains of light."""
    height, width = scene.luma.shape
    unit = scene.unit
    depth = down(height, width)
    night = through(depth, hexes("050a24", "0a1a3c", "123152", "0c2233"))
    count = int(70 * height * width / min(height, width) ** 2)
    stars = dots(
        height, width, scatter(height, width, count, rng), rng.uniform(0.25, 0.7, count) * unit
    )
    light = _curtains(height, width, unit, rng)
    backdrop = night + 0.9 * stars[..., None] * (depth < 0.8)[..., None] + light
    x, _ = grid(height, width)
    ridge = 0.84 + 0.05 * np.abs(np.sin(x * 5 + rng.uniform(0, 6))) * np.sin(x * 11 + 1)
    hills = smoothstep(0, 0.012, depth - ridge)[..., None]
    backdrop = lerp(backdrop, hexes("03070f") + 0.1 * light, hills)
    dusk = lerp(scene.subject, through(scene.luma, hexes("060b22", "1c4a66", "8fe0d0")), 0.4)
    painted = dusk * (0.62, 0.74, 0.86) + 0.30 * light * (0.3 + scene.luma[..., None])
    edge = blur(1 - scene.cover[..., 0], 2.2 * unit) * scene.cover[..., 0]
    painted = painted + (edge[..., None] if scene.plain else 0) * hexes("4dffb0") * 0.8
    picture = compose(scene, painted, backdrop)
    return picture if scene.plain else picture + 0.45 * light


def _curtains(height: int, width: int, unit: float, rng: Rng) -> Array:
    """Light [H, W, 3] of three curtains: sharp lower hems, rays that fade and redden upward."""
    x, y = grid(height, width)
    y = y * min(height, width) / height
    light = np.zeros((height, width, 3), np.float32)
    for base in (-0.16, 0.02, 0.2):
        hem = base + rng.uniform(-0.05, 0.05)
        for size, speed in ((0.10, 4), (0.05, 9), (0.02, 19)):
            hem = hem + size * np.sin(x * speed * rng.uniform(0.7, 1.3) + rng.uniform(0, 6.28))
        above = hem - y
        rays = clouds(1, width, 3 * unit, rng) * 0.55 + clouds(1, width, 12 * unit, rng) * 0.6
        reach = rng.uniform(0.22, 0.34)
        glow = np.where(above > 0, np.exp(-above / reach), np.exp(above / 0.03)) * rays
        climb = np.clip(above / (1.7 * reach), 0, 1)
        colour = through(climb, hexes("4dffb0", "27e08a", "2fb9c9", "8a4be8", "d23bd0"))
        light += glow[..., None].astype(np.float32) * colour * rng.uniform(0.7, 1.0)
    return light


def mosaic(scene: Scene, rng: Rng) -> Array:
    """Stone tiles in grout, each of one colour."""
    height, width = scene.luma.shape
    pitch = max(3.0, 5.6 * scene.unit * rng.uniform(0.9, 1.15))
    label, gap = _tiles(height, width, pitch, rng)
    base = tone(rng.choice([0.12, 0.09, 0.5, 0.56, 0.6]), rng.uniform(0.25, 0.5), 0.9)
    veins = 0.85 + 0.3 * clouds(height, width, 24 * scene.unit, rng)[..., None]
    picture = compose(scene, saturate(scene.subject, 1.25), base * veins)
    count = int(label.max()) + 1
    flat = label.ravel()
    sizes = np.maximum(np.bincount(flat, minlength=count), 1)
    means = np.stack(
        [np.bincount(flat, picture[..., c].ravel(), count) / sizes for c in range(3)], axis=1
    )
    means *= rng.uniform(0.82, 1.12, (count, 1))
    means += rng.uniform(-0.03, 0.03, (count, 3))
    tiles = means.astype(np.float32)[label]
    edge = smoothstep(0.10, 0.24, gap)
    # A light from the upper left on the bevel of every tile.
    soft = blur(edge, 0.5 * scene.unit)
    bevel = cv2.Sobel(soft, cv2.CV_32F, 1, 1, ksize=3) if min(height, width) < 8 else (
        np.roll(soft, (1, 1), (0, 1)) - soft
    )
    tiles = tiles - 0.22 * np.clip(bevel, -1, 1)[..., None]
    tiles = tiles + 0.02 * grain(height, width, rng)[..., None]
    grout = hexes("4a4540" if rng.random() < 0.6 else "d8cfbf") * np.ones_like(tiles)
    return lerp(grout, tiles, edge[..., None])


def _tiles(height: int, width: int, pitch: float, rng: Rng) -> tuple[Array, Array]:
    """The tile of each pixel, int [H, W], and how far inside it lies (0 at the joint)."""
    angle, jitter = rng.uniform(-0.6, 0.6), rng.uniform(0.10, 0.30)
    columns = np.arange(width, dtype=np.float32)[None, :]
    rows = np.arange(height, dtype=np.float32)[:, None]
    u = (columns * math.cos(angle) + rows * math.sin(angle)) / pitch
    v = (rows * math.cos(angle) - columns * math.sin(angle)) / pitch
    u, v = u - u.min() + 1, v - v.min() + 1
    across, along = int(u.max()) + 3, int(v.max()) + 3
    offset = (0.5 + rng.uniform(-jitter, jitter, (2, along, across))).astype(np.float32)
    cell_u, cell_v = u.astype(np.int32), v.astype(np.int32)
    nearest = np.full((height, width), 9, np.float32)
    second = nearest.copy()
    label = np.zeros((height, width), np.int32)
    for dv in (-1, 0, 1):
        for du in (-1, 0, 1):
            cu, cv = cell_u + du, cell_v + dv
            distance = np.maximum(
                np.abs(u - cu - offset[0, cv, cu]), np.abs(v - cv - offset[1, cv, cu])
            )
            closer = distance < nearest
            second = np.minimum(second, np.maximum(distance, nearest))
            label = np.where(closer, cv * across + cu, label)
            nearest = np.minimum(nearest, distance)
    return label, second - nearest


def ukiyo_e(scene: Scene, rng: Rng) -> Array:
    """A woodblock print: few flat inks, dark contours, graded sky, wave scales, a seal."""
    height, width = scene.luma.shape
    unit = scene.unit
    inks = hexes(
        "1d1f2b", "1f3f66", "4a7396", "9fb8b8", "efe2c4", "d9b26a", "b5452c", "7d3b2e", "6b7f4a",
        "c98f7a",
    )
    flat = smooth_regions(scene.subject, unit, 0.16)
    painted = lerp(flat, _nearest_ink(flat, inks), 0.78)
    wood = blur(grain(height, width, rng), 0.4)
    wood = cv2.blur(wood, (max(3, round(14 * unit)), 1)) * 1.6
    depth = down(height, width)
    sky = through(
        np.clip(depth * 1.6 + 0.04 * wood, 0, 1), hexes("27496d", "86a3ac", "ead9b5", "efe2c4")
    )
    sea = _wave_scales(height, width, unit)[..., None]
    water = lerp(hexes("2c5577") * np.ones_like(sky), hexes("e8dcc0"), sea)
    shore = rng.uniform(0.70, 0.80)
    backdrop = lerp(sky, water, smoothstep(shore, shore + 0.015, depth)[..., None])
    x, y = grid(height, width)
    sun = np.sqrt((x - rng.uniform(-0.35, 0.35)) ** 2 + (y + 0.28) ** 2)
    backdrop = lerp(backdrop, hexes("c2412d"), 1 - smoothstep(0.125, 0.14, sun)[..., None])
    picture = compose(scene, painted, backdrop)
    contour = lines(flat, max(0.7, 0.8 * unit))
    contour = np.maximum(contour, outline(scene.cover, 1.2 * unit) if scene.plain else 0)
    picture = lerp(picture, hexes("17161c"), 0.9 * contour[..., None])
    return picture * (1 + 0.05 * wood[..., None]) * (1.0, 0.985, 0.94)


def _nearest_ink(picture: Array, inks: Array) -> Array:
    """Each pixel's ink [H, W, 3], nearest in a space that weighs hue against light."""
    def space(colours: Array) -> Array:
        luma = colours @ LUMA
        return np.stack([1.1 * luma, colours[..., 0] - luma, colours[..., 2] - luma], axis=-1)

    levels = np.stack(np.meshgrid(*[np.linspace(0, 1, 16, dtype=np.float32)] * 3, indexing="ij"), -1)
    apart = np.square(space(levels)[..., None, :] - space(inks)).sum(axis=-1)
    table = inks[apart.argmin(axis=-1)]
    index = np.clip(picture * 15 + 0.5, 0, 15).astype(np.int32)
    return table[index[..., 0], index[..., 1], index[..., 2]]


def _wave_scales(height: int, width: int, unit: float) -> Array:
    """Overlapping concentric arcs (seigaiha) [H, W], 1 on the lines."""
    pitch = max(6.0, 15 * unit)
    columns = np.arange(width, dtype=np.float32)[None, :] / pitch
    rows = np.arange(height, dtype=np.float32)[:, None] / (0.5 * pitch)
    radius = np.full((height, width), 9.0, np.float32)
    row = np.floor(rows)
    for above in (2, 1, 0):
        level = row + above
        shift = 0.5 * (level % 2)
        dx = (columns - shift) - np.round(columns - shift)
        distance = np.sqrt(dx * dx + ((level - rows + 0.0) * 0.5) ** 2)
        radius = np.where(distance < 0.5, distance, radius)
    ring = np.abs((radius * 8) % 2 - 1)
    return smoothstep(0.45, 0.75, ring) * (radius < 1)


def crayon_sketch(scene: Scene, rng: Rng) -> Array:
    """Waxy strokes on white paper, rough double contours."""
    height, width = scene.luma.shape
    unit = scene.unit
    sheet = np.ones((height, width, 3), np.float32) * (0.99, 0.98, 0.955)
    tooth = paper(height, width, unit, rng)
    angle = rng.uniform(0.6, 1.0) * rng.choice([-1, 1])
    strokes = _hatching(height, width, unit, angle, rng)
    flat = warp(saturate(smooth_regions(scene.subject, unit, 0.2), 1.45), 1.2 * unit, 9 * unit, rng)
    wax = np.clip(flat, 0, 1) * 0.92
    dark = 1 - wax @ LUMA
    load = 0.55 + 0.6 * dark + 0.55 * strokes + 0.22 * tooth
    inside = warp(scene.cover[..., 0], 2.0 * unit, 9 * unit, rng) if scene.plain else 1.0
    picture = lerp(sheet, wax, (smoothstep(0.35, 0.95, load) * inside)[..., None] * 0.92)
    if scene.plain:
        ground = tone(rng.random(), 0.45, 0.98)
        other = _hatching(height, width, 1.5 * unit, -angle + rng.uniform(-0.3, 0.3), rng)
        scribble = smoothstep(0.15, 0.75, other + 0.3 * tooth) * (1 - inside)
        picture = lerp(picture, ground, 0.75 * scribble[..., None])
    sigma = max(0.7, 0.9 * unit)
    first = lines(warp(flat, 1.5 * unit, 12 * unit, rng), sigma)
    second = lines(warp(flat, 1.5 * unit, 12 * unit, rng), sigma)
    contour = np.maximum(first, 0.8 * second) * smoothstep(-1.3, 0.3, tooth)
    ink = np.clip(blur(wax, 1.5 * unit) * 0.35, 0, 1)
    return lerp(picture, ink, 0.85 * contour[..., None])


def _hatching(height: int, width: int, unit: float, angle: float, rng: Rng) -> Array:
    """Parallel hand strokes [H, W], about -1 to 1, along `angle` (radians)."""
    length = max(5, round(17 * unit)) | 1
    kernel = np.zeros((length, length), np.float32)
    half, reach = length // 2, length // 2
    tip = (half + round(reach * math.cos(angle)), half + round(reach * math.sin(angle)))
    cv2.line(kernel, (2 * half - tip[0], 2 * half - tip[1]), tip, 1.0, 1)
    noise = blur(grain(height, width, rng), 0.45 * unit)
    drawn = cv2.filter2D(noise, -1, kernel / kernel.sum())
    return np.clip(drawn / max(2.2 * float(drawn.std()), 1e-6), -1, 1)
