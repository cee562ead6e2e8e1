from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.small_emoji import (
    CLASSES,
    SMALL_ICONS,
    build_small,
    rectangle,
    small_packages,
    use_sets,
    use_small_packages,
    webp,
)
from PIL import Image

from uda.data.emoji_home import build as emoji_home
from uda.data.emoji_home import packages as emoji_packages
from uda.data.emoji_home.packages import Drawing

# Pixels of the default EmojiHome with resvg_py 0.5.0 on x86_64, as first built. Other machines may
# round a few pixels otherwise.
PINNED = {"resvg_py": "0.5.0", "machine": "x86_64"}
PINNED_PIXELS = "5c72031c1d25b2e7b4fe5e86d9955fc9bb380e14a96284fa00f51e1c07fa1fbf"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_small_packages(tmp_path, monkeypatch)


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def ink_box(image: Image.Image) -> tuple[int, int, int, int]:
    ink = (255 - np.asarray(image).astype(int)).max(2) > 128
    ys, xs = np.nonzero(ink)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


def icon(body: str, width: float = 16, height: float = 16) -> Drawing:
    icons = {"icons": {"x": {"body": body, "width": width, "height": height}}}
    return emoji_packages.icon_drawings(icons, {"1f600": "x"})["1f600"]


def test_every_codepoint_has_one_of_57_classes() -> None:
    classes = emoji_home.codepoint_classes()
    assert len(classes) == 1242
    assert len(set(classes.values())) == 57
    assert all(code == emoji_packages.plain_codepoint(code) for code in classes)


@pytest.mark.parametrize(
    ("box", "canvas"),
    [
        ((0, 0, 16, 16), (16, 16)),
        ((5, 9, 3, 2), (16, 16)),
        ((5, 1, 2, 14), (16, 16)),
        ((0, 3, 36, 20), (36, 25.2)),
        ((40, 10, 7, 5), (64, 32)),
    ],
)
@pytest.mark.parametrize("image_px", [32, 61, 128])
def test_crop_leaves_the_margin_and_keeps_the_aspect(
    box: tuple[int, int, int, int], canvas: tuple[float, float], image_px: int
) -> None:
    image = emoji_home.draw(icon(rectangle(*box), *canvas), image_px)
    assert (image.size, image.mode) == ((image_px, image_px), "RGB")
    longer_px = image_px / (1 + 2 * emoji_home.MARGIN)
    width_px, height_px = (longer_px * side / max(box[2:]) for side in box[2:])
    middle = image_px / 2
    expected = [middle - width_px / 2, middle - height_px / 2]
    expected += [middle + width_px / 2, middle + height_px / 2]
    # half a pixel on either side from rounding to whole pixels, and a hair of the drawing's edge
    np.testing.assert_allclose(ink_box(image), expected, atol=1.5)


def test_padded_drawings_are_as_sharp_as_full_ones() -> None:
    full = emoji_home.draw(icon(rectangle(0, 0, 16, 16, "#000")), 64)
    padded = emoji_home.draw(icon(rectangle(7, 7, 4, 4, "#000"), 64, 64), 64)
    for image in (full, padded):
        row = np.asarray(image)[32, :, 0]
        assert ((row > 40) & (row < 215)).sum() <= 4  # two edges


@pytest.mark.parametrize(
    ("h_flip", "v_flip", "turns"), list(itertools.product([False, True], [False, True], range(4)))
)
def test_flips_come_before_clockwise_turns(h_flip: bool, v_flip: bool, turns: int) -> None:
    plain = icon('<path fill="#f00" d="M0 0h16v4H4v4H0z"/>')
    turned = dataclasses.replace(plain, h_flip=h_flip, v_flip=v_flip, quarter_turns=turns)
    expected = np.asarray(emoji_home.draw(plain, 32))
    if h_flip:
        expected = expected[:, ::-1]
    if v_flip:
        expected = expected[::-1]
    expected = np.rot90(expected, -turns)
    np.testing.assert_array_equal(np.asarray(emoji_home.draw(turned, 32)), expected)


def test_image_files_are_put_on_white_and_cropped() -> None:
    image = emoji_home.draw(Drawing(webp((10, 20, 30, 60), (64, 70))), 58)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((29, 29)) == (200, 30, 90)
    np.testing.assert_allclose(ink_box(image), [16.5, 4, 41.5, 54], atol=1)


@pytest.mark.parametrize(
    "drawing",
    [icon("<g/>"), icon(rectangle(2, 2, 9, 9, "#fff")), Drawing(webp((0, 0, 0, 0)))],
    ids=["no shape", "white", "transparent"],
)
def test_an_empty_drawing_is_an_error(drawing: Drawing) -> None:
    with pytest.raises(ValueError, match="empty"):
        emoji_home.draw(drawing, 32)


