"""The fifteen style prompts of GenMix (arXiv 2412.02366), and drawing them for an image."""

from __future__ import annotations

from collections.abc import Sequence

from genmix_aug.seeding import hash_seed

IN_DOMAIN = (
    "autumn",
    "snowy",
    "sunset",
    "watercolor art",
    "rainbow",
    "aurora",
    "mosaic",
    "ukiyo-e",
    "a sketch with crayon",
)
CROSS_DOMAIN = (
    "graffiti",
    "retro comic",
    "chalk drawing",
    "watercolor painting",
    "digital art",
    "cartoon style",
)
PROMPT_SETS = {
    "in-domain": IN_DOMAIN,
    "cross-domain": CROSS_DOMAIN,
    "all": IN_DOMAIN + CROSS_DOMAIN,
}
TEMPLATE = "A transformed version of image into {prompt}"


def parse_prompts(text: str) -> tuple[str, ...]:
    """The prompts that a set's name, or a list separated by commas, stands for.

    Raises:
        ValueError: no prompt in it.
    """
    if text in PROMPT_SETS:
        return PROMPT_SETS[text]
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not chosen:
        raise ValueError(f"no prompt in {text!r}: name a set ({', '.join(PROMPT_SETS)}) or prompts")
    return chosen


def check_prompts(prompts: Sequence[str], known: Sequence[str]) -> None:
    """Refuses prompts that an editor does not know.

    Args:
        known: all that it knows; empty for an editor that takes any text.

    Raises:
        ValueError: names the first unknown prompt and the choices.
    """
    if known and (unknown := [prompt for prompt in prompts if prompt not in known]):
        choices = ", ".join((*PROMPT_SETS, *known))
        raise ValueError(f"unknown prompt {unknown[0]!r}: choose from {choices}")


def full_prompt(prompt: str) -> str:
    """The sentence that a text-guided editor is given for a short prompt such as "snowy"."""
    return TEMPLATE.format(prompt=prompt)


def prompts_for_image(
    image_key: str, prompts: Sequence[str], count: int, seed: int = 0
) -> list[str]:
    """`count` prompts for one image, none twice before every one was used once.

    The order is decided by hashing (seed, image_key, prompt), so it depends neither on other
    images nor on the order of `prompts`, and a larger `count` keeps the earlier choices.

    Raises:
        ValueError: `prompts` is empty or names one twice, or `count` is negative.
    """
    if not prompts:
        raise ValueError("no prompts to choose from")
    if len(set(prompts)) != len(prompts):
        raise ValueError(f"a prompt is named twice: {', '.join(prompts)}")
    if count < 0:
        raise ValueError(f"count must be 0 or more, not {count}")
    chosen: list[str] = []
    turn = 0
    while len(chosen) < count:
        ranks = {name: hash_seed("prompt", seed, image_key, turn, name) for name in prompts}
        chosen += sorted(prompts, key=ranks.__getitem__)
        turn += 1
    return chosen[:count]
