"""The edits that a store serves of an image, and the command that makes those it lacks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from genmix_aug.edits.plan import plan_edits
from genmix_aug.edits.store import EditStore
from genmix_aug.prompts import PROMPT_SETS


def served_keys(
    store: EditStore,
    digest: str,
    prompts: Sequence[str],
    per_image: int,
    seed: int,
    fingerprint: str,
) -> list[str]:
    """The keys of an image's accepted edits; none where screening rejected all of them.

    Args:
        digest: `image_digest` of the image.
        prompts, per_image, seed: as the edits were planned (`plan_edits`).
        fingerprint: of the editor.

    Raises:
        MissingEditError: one has not been made.
    """
    requests = plan_edits([digest], prompts, per_image, seed)
    served = [store.served(digest, prompt, own, fingerprint) for _, prompt, own in requests]
    return [key for key in served if key is not None]


def edit_command(
    folder: str,
    store: EditStore,
    prompts: Sequence[str],
    per_image: int,
    seed: int = 0,
    square_px: int = 0,
) -> str:
    """The `genmix edit` that makes these edits of the images in `folder`, its editor aside."""
    sets = [name for name, members in PROMPT_SETS.items() if set(members) == set(prompts)]
    words = ["genmix", "edit", folder, "--store", str(store.root)]
    words += ["--prompts", sets[0] if sets else ",".join(prompts), "--per-image", str(per_image)]
    words += ["--seed", str(seed)] if seed else []
    words += ["--square-px", str(square_px)] if square_px else []
    return shlex.join(words)
