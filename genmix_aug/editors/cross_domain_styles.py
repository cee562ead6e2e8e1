"""The six cross-domain styles of `filters`: a scene and a generator in, a picture out.

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
    smooth_regions,
    smoothstep,
    through,
    tone,
    warp,
)


def graffiti(scene: Scene, rng: Rng) -> Array:
    """Spray paint on a brick wall: loud colours, black contour, glow, drips."""
    height, width = scene.luma.shape
    unit = scene.unit
    wall = _bricks(height, width, unit, rng)
    hue = rng.random()
    neon, second = tone(hue, 0.9, 1.0), tone(hue + rng.uniform(0.3, 0.5), 0.85, 1.0)
    cover = scene.cover[..., 0] if scene.plain else np.zeros_like(scene.luma)
    cloud = clouds(height, width, 26 * unit, rng)
    aura = np.clip(blur(cover, 9 * unit) * 1.5, 0, 1) if scene.plain else 0.6 * cloud
    mist = aura * (0.55 + 0.5 * cloud)
    spray = lerp(neon * np.ones_like(scene.subject), second, smoothstep(0.3, 0.7, cloud)[..., None])
    backdrop = lerp(wall, spray, (0.85 * np.clip(mist, 0, 1))[..., None])
    flat = smooth_regions(scene.subject, unit, 0.2)
    levels = np.round(np.clip(saturate(flat, 1.75), 0, 1) * 4) / 4
    fade = lerp(neon, second, down(height, width)[..., None])
    painted = lerp(levels, fade, 0.16) * (0.9 + 0.18 * cloud[..., None])
    painted = lerp(painted, wall, 0.14)
    halo = outline(scene.cover, 3.6 * unit) if scene.plain else 0 * cover
    picture = compose(scene, painted, lerp(backdrop, 1.0, 0.9 * halo[..., None]))
    contour = lines(flat, max(0.8, 1.15 * unit))
    if scene.plain:
        contour = np.maximum(contour, outline(scene.cover, 1.8 * unit))
    drips = _drips(scene, contour, rng)
    black = np.maximum(contour, drips)
    picture = lerp(picture, hexes("0c0a12"), 0.93 * black[..., None])
    count = 60
    specks = dots(
        height, width, scatter(height, width, count, rng), rng.uniform(0.25, 0.9, count) * unit
    )
    return lerp(picture, neon, 0.75 * specks[..., None])


def _bricks(height: int, width: int, unit: float, rng: Rng) -> Array:
    """A brick wall [H, W, 3]."""
    tall, long = max(4.0, 9 * unit), max(8.0, 21 * unit)
    rows = (np.arange(height, dtype=np.float32)[:, None] + rng.uniform(0, tall)) / tall
    row = np.floor(rows).astype(np.int32)
    columns = np.arange(width, dtype=np.float32)[None, :] / long + 0.5 * (row % 2) + rng.random()
    column = np.floor(columns).astype(np.int32)
    across, along = columns - column, rows - row
    joint = np.minimum(
        np.minimum(across, 1 - across) * long, np.minimum(along, 1 - along) * tall
    )
    mortar = smoothstep(0.35 * unit, 1.15 * unit, joint)[..., None]
    shades = rng.uniform(0.78, 1.12, (97,)).astype(np.float32)
    shade = shades[(row * 31 + column * 17) % 97]
    colour = hexes(*[("8a4a3c", "8d8a86", "5b6478", "a0785a")[rng.integers(4)]])[0]
    brick = colour * shade[..., None] + 0.035 * grain(height, width, rng)[..., None]
    return lerp(colour * 0.35 + 0.32, brick, mortar)


def _drips(scene: Scene, contour: Array, rng: Rng) -> Array:
    """Paint that runs down from contours [H, W]."""
    height, width = scene.luma.shape
    unit = scene.unit
    canvas = np.zeros((height, width), np.uint8)
    thick = max(1, round(1.3 * unit))
    for column in rng.integers(0, width, 26):
        inked = np.flatnonzero(contour[:, column] > 0.7)
        if inked.size == 0:
            continue
        start = int(inked[-1]) if rng.random() < 0.7 else int(rng.choice(inked))
        end = start + int(rng.uniform(5, 22) * unit)
        cv2.line(canvas, (int(column), start), (int(column), end), 255, thick, cv2.LINE_AA)
        cv2.circle(canvas, (int(column), end), max(1, round(1.2 * unit)), 255, -1, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def retro_comic(scene: Scene, rng: Rng) -> Array:
    """Four-colour print: flat inks, halftone dots, sun rays, black contours."""
    height, width = scene.luma.shape
    unit = scene.unit
    flat = smooth_regions(scene.subject, unit, 0.2)
    vivid = np.clip(saturate(flat, 1.5), 0, 1)
    levels = np.round(vivid * 3) / 3
    x, y = grid(height, width)
    turn = rng.uniform(0, math.pi)
    wheel = np.arctan2(y + 0.08, x - 0.04) * (rng.integers(7, 11) / math.pi) + turn
    ray = smoothstep(-0.12, 0.12, np.sin(wheel * math.pi / 1.0))[..., None]
    pair = (("ffd91f", "f2662b"), ("63c9f0", "fff3c4"), ("ffe23b", "e8413c"), ("f7a8c4", "fff0a8"))
    first, second = pair[rng.integers(4)]
    backdrop = lerp(hexes(first)[0], hexes(second)[0], ray)
    pitch = max(2.6, 3.4 * unit)
    far = np.sqrt(x * x + y * y)
    backdrop = lerp(
        backdrop, hexes("d42a2a")[0], 0.75 * _screen(0.62 * far, pitch * 1.3, 0.4)[..., None]
    )
    # The tone between two flat levels is carried by dots, black and coloured.
    shadow = _screen(np.clip(1.02 - scene.luma, 0, 1) ** 1.5 * 0.85, pitch, 0.785)
    red = _screen(np.clip(vivid[..., 0] - vivid[..., 1], 0, 1) * 0.6, pitch, 0.26)
    painted = lerp(levels, levels * (0.45, 0.42, 0.55), shadow[..., None])
    painted = lerp(painted, painted * (1.0, 0.72, 0.72), red[..., None])
    if scene.plain:
        slip = np.roll(painted, (0, max(1, round(0.8 * unit))), (0, 1))
        painted = np.stack([slip[..., 0], painted[..., 1], painted[..., 2]], axis=-1)
        picture = compose(scene, painted, backdrop)
    else:
        picture = lerp(backdrop, painted, 0.9 + 0.1 * scene.cover)
    contour = lines(flat, max(0.8, 1.1 * unit))
    if scene.plain:
        contour = np.maximum(contour, outline(scene.cover, 1.5 * unit))
    picture = lerp(picture, hexes("14101a"), contour[..., None])
    aged = 0.96 + 0.04 * clouds(height, width, 40 * unit, rng)[..., None]
    return picture * aged * (1.0, 0.965, 0.87) + 0.012 * paper(height, width, unit, rng)[..., None]


def _screen(amount: Array, pitch: float, angle: float) -> Array:
    """Halftone dots [H, W] of `pitch` px that cover about `amount` of the surface."""
    height, width = amount.shape
    columns = np.arange(width, dtype=np.float32)[None, :] * (2 * math.pi / pitch)
    rows = np.arange(height, dtype=np.float32)[:, None] * (2 * math.pi / pitch)
    cos, sin = math.cos(angle), math.sin(angle)
    wave = np.cos(columns * cos + rows * sin) * np.cos(rows * cos - columns * sin)
    return smoothstep(-0.22, 0.22, amount * 2 - 1 + wave * 0.9 - 0.05) * (amount > 0.04)


def chalk_drawing(scene: Scene, rng: Rng) -> Array:
    """Chalk on a board: light broken lines, pastel hatching, dust."""
    height, width = scene.luma.shape
    unit = scene.unit
    board = hexes(("23352c", "26282c", "22303f")[rng.integers(3)])[0]
    dust = clouds(height, width, 36 * unit, rng) * 0.6 + clouds(height, width, 9 * unit, rng) * 0.4
    ground = board + 0.085 * dust[..., None] + 0.012 * grain(height, width, rng)[..., None]
    tooth = paper(height, width, 0.8 * unit, rng)
    flat = smooth_regions(scene.subject, unit, 0.18)
    pastel = np.clip(0.35 + 0.75 * saturate(flat, 1.3), 0, 1)
    angle = rng.uniform(0.5, 1.0) * rng.choice([-1, 1])
    x, y = grid(height, width)
    stripes = np.sin((x * math.cos(angle) + y * math.sin(angle)) * 128 * 2 * math.pi / 4.6)
    body = scene.cover[..., 0] if scene.plain else np.ones_like(scene.luma)
    # Bright parts get more chalk, as on a real board; dark ones stay board.
    load = (0.16 + 0.62 * scene.luma) * body + 0.10 * stripes * body
    fill = smoothstep(0.25, 0.95, load + 0.22 * tooth) * body
    picture = lerp(ground, pastel, 0.62 * fill[..., None])
    sigma = max(0.7, 0.85 * unit)
    wobbly = warp(flat, 1.2 * unit, 10 * unit, rng)
    contour = np.maximum(lines(wobbly, sigma), 0.6 * lines(flat, sigma))
    if scene.plain:
        contour = np.maximum(contour, outline(scene.cover, 1.2 * unit))
    broken = contour * smoothstep(-1.2, 0.2, tooth + 0.9 * contour)
    picture = picture + 0.10 * blur(contour, 2.2 * unit)[..., None]
    chalk = lerp(pastel, 0.97, 0.72)
    return lerp(picture, chalk, 0.95 * broken[..., None])


def watercolor_painting(scene: Scene, rng: Rng) -> Array:
    """Full washes edge to edge: strong colours, blooms, hard dried rims, a ragged border."""
    height, width = scene.luma.shape
    unit = scene.unit
    hue = rng.random()
    washes = np.stack(
        [tone(hue, 0.55, 0.92), tone(hue + 0.12, 0.75, 0.75), tone(hue + 0.45, 0.5, 0.85)]
    )
    field = 0.6 * clouds(height, width, 42 * unit, rng) + 0.4 * clouds(height, width, 13 * unit, rng)
    backdrop = through(np.clip(1.4 * field - 0.2, 0, 1), washes)
    backdrop = backdrop * (0.82 + 0.3 * clouds(height, width, 20 * unit, rng))[..., None]
    vivid = saturate(scene.subject, 1.35) * 0.92
    picture = np.clip(compose(scene, vivid, backdrop), 0, 1).astype(np.float32)
    picture = warp(picture, 2.2 * unit, 8 * unit, rng)
    picture = _dabs(picture, unit)
    # Backruns: water pushes pigment into rings with a dark, feathered front.
    bloom = clouds(height, width, 22 * unit, rng) + 0.16 * clouds(height, width, 4 * unit, rng)
    front = smoothstep(0.50, 0.58, bloom) - smoothstep(0.58, 0.66, bloom)
    lifted = smoothstep(0.58, 0.85, bloom)
    grey = picture @ LUMA
    rim = np.clip((blur(grey, 2.4 * unit) - grey) * 2.4, 0, 0.4)
    rim = rim + 0.35 * lines(picture, max(0.7, 0.7 * unit))
    dark = 1 - 0.20 * front - 0.55 * rim
    picture = lerp(picture, 1.0, 0.16 * lifted[..., None]) * dark[..., None]
    picture = picture * (1 + 0.045 * paper(height, width, unit, rng)[..., None])
    x, y = grid(height, width)
    half_x, half_y = width / min(height, width) / 2, height / min(height, width) / 2
    inset = np.minimum(half_x - np.abs(x), half_y - np.abs(y))
    ragged = inset - 0.05 * clouds(height, width, 9 * unit, rng)
    border = smoothstep(0.0, 0.012, ragged)[..., None]
    return lerp(hexes("faf6ec") * np.ones_like(picture), picture, border)


def _dabs(picture: Array, unit: float) -> Array:
    """Broad brush dabs: each pixel takes the most even of its four neighbouring windows."""
    reach = max(3, round(3.2 * unit) | 1)
    mean = cv2.blur(picture, (reach, reach))
    grey = picture @ LUMA
    spread = cv2.blur(grey * grey, (reach, reach)) - cv2.blur(grey, (reach, reach)) ** 2
    half = reach // 2
    best, least = mean, spread
    for dy, dx in ((-half, -half), (-half, half), (half, -half), (half, half)):
        moved = np.roll(spread, (dy, dx), (0, 1))
        take = moved < least
        best = np.where(take[..., None], np.roll(mean, (dy, dx), (0, 1)), best)
        least = np.where(take, moved, least)
    return best


def digital_art(scene: Scene, rng: Rng) -> Array:
    """A glossy render: rounded forms, soft shadows, highlights, neon rim, graded backdrop."""
    height, width = scene.luma.shape
    unit = scene.unit
    hue = rng.random()
    near, far = tone(hue, 0.55, 0.95), tone(hue + rng.uniform(0.12, 0.3), 0.75, 0.45)
    x, y = grid(height, width)
    slope = np.clip(0.5 + x * rng.uniform(-0.5, 0.5) + y * 0.8, 0, 1)
    backdrop = lerp(near, far, slope[..., None])
    backdrop = backdrop + 0.16 * np.exp(-((x * x + (y + 0.1) ** 2) * 7))[..., None]
    flat = smooth_regions(scene.subject, unit, 0.16)
    normal_x, normal_y, normal_z = _inflate(scene, flat)
    side = rng.choice([-1.0, 1.0])
    light = np.array([0.45 * side, -0.65, 0.62])
    facing = normal_x * light[0] + normal_y * light[1] + normal_z * light[2]
    shade = 0.52 + 0.62 * np.clip(facing, -0.4, 1)
    half = light + (0, 0, 1)
    half = half / np.linalg.norm(half)
    mirror = np.clip(normal_x * half[0] + normal_y * half[1] + normal_z * half[2], 0, 1)
    gloss = mirror**26
    painted = saturate(flat, 1.25) * shade[..., None]
    painted = painted + (1 - shade)[..., None].clip(0) * far * 0.25
    painted = painted + 0.55 * gloss[..., None]
    rim = np.clip(1 - normal_z, 0, 1) ** 2 * smoothstep(0.0, 0.8, -facing + 0.35)
    neon = tone(hue + 0.5, 0.75, 1.0)
    painted = painted + 0.75 * rim[..., None] * neon
    if scene.plain:
        cast = np.roll(blur(scene.cover[..., 0], 5 * unit), round(5 * unit), 0)
        backdrop = backdrop * (1 - 0.45 * cast[..., None])
        glow = blur(scene.cover[..., 0], 3 * unit)
        backdrop = backdrop + 0.22 * glow[..., None] * neon
    picture = compose(scene, painted, backdrop)
    bright = np.clip(picture - 0.75, 0, 1)
    return picture + 0.8 * blur(bright.astype(np.float32), 4 * unit)


def _inflate(scene: Scene, flat: Array) -> tuple[Array, Array, Array]:
    """Unit normals [H, W] each of a surface that bulges over the subject and its parts."""
    unit = scene.unit
    luma = flat @ LUMA
    height = 9 * unit * blur(luma, 1.6 * unit)
    if scene.plain:
        solid = (scene.cover[..., 0] > 0.5).astype(np.uint8)
        depth = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
        reach = max(4.0, 20 * unit)
        inner = np.clip(depth / reach, 0, 1)
        dome = np.sqrt(np.clip(1 - (1 - inner) ** 2, 0, 1)) * reach * 0.85
        height = height + blur(dome, 1.8 * unit)
    parts = 1 - lines(flat, max(0.7, 0.9 * unit))
    height = height + 2.2 * unit * blur(parts, 1.6 * unit)
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) / 8
    dy = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) / 8
    length = np.sqrt(dx * dx + dy * dy + 1)
    return -dx / length, -dy / length, 1 / length


def cartoon_style(scene: Scene, rng: Rng) -> Array:
    """Flat bright colours, two-tone shade, bold contours, a simple landscape."""
    height, width = scene.luma.shape
    unit = scene.unit
    flat = scene.subject
    for _ in range(2):
        flat = smooth_regions(flat, unit, 0.22)
    grey = flat @ LUMA
    steps = np.clip((np.floor(grey * 5) + smoothstep(0.35, 0.65, grey * 5 % 1)) / 5, 0, 1)
    painted = flat * ((steps + 0.08) / (grey + 0.08))[..., None]
    painted = np.clip(saturate(painted, 1.5) * 1.06, 0, 1)
    if scene.plain:
        shift = round(6 * unit)
        moved = np.roll(scene.cover[..., 0], (-shift, -shift), (0, 1))
        painted = painted * (1 - 0.24 * (1 - smoothstep(0.3, 0.7, moved)))[..., None]
    picture = compose(scene, painted, _landscape(height, width, unit, rng))
    if not scene.plain:
        picture = lerp(picture, painted, 0.7)
    contour = lines(flat, max(0.9, 1.35 * unit))
    if scene.plain:
        contour = np.maximum(contour, outline(scene.cover, 2.2 * unit))
    return lerp(picture, hexes("120f16"), smoothstep(0.2, 0.7, contour)[..., None])


def _landscape(height: int, width: int, unit: float, rng: Rng) -> Array:
    """Flat sky, clouds and hills [H, W, 3]."""
    x, _ = grid(height, width)
    depth = down(height, width)
    skies = ("8fd8ff", "b8a6ff", "ffd3a0", "9ff0e0")
    hills = ("7ed957", "4fc47a", "ffcf5c", "f58fb0")
    sky = hexes(skies[rng.integers(4)])[0]
    hill = hexes(hills[rng.integers(4)])[0]
    picture = np.ones((height, width, 3), np.float32) * sky
    centres = scatter(max(1, height // 2), width, 4, rng)
    puffs = np.concatenate([centres + (dx * unit, abs(dx) * 0.3 * unit) for dx in (-8, 0, 8)])
    white = dots(height, width, puffs, np.repeat([6.5, 9, 6.5], 4) * unit)
    picture = lerp(picture, 1.0, 0.95 * white[..., None])
    for base, dim in ((0.70, 1.0), (0.82, 0.8)):
        ridge = base + 0.05 * np.sin(x * rng.uniform(4, 8) + rng.uniform(0, 6))
        picture = lerp(picture, hill * dim, smoothstep(0, 0.012, depth - ridge)[..., None])
    return picture


__all__ = [
    "cartoon_style",
    "chalk_drawing",
    "digital_art",
    "graffiti",
    "retro_comic",
    "watercolor_painting",
]
