"""What each prompt of GenMix means to a network that knows 26 paintings by number.

The network (Dumoulin et al., arXiv 1610.07629) was published without the paintings' names. The
blends were put together by looking at each style on photographs and on drawings. Style 17 is
in none: it weaves over the picture until nothing of it is left.
"""

from __future__ import annotations

import numpy as np

from genmix_aug.seeding import hash_seed

STYLES = 26
LEAST_STRENGTH = 0.7  # of the stylised picture where it is laid over the original

BLENDS: dict[str, dict[int, float]] = {
    "autumn": {0: 0.4, 10: 0.4, 11: 0.2},
    "snowy": {14: 0.6, 2: 0.4},
    "sunset": {20: 0.35, 4: 0.4, 0: 0.25},
    "watercolor art": {2: 0.5, 12: 0.5},
    "rainbow": {8: 0.4, 5: 0.3, 13: 0.3},
    "aurora": {16: 0.5, 19: 0.3, 6: 0.2},
    "mosaic": {15: 0.7, 9: 0.3},
    "ukiyo-e": {24: 0.8, 18: 0.2},
    "a sketch with crayon": {11: 0.6, 8: 0.4},
    "graffiti": {3: 0.3, 7: 0.3, 21: 0.4},
    "retro comic": {21: 0.7, 1: 0.3},
    "chalk drawing": {6: 0.45, 9: 0.2, 14: 0.35},
    "watercolor painting": {12: 0.6, 0: 0.4},
    "digital art": {25: 0.4, 19: 0.3, 13: 0.3},
    "cartoon style": {21: 0.4, 22: 0.3, 2: 0.3},
}


def drawn_blend(prompt: str, seed: int) -> tuple[np.ndarray, float]:
    """Return weights float32 [26] that sum to 1, and a strength in [0.7, 1], drawn by the seed.

    Each weight of the prompt's blend is drawn from 0.5 to 1.5 times what the table says.
    """
    rng = np.random.default_rng(hash_seed("neural_style", prompt, seed))
    weights = np.zeros(STYLES, np.float32)
    for style, weight in BLENDS[prompt].items():
        weights[style] = weight * rng.uniform(0.5, 1.5)
    return weights / weights.sum(), rng.uniform(LEAST_STRENGTH, 1.0)
