"""Three small made-up drawing sets instead of EmojiHome's packages."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from uda.data.emoji_home import build as emoji_home
from uda.data.emoji_home import packages as emoji_packages
from uda.data.emoji_home.packages import DrawingSet

CLASSES = {
    "0031-20e3": "keycap",
    "1f40b": "whale",
    "1f433": "whale",
    "1f5ff": "stone",
    "1f600": "face",
    "1f601": "face",
    "2764": "heart",
}


def rectangle(x: float, y: float, width: float, height: float, colour: str = "#123456") -> str:
    return f'<path fill="{colour}" d="M{x} {y}h{width}v{height}h-{width}z"/>'


# Domain A draws 1f433 as 1f40b; B does not draw 1f5ff; C has image files, one of them with fe0f.
SMALL_ICONS = {
    "A": {
        "prefix": "a",
        "width": 20,
        "height": 20,
        "icons": {
            "one": {"body": rectangle(1, 1, 18, 18)},
            "whale": {"body": rectangle(2, 8, 16, 4)},
            "spouting": {"body": "<g/>" + rectangle(2, 8, 16, 4)},
            "moai": {"body": rectangle(8, 2, 4, 16)},
            "grin": {"body": '<circle cx="10" cy="10" r="9" fill="#fc0"/>'},
            "heart": {"body": '<path fill="red" d="M2 2h16L10 18z"/>'},
        },
        "aliases": {"beam": {"parent": "heart", "rotate": 1}},
    },
    "B": {
        "prefix": "b",
        "icons": {
            "n1": {"body": rectangle(0, 0, 16, 16, "#00f")},
            "n2": {"body": rectangle(0, 0, 16, 5, "#00f")},
            "n3": {"body": rectangle(0, 0, 5, 16, "#00f")},
            "n4": {"body": '<circle cx="8" cy="8" r="7" fill="#00f"/>'},
            "n5": {"body": '<ellipse cx="8" cy="8" rx="7" ry="4" fill="#00f"/>'},
            "n6": {"body": '<path fill="#00f" d="M2 2h12L8 14z"/>'},
        },
    },
}
SMALL_CHARS = {
    "A": {
        "0031-fe0f-20e3": "one",
        "1f40b": "whale",
        "1f433": "spouting",
        "1f5ff": "moai",
        "1f600": "grin",
        "1f601": "beam",
        "2764": "heart",
        "1f9ff": "nobody",
    },
    "B": {
        "0031-20e3": "n1",
        "1f40b": "n2",
        "1f433": "n3",
        "1f600": "n4",
        "1f601": "n5",
        "2764-fe0f": "n6",
    },
}
LICENSES = {
    "A": {"title": "CC BY-SA 4.0", "spdx": "CC-BY-SA-4.0", "url": "https://example.org/sa"},
    "B": {"title": "Apache 2.0", "spdx": "Apache-2.0", "url": "https://example.org/apache"},
}


def write_tarball(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def webp(draw_box: tuple[int, int, int, int], size: tuple[int, int] = (64, 60)) -> bytes:
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    image.paste((200, 30, 90, 255), draw_box)
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True)
    return file.getvalue()


def small_packages(cache: Path) -> dict[str, DrawingSet]:
    """Three small made-up drawing sets A, B and C, already fetched into `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    files: dict[str, dict[str, bytes]] = {}
    for name, icons in SMALL_ICONS.items():
        info = {"name": f"Set {name}", "author": {"name": "Ann", "url": "https://example.org"}}
        parts = {
            "package.json": {"name": f"@x/{name}", "version": "1.0.0", "license": "see info"},
            "info.json": {**info, "license": LICENSES[name]},
            "icons.json": icons,
            "chars.json": SMALL_CHARS[name],
        }
        files[name] = {part: json.dumps(content).encode() for part, content in parts.items()}
    package = {"name": "@x/C", "version": "1.0.0", "license": "MIT", "author": "Lob <l@x.org>"}
    files["C"] = {"package.json": json.dumps(package).encode()}
    for number, code in enumerate(CLASSES):
        stem = {"2764": "2764-fe0f", "0031-20e3": "0031-FE0F-20E3"}.get(code, code)
        files["C"][f"assets/{stem}.webp"] = webp((5, 5, 20 + 5 * number, 40))
    sets = {}
    for name in files:
        drawn = DrawingSet(f"@x/{name}", "1.0.0", "", "Credit where due" if name == "C" else "")
        path = cache / drawn.tarball
        if not path.exists():
            write_tarball(path, files[name])
        digest = hashlib.sha512(path.read_bytes()).digest()
        sets[name] = dataclasses.replace(drawn, sha512=base64.b64encode(digest).decode())
    return sets


def use_sets(monkeypatch: pytest.MonkeyPatch, sets: dict[str, DrawingSet]) -> None:
    for module in (emoji_home, emoji_packages):
        monkeypatch.setattr(module, "DOMAINS", sets)


def use_small_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to build in, where the three made-up sets stand for the real ones."""
    use_sets(monkeypatch, small_packages(tmp_path / ".emoji_home_packages"))
    monkeypatch.setattr(emoji_home, "codepoint_classes", lambda: dict(CLASSES))
    return tmp_path / "emoji_home"


def build_small(root: Path, **options: object) -> None:
    settings: dict = {"domains": ("A", "B", "C"), "image_px": 32, "workers": 1, "progress": False}
    emoji_home.build(root, **{**settings, **options})
