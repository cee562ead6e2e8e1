"""The fifteen style prompts of GenMix (arXiv 2412.02366), and drawing them for an image."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

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


def parse_prompts(words: str | Sequence[str]) -> tuple[str, ...]:
    """Return the prompts that a text, or a sequence of texts, stands for.

    Args:
        words: A set's name, a prompt, or several of them in any mixture, separated by commas if
            they are a single text. Sets are known whatever their case and with "_", a space or
            nothing for "-"; in a text what is named twice counts once.

    Raises:
        ValueError: No prompt in it, or what can only be a misspelt set.
    """
    parts = words.split(",") if isinstance(words, str) else words
    chosen = [prompt for part in parts if part.strip() for prompt in _meant(part.strip())]
    if not chosen:
        raise ValueError(
            f"no prompt in {words!r}: name a set ({', '.join(PROMPT_SETS)}) or prompts"
        )
    return tuple(dict.fromkeys(chosen) if isinstance(words, str) else chosen)


def _meant(part: str) -> tuple[str, ...]:
    """Return the prompts of a set, or the prompt itself."""
    bare = "".join(letter for letter in part.lower() if letter not in "-_ ")
    sets = {name.replace("-", ""): name for name in PROMPT_SETS}
    if bare in sets:
        return PROMPT_SETS[sets[bare]]
    # A word such as "altar" is a prompt; what is this close to a set's long name is not.
    if near := get_close_matches(bare, [name for name in sets if len(name) > 5], 1, 0.8):
        raise ValueError(f"prompt {part!r}: is the set {sets[near[0]]} meant? Write it so")
    return (part,)


def check_prompts(prompts: Sequence[str], known: Sequence[str]) -> None:
    """Refuse prompts that an editor does not know.

    Args:
        prompts: The prompts to check.
        known: All that it knows; empty for an editor that takes any text.

    Raises:
        ValueError: Names the first unknown prompt and the choices.
    """
    if known and (unknown := [prompt for prompt in prompts if prompt not in known]):
        choices = ", ".join((*PROMPT_SETS, *known))
        raise ValueError(f"unknown prompt {unknown[0]!r}: choose from {choices}")


def full_prompt(prompt: str, template: str = TEMPLATE) -> str:
    """Return the sentence that a text-guided editor reads for a short prompt such as "snowy"."""
    return template.format(prompt=prompt)


def prompts_for_image(
    image_key: str, prompts: Sequence[str], count: int, seed: int = 0
) -> list[str]:
    """Return `count` prompts for an image, none twice before each was used once.

    The order is decided by hashing (seed, image_key, prompt), so it depends neither on other
    images nor on the order of `prompts`, and a larger `count` keeps the earlier choices.

    Raises:
        ValueError: `prompts` is empty or names a prompt twice, or `count` is negative.
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