def test_drawn_twice_keeps_the_first() -> None:
    # c is left out as B's a; d would be A's c, which is gone already, so d stays
    rows = {"a": "1 7", "b": "2 8", "c": "3 7", "d": "3 9", "e": "2 8"}
    digests = {
        (name, code): row.split()[k] for code, row in rows.items() for k, name in enumerate("AB")
    }
    assert emoji_home.drawn_twice(list(rows), digests) == {
        "c": "B draws it as a",
        "e": "A draws it as b, B draws it as b",
    }


def test_build_lays_out_domains_classes_and_licences(small: Path) -> None:
    build_small(small)
    emoji_home.check(small)
    kept = [code for code in CLASSES if code not in ("1f433", "1f5ff")]
    images = {f"{n}/{CLASSES[code]}/{code}.png" for n in "ABC" for code in kept}
    assert set(tree(small)) == images | {f"{n}/LICENSE.txt" for n in "ABC"} | {"emoji_home.json"}
    for path in images:
        with Image.open(small / path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (32, 32))
    mark = json.loads((small / "emoji_home.json").read_text())
    assert mark["counts"]["B"] == {"face": 2, "heart": 1, "keycap": 1, "whale": 1}
    assert mark["drawn_twice"] == {"1f433": "A draws it as 1f40b"}
    share_alike, apache, mit = ((small / n / "LICENSE.txt").read_text() for n in "ABC")
    for text in ("Set A", "Ann", "CC-BY-SA-4.0", "https://example.org/sa", "@x/A 1.0.0"):
        assert text in share_alike
    assert "ShareAlike" in share_alike
    assert "ShareAlike" not in apache
    assert "Lob <l@x.org>" in mit
    assert "Credit where due" in mit


def test_fewer_domains_have_more_codepoints_in_common(small: Path) -> None:
    build_small(small, domains=["C"])
    mark = json.loads((small / "emoji_home.json").read_text())
    assert sum(mark["counts"]["C"].values()) == len(CLASSES)


def test_same_bytes_twice_and_with_other_workers(small: Path) -> None:
    build_small(small)
    for number, options in enumerate([{}, {"workers": 2}, {"domains": ("C", "A", "B")}]):
        again = small.with_name(f"again{number}")
        build_small(again, **options)
        assert tree(again) == tree(small)


