"""Which edits an image gets, and the command that makes them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from genmix_aug.edits.keys import Request
from genmix_aug.edits.store import EditStore
from genmix_aug.prompts import PROMPT_SETS, prompts_for_image
from genmix_aug.seeding import hash_seed


@dataclass(frozen=True)
class EditPlan:
    """Which edits every image gets.

    Prompts and seeds depend on image content and `seed` alone, not on names or order: whoever
    asks for edits of the same pictures asks for the same edits. A larger `per_image` keeps the
    earlier requests.

    Args:
        prompts: Short prompts to choose from.
        per_image: Edits of each image, 0 or more, under different prompts while they last.
        fingerprint: The editor's, see `Editor.fingerprint`.
        seed: Decides the choice of prompts and the variations.
        square_px: The side of the squares that image files are read as; 0 reads them as they are.

    Raises:
        ValueError: No prompts, a prompt named twice, or `per_image` negative.
    """

    prompts: tuple[str, ...]
    per_image: int
    fingerprint: str
    seed: int = 0
    square_px: int = 0

    def __post_init__(self) -> None:
        self.requests([""])  # refuses prompts and numbers that cannot be

    def requests(self, digests: Sequence[str]) -> list[Request]:
        """Return the requests for edits of images, by the `image_digest` of each."""
        return [
            Request(index, prompt, hash_seed("edit", self.seed, digest, number))
            for index, digest in enumerate(digests)
            for number, prompt in enumerate(
                prompts_for_image(digest, self.prompts, self.per_image, self.seed)
            )
        ]

    def served_keys(self, store: EditStore, digest: str) -> list[str]:
        """Return the keys of an image's accepted edits; none where screening rejected all.

        Raises:
            MissingEditError: An edit has not been made.
        """
        served = [
            store.served(digest, request.prompt, request.seed, self.fingerprint)
            for request in self.requests([digest])
        ]
        return [key for key in served if key is not None]

    def command(self, folder: str, store: EditStore) -> str:
        """Return the `genmix edit` that makes these edits of a folder, its editor aside."""
        sets = [name for name, members in PROMPT_SETS.items() if set(members) == set(self.prompts)]
        words = ["genmix", "edit", folder, "--store", str(store.root)]
        words += ["--prompts", sets[0] if sets else ",".join(self.prompts)]
        words += ["--per-image", str(self.per_image)]
        words += ["--seed", str(self.seed)] if self.seed else []
        words += ["--square-px", str(self.square_px)] if self.square_px else []
        return shlex.join(words)
