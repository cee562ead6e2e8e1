"""Draw other vendors' pictures of EmojiHome's emoji, which stand for perfect edits.

No editor has these drawings: with them GenMix is an oracle, which says how much a better editor
could gain. The vendors are none of EmojiHome's. Their icons are found by Twemoji's icon names.

python scripts/oracle_drawings.py [--root data/emoji_home] [--out data/oracle_drawings]
uda sweep configs/experiments/emoji_home_editors.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genmix_aug.contact_sheet import save_png
from genmix_aug.progress import show_progress
from uda.data.emoji_home.build import draw, license_text
from uda.data.emoji_home.packages import (
    DEFAULT_DOMAINS,
    DOMAINS,
    Drawing,
    DrawingSet,
    fetch,
    icon_drawings,
    read_package,
)
from uda.runs.files import write_text

VENDORS = {
    "EmojiOne": DrawingSet(
        "@iconify-json/emojione",
        "1.2.3",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
    ),
    "EmojiOneV1": DrawingSet(
        "@iconify-json/emojione-v1",
        "1.2.3",
        "UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww==",
    ),
    "FirefoxOS": DrawingSet(
        "@iconify-json/fxemoji",
        "1.2.2",
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
    ),
    "EmojiOneMonotone": DrawingSet(
        "@iconify-json/emojione-monotone",
        "1.2.1",
        "cZSNcPsuiAD6HCzCh/2dYKGh3pNI0jJlxBxQWfC33cQsPtqYZqulGBvlkThXYNvDl8VxgVHT9u+izyX/yeEIkA==",
    ),
}


def vendor_drawings(icons: dict[str, Any], names: dict[str, str]) -> dict[str, Drawing]:
    """Return the drawing of each codepoint in icons.json, by the icons' names without hyphens."""
    icons = dict(icons)
    icons["icons"] = {name.replace("-", ""): icon for name, icon in icons["icons"].items()}
    icons["aliases"] = {
        name.replace("-", ""): {**alias, "parent": alias["parent"].replace("-", "")}
        for name, alias in icons.get("aliases", {}).items()
    }
    plain = {codepoint: name.replace("-", "") for codepoint, name in names.items()}
    return icon_drawings(icons, plain)


def main() -> None:
    """Write OUT/DOMAIN/CLASS/CODEPOINT/VENDOR.png, the same for all domains, and the licences."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=Path("data/emoji_home"))
    parser.add_argument("--out", type=Path, default=Path("data/oracle_drawings"))
    options = parser.parse_args()
    emoji = sorted((options.root / "Twemoji").glob("*/*.png"))
    if not emoji:
        raise SystemExit(
            f"--root: {options.root} holds no EmojiHome; `uda data emoji-home` does it"
        )
    cache = options.root.resolve().with_name(".emoji_home_packages")
    cache.mkdir(exist_ok=True)
    tarballs = fetch({"Twemoji": DOMAINS["Twemoji"], **VENDORS}, cache)
    names = read_package(tarballs["Twemoji"])[0]["chars.json"]
    for vendor, drawn_by in VENDORS.items():
        texts, _ = read_package(tarballs[vendor])
        drawings = vendor_drawings(texts["icons.json"], names)
        for path in show_progress(emoji, desc=vendor, unit="img"):
            if path.stem not in drawings:
                continue
            out = options.out / "Twemoji" / path.parent.name / path.stem / f"{vendor}.png"
            out.parent.mkdir(parents=True, exist_ok=True)
            save_png(draw(drawings[path.stem], 128), out)
        write_text(options.out / f"LICENSE.{vendor}.txt", license_text(drawn_by, texts, 128))
    for domain in DEFAULT_DOMAINS:
        if not (options.out / domain).exists():
            (options.out / domain).symlink_to("Twemoji", target_is_directory=True)
    pictures = list(options.out.glob("Twemoji/*/*/*.png"))
    drawn = {path.parent for path in pictures}
    print(f"{options.out}: {len(pictures):,} drawings of {len(drawn)} of {len(emoji):,} emoji")


if __name__ == "__main__":
    main()
