"""Fixtures that several test files use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from uda.data.emoji_home import build as emoji_home

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(scope="session")
def emoji_home_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EmojiHome itself, of the default settings: the repository's, built if it is not there yet."""
    root = DATA / "emoji_home"
    try:
        try:
            emoji_home.build(root, progress=False)
        except ValueError:  # the user's own, of other settings: leave it alone
            root = tmp_path_factory.mktemp("data") / "emoji_home"
            emoji_home.build(root, progress=False, cache=DATA / ".emoji_home_packages")
    except ConnectionError as error:
        pytest.skip(f"EmojiHome's packages cannot be fetched: {error}")
    return root


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real InstructPix2Pix pipeline of small random modules, as diffusers saves it."""
    from helpers.tiny_pipeline import save_tiny_pipeline  # diffusers takes seconds to import

    return save_tiny_pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """Nothing waits for the disk: what a machine that loses its power keeps is not tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)
        yield