def test_a_whole_folder_is_left_as_it_is(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small.mkdir()  # an empty folder is as good as none
    build_small(small)
    before = {p: p.stat().st_mtime_ns for p in small.rglob("*")}
    monkeypatch.setattr(emoji_home, "fetch", None)
    build_small(small, progress=True)
    assert "already whole" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in small.rglob("*")} == before


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from helpers import small_emoji as t
from uda.data.emoji_home import build as emoji_home, packages as emoji_packages
root = Path({root!r})
sets = t.small_packages(root.with_name(".emoji_home_packages"))
emoji_home.DOMAINS = emoji_packages.DOMAINS = sets
emoji_home.codepoint_classes = lambda: dict(t.CLASSES)
calls = 0
original = {where}
def die(*args, **options):
    global calls
    calls += 1
    if calls == {call}:
        os._exit(9)
    return original(*args, **options)
{where} = die
t.build_small(root)
"""


MARKED = 4  # files are written whole: three licences, then the mark


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("emoji_home._draw_one", 8),
        ("emoji_home.write_text", MARKED),
        ("os.replace", MARKED),
        ("Path.rename", 1),
    ],
)
def test_a_killed_build_is_never_taken_for_a_whole_one(small: Path, where: str, call: int) -> None:
    script = KILLED.format(
        tests=str(Path(__file__).parents[2]), root=str(small), where=where, call=call
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert killed.returncode == 9
    assert not small.exists()
    assert list(small.parent.glob(".emoji_home.partial-*"))
    with pytest.raises(ValueError, match="not a whole EmojiHome folder"):
        emoji_home.check(small)
    build_small(small)
    emoji_home.check(small)
    assert not list(small.parent.glob(".emoji_home.partial-*"))


def test_the_workers_of_a_killed_build_end_too(small: Path) -> None:
    script = KILLED.format(
        tests=str(Path(__file__).parents[2]), root=str(small), where="str", call=0
    )
    script = script[: script.index("calls = 0")] + (
        "emoji_home.show_progress = lambda drawn, **options: (os._exit(9) for _ in drawn)\n"
        "t.build_small(root, workers=2)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    # returns once nobody holds its standard output any more, the workers neither
    killed = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == 9


@pytest.mark.parametrize("workers", [1, 2])
def test_a_drawing_that_fails_is_named_and_leaves_nothing(
    small: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setitem(SMALL_ICONS["B"]["icons"], "n4", {"body": "<oops"})
    cache = small.with_name("broken")
    use_sets(monkeypatch, small_packages(cache))
    with pytest.raises(RuntimeError, match=r"B/face/1f600\.png: the vendor's drawing"):
        build_small(small, workers=workers, cache=cache)
    assert not small.exists()
    assert not list(small.parent.glob(".emoji_home.partial-*"))


def test_two_builders_at_once(small: Path) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            build_small(small)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    emoji_home.check(small)


def test_a_folder_of_something_else_is_left_alone(small: Path) -> None:
    small.mkdir()
    (small / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not EmojiHome"):
        build_small(small)
    assert tree(small) == {"thesis.txt": b"mine"}
    file = small.with_name("file")
    file.write_text("mine")
    with pytest.raises(ValueError, match="exists and is not EmojiHome"):
        build_small(file)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "key"), [({"image_px": 64}, "image_px"), ({"domains": ("A", "B")}, "domains")]
)
def test_a_folder_of_other_settings_is_left_alone(small: Path, options: dict, key: str) -> None:
    build_small(small)
    before = tree(small)
    with pytest.raises(ValueError, match=f"other settings \\({key} is"):
        build_small(small, **options)
    assert tree(small) == before


def test_check_names_what_is_missing(small: Path) -> None:
    build_small(small)
    (small / "B" / "face" / "1f601.png").unlink()
    with pytest.raises(ValueError, match=r"B/face has 1 images, 2 were built: delete"):
        emoji_home.check(small)
    with pytest.raises(ValueError, match=r"B/face has 1 images"):
        build_small(small)
    (small / "A" / "LICENSE.txt").unlink()
    with pytest.raises(ValueError, match=r"A/LICENSE\.txt is missing"):
        emoji_home.check(small)
    mark = small / "emoji_home.json"
    for content in ("", "[]", "{}", '{"format": 0}', '{"format": 1, "counts": 3}'):
        mark.write_text(content)
        with pytest.raises(ValueError, match=r"emoji_home\.json cannot be used"):
            emoji_home.check(small)
    with pytest.raises(ValueError, match="nowhere is not a whole"):
        emoji_home.check(small / "nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domains": ("A", "Z")}, "domains: .*Z.* of A, B, C"),
        ({"domains": ("A", "A")}, "domains"),
        ({"domains": ()}, "domains"),
        ({"domains": "A"}, "domains"),
        ({"image_px": 4}, "image_px: 4"),
        ({"workers": 0}, "workers: 0"),
    ],
)
def test_bad_arguments_are_named(small: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_small(small, **options)
    assert not small.exists()


@pytest.mark.slow
def test_emoji_home_itself(emoji_home_root: Path) -> None:
    emoji_home.check(emoji_home_root)
    mark = json.loads((emoji_home_root / "emoji_home.json").read_text())
    classes = emoji_home.codepoint_classes()
    stems = None
    for name in emoji_packages.DEFAULT_DOMAINS:
        paths = sorted((emoji_home_root / name).glob("*/*.png"))
        assert len(paths) == 1239
        assert {path.parent.name for path in paths} == set(classes.values())
        assert all(classes[path.stem] == path.parent.name for path in paths)
        assert stems in (None, [path.stem for path in paths])
        stems = [path.stem for path in paths]
        for path in paths:
            with Image.open(path) as image:
                assert (image.size, image.mode) == ((128, 128), "RGB"), path
                pixels = np.asarray(image)
            assert (pixels[:6] > 240).all(), path  # the margin
            assert (pixels < 247).any(2).mean() > 0.05, path  # no blank image
    spdx = {"OpenMoji": "CC-BY-SA-4.0", "Twemoji": "CC-BY-4.0", "Noto": "Apache-2.0"}
    for name, licence in {**spdx, "Fluent3D": "MIT"}.items():
        text = (emoji_home_root / name / "LICENSE.txt").read_text()
        assert f"SPDX: {licence}" in text
        assert ("ShareAlike:" in text) == (name == "OpenMoji")
    made = {**mark["made_with"], "machine": mark["machine"]}
    if {key: made[key] for key in PINNED} == PINNED:
        assert mark["pixels_sha256"] == PINNED_PIXELS


@pytest.mark.slow
def test_real_drawings_give_the_same_bytes_twice(
    emoji_home_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del emoji_home_root  # building it has fetched the packages
    some = dict(list(emoji_home.codepoint_classes().items())[::10])
    monkeypatch.setattr(emoji_home, "codepoint_classes", lambda: some)
    cache = Path(__file__).parents[3] / "data" / ".emoji_home_packages"
    marks = []
    for workers in (1, 2):
        root = tmp_path / str(workers)
        try:
            emoji_home.build(root, ["Twemoji", "Noto"], 32, workers, False, cache)
        except ConnectionError as error:  # a built EmojiHome, but no packages any more
            pytest.skip(f"EmojiHome's packages cannot be fetched: {error}")
        marks.append((root / "emoji_home.json").read_bytes())
        assert len(list(root.rglob("*.png"))) > 2 * 120
    assert marks[0] == marks[1]
