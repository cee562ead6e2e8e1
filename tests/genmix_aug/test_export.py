"""Originals and GenMix images as a tree of files."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import phone
from helpers.edits import fill as fill_store
from helpers.edits import requests_for
from PIL import Image

from genmix_aug import export
from genmix_aug.digests import image_digest
from genmix_aug.editors import EDITORS
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import BrokenEditError, EditStore, MissingEditError
from genmix_aug.export import Exported, ExportSettings, export_tree
from genmix_aug.images import find_images, load_rgb
from genmix_aug.mixing.fractals import draw_fractals
from genmix_aug.mixing.genmix import GenMix
from genmix_aug.mixing.masks import blend_width_for
from genmix_aug.prompts import CROSS_DOMAIN
from genmix_aug.seeding import hash_seed

PROMPTS = ("retro comic", "graffiti", "digital art")
EDITOR = EDITORS["filters"]()
PLAN = EditPlan(PROMPTS, 2, EDITOR.fingerprint)
GENMIX = GenMix(draw_fractals(3, 32))


def draw_picture(path, seed, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 3, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def images(tmp_path):
    """Return a tree of pictures of several sizes and kinds, with other files beside them."""
    folder = tmp_path / "images"
    for seed, (name, size) in enumerate(
        {
            "top.png": (32, 32),
            "a/b.jpg": (33, 21),
            "a/c.d.JPEG": (24, 24),
            "a b/e f.png": (17, 40),
            "a b/grey.bmp": (16, 16),
        }.items()
    ):
        draw_picture(folder / name, seed, size)
    Image.new("RGBA", (20, 20), (200, 0, 0, 90)).save(folder / "a b" / "clear.webp")
    draw_picture(folder / ".cache" / "x.png", 9, (16, 16))
    (folder / "a" / "notes.txt").write_text("no image")
    return folder


def fill(root, images, per_image=2, screen=None, seed=0):
    store = EditStore(root)
    pictures = [load_rgb(path) for path in find_images(images)]
    requests = requests_for(pictures, PROMPTS, per_image, seed)
    fill_store(store, EDITOR, pictures, requests, screen=screen)
    return store


@pytest.fixture
def store(images, tmp_path):
    return fill(tmp_path / "store", images)


def run(images, store, out, genmix=GENMIX, plan=PLAN, **settings):
    return export_tree(images, store, out, plan, genmix, ExportSettings(**settings))


def tree(folder):
    """Return every file below ``folder`` with its content, but for the mark."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "genmix_export.json"
    }


def test_originals_and_copies_in_the_same_layout(images, store, tmp_path):
    done = run(images, store, tmp_path / "out", copies=2)
    assert done == Exported(originals=6, augmented=12, unaugmented=0, written=18)
    files = tree(tmp_path / "out")
    originals = {path.relative_to(images).as_posix() for path in find_images(images)}
    assert originals < set(files)
    assert len(files) == 18
    for name in originals:
        assert files[name] == (images / name).read_bytes()
    for name in ("top", "a/b", "a/c.d", "a b/e f", "a b/grey", "a b/clear"):
        assert {f"{name}_genmix1.png", f"{name}_genmix2.png"} < set(files)


def test_each_copy_is_genmix_of_one_of_its_edits(images, store, tmp_path):
    """Against GenMix applied by hand to every accepted edit: exactly one of them fits each copy."""
    run(images, store, tmp_path / "out", copies=2, seed=4)
    for path in find_images(images):
        image = load_rgb(path)
        digest = image_digest(image)
        width = blend_width_for(min(image.shape[1:]))
        genmix = GenMix(GENMIX.fractals, blend_width=width)
        used = []
        for copy in (1, 2):
            name = path.relative_to(images).with_name(f"{path.stem}_genmix{copy}.png")
            result = load_rgb(tmp_path / "out" / name)
            for number, (_, prompt, seed) in enumerate(PLAN.requests([digest])):
                edit = store.read(store.served(digest, prompt, seed, EDITOR.fingerprint))
                expected = genmix(image[None], edit[None], [hash_seed(4, copy, digest)])[0]
                used += [number] if torch.equal(expected, result) else []
        assert sorted(used) == [0, 1], "each copy takes another edit while they last"


def test_a_given_blend_width_is_kept(images, store, tmp_path):
    run(images, store, tmp_path / "a")
    width = blend_width_for(32)
    run(images, store, tmp_path / "b", GenMix(GENMIX.fractals, blend_width=width))
    run(images, store, tmp_path / "c", GenMix(GENMIX.fractals, blend_width=15))
    made, same, other = (tree(tmp_path / name)["top_genmix1.png"] for name in "abc")
    assert made == same != other


def test_names_and_neighbours_decide_nothing_and_seeds_do(images, store, tmp_path):
    run(images, store, tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(images / "a" / "b.jpg", other / "z.jpg")
    run(other, store, tmp_path / "renamed")
    run(other, store, tmp_path / "seeded", seed=1)
    alike = tree(tmp_path / "renamed")["z_genmix1.png"]
    assert alike == tree(tmp_path / "out")["a/b_genmix1.png"]
    assert alike != tree(tmp_path / "seeded")["z_genmix1.png"]


def test_goes_on_where_it_was_stopped(images, store, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(images, store, tmp_path / "undisturbed", copies=2)
    expected = tree(tmp_path / "undisturbed")
    replace, left = os.replace, [6]

    def stopped(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(images, store, out, copies=2)
    monkeypatch.undo()
    half = tree(out)
    assert len(half) == 6  # and the mark
    assert half.items() < expected.items()
    assert run(images, store, out, copies=2).written == 12
    assert tree(out) == expected
    assert run(images, store, out, copies=2) == Exported(6, 12, 0, 0)


def test_whole_files_stay_and_broken_ones_are_made_again(images, store, tmp_path):
    out = tmp_path / "out"
    run(images, store, out)
    expected = tree(out)
    stamp = (out / "top_genmix1.png").stat().st_mtime_ns
    (out / "a" / "b_genmix1.png").write_bytes(expected["a/b_genmix1.png"][:-9])
    (out / "a" / "c.d.JPEG").unlink()
    (out / "a b" / "clear.webp").write_bytes(b"")
    assert run(images, store, out).written == 5  # two originals with theirs, and a copy
    assert tree(out) == expected
    assert (out / "top_genmix1.png").stat().st_mtime_ns == stamp


def test_an_original_that_changed_gets_new_copies(images, tmp_path):
    out = tmp_path / "out"
    run(images, fill(tmp_path / "store", images), out)
    before = tree(out)
    draw_picture(images / "top.png", 77, (32, 32))
    assert run(images, fill(tmp_path / "store", images), out).written == 2
    changed = {name for name, content in tree(out).items() if content != before[name]}
    assert changed == {"top.png", "top_genmix1.png"}


def test_more_copies_keep_the_earlier_ones(images, store, tmp_path):
    out = tmp_path / "out"
    assert run(images, store, out, copies=0) == Exported(6, 0, 0, 6)
    run(images, store, out)
    before = tree(out)
    assert run(images, store, out, copies=3) == Exported(6, 18, 0, 12)
    assert before.items() < tree(out).items()
    with pytest.raises(ValueError, match=r"copies was 3, is now 2\): name another folder"):
        run(images, store, out, copies=2)


def test_without_copies_no_edit_is_needed(images, tmp_path):
    empty = EditStore(tmp_path / "none")
    done = run(images, empty, tmp_path / "out", copies=0, replace_spaces=True)
    assert done == Exported(6, 0, 0, 6)
    assert "a_b/e_f.png" in tree(tmp_path / "out")


def test_other_settings_are_not_mixed(images, store, tmp_path):
    out = tmp_path / "out"
    run(images, store, out)
    before = tree(out)
    other = GenMix(GENMIX.fractals, fractal_weight=0.3)
    for more, key in (
        ({"seed": 1}, "draw_seed was 0, is now 1"),
        ({"image_format": "jpeg"}, "image_format was 'png'"),
        ({"genmix": other}, "fractal_weight was 0.2"),
        ({"genmix": GenMix(GENMIX.fractals[:2])}, "fractals was"),
        ({"replace_spaces": True}, "replace_spaces was False"),
    ):
        with pytest.raises(ValueError, match=key):
            run(images, store, out, **more)
    (out / "genmix_export.json").write_text("[]")
    with pytest.raises(ValueError, match=r"genmix_export\.json cannot be read"):
        run(images, store, out)
    assert tree(out) == before


def test_of_two_exports_begun_at_once_the_second_is_refused(images, store, tmp_path, monkeypatch):
    made = export._Copier.draw

    def begun_meanwhile(*args):
        monkeypatch.setattr(export._Copier, "draw", made)
        assert run(images, store, tmp_path / "out", copies=2).written
        return made(*args)

    monkeypatch.setattr(export._Copier, "draw", begun_meanwhile)
    with pytest.raises(ValueError, match=r"holds an export of other settings \(draw_seed was 0"):
        run(images, store, tmp_path / "out", seed=1)
    before = tree(tmp_path / "out")
    assert run(images, store, tmp_path / "out", copies=2).written == 0
    assert tree(tmp_path / "out") == before


def test_originals_keep_their_exif_tag_which_is_counted(images, tmp_path):
    phone.tag(images / "a" / "b.jpg")
    tagged = load_rgb(images / "a" / "b.jpg")
    assert tagged.shape == (3, 33, 21)
    store = fill(tmp_path / "store", images)
    assert run(images, store, tmp_path / "out").tagged == 1
    copied, copy = tmp_path / "out" / "a" / "b.jpg", tmp_path / "out" / "a" / "b_genmix1.png"
    assert copied.read_bytes() == (images / "a" / "b.jpg").read_bytes()
    assert load_rgb(copy).shape == load_rgb(copied).shape  # as viewers show them
    with Image.open(copied) as stored, Image.open(copy) as made:  # as a reader without EXIF does
        assert stored.size == made.size[::-1]


def test_jpeg_copies(images, store, tmp_path):
    out = tmp_path / "out"
    run(images, store, tmp_path / "png")
    run(images, store, out, image_format="jpeg")
    with Image.open(out / "a" / "b_genmix1.jpg") as image:
        assert image.format == "JPEG"
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # 4:4:4
    pair = load_rgb(out / "a" / "b_genmix1.jpg"), load_rgb(tmp_path / "png/a/b_genmix1.png")
    assert (pair[0].float() - pair[1].float()).abs().mean() < 3
    content = (out / "top_genmix1.jpg").read_bytes()
    (out / "top_genmix1.jpg").write_bytes(content[:-50])
    assert run(images, store, out, image_format="jpeg").written == 1
    assert (out / "top_genmix1.jpg").read_bytes() == content


def test_spaces_are_replaced(images, store, tmp_path):
    draw_picture(images / "a b" / "tab\there\u2003too.png", 8, (16, 16))
    fill(store.root, images)
    run(images, store, tmp_path / "out", replace_spaces=True)
    files = tree(tmp_path / "out")
    assert not any(letter.isspace() for name in files for letter in name)
    assert {"a_b/e_f.png", "a_b/e_f_genmix1.png", "a_b/tab_here_too.png"} < set(files)


@pytest.mark.parametrize(
    ("names", "more", "target"),
    [
        (("a/b.jpg", "a/b.png"), {}, "a/b_genmix1.png"),
        (("a/b.jpg", "a/b_genmix1.png"), {}, "a/b_genmix1.png"),
        (("a b.png", "a_b.png"), {"replace_spaces": True}, "a_b.png"),
        (("x y/1.png", "x_y/2.png"), {"replace_spaces": True}, "x_y"),
        (("x y/z/1.png", "x_y/z/1.png"), {"replace_spaces": True}, "x_y"),
        (("a/b.jpg", "a/b_genmix2.jpg"), {"copies": 2, "image_format": "jpeg"}, "a/b_genmix2.jpg"),
    ],
)
def test_clashes_are_named_before_anything_is_written(images, store, tmp_path, names, more, target):
    for name in names:
        draw_picture(images / name, 5, (16, 16))
    with pytest.raises(ValueError, match="would both be written to") as raised:
        run(images, store, tmp_path / "out", **more)
    owners = [str(images / name) for name in names]
    if target == "x_y":
        owners = [str(images / "x y"), str(images / "x_y")]
    for part in (*owners, f" {target}: rename"):
        assert part in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_two_names_of_one_stem_need_no_copies(images, store, tmp_path):
    draw_picture(images / "a" / "b.png", 5, (16, 16))
    assert run(images, store, tmp_path / "out", copies=0).originals == 7


def test_a_missing_edit_names_the_command(images, tmp_path):
    empty = EditStore(tmp_path / "my store")
    with pytest.raises(MissingEditError) as raised:
        run(images, empty, tmp_path / "out")
    command = f"genmix edit {images} --store '{empty.root}' --prompts "
    command += "'retro comic,graffiti,digital art' --per-image 2`"
    assert f"{images / 'a' / 'b.jpg'} lacks an edit by {EDITOR.fingerprint}" in str(raised.value)
    assert command in str(raised.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(MissingEditError, match="--prompts cross-domain --per-image 1 --seed 3`"):
        run(
            images,
            empty,
            tmp_path / "out",
            plan=replace(PLAN, prompts=CROSS_DOMAIN, per_image=1, seed=3),
        )
    fill(empty.root, images)
    assert run(images, empty, tmp_path / "out").augmented == 6


def test_edits_of_another_seed(images, tmp_path):
    store = fill(tmp_path / "store", images, seed=3)
    with pytest.raises(MissingEditError):
        run(images, store, tmp_path / "out")
    assert run(images, store, tmp_path / "out", plan=replace(PLAN, seed=3)).augmented == 6


def test_a_broken_edit_is_named(images, store, tmp_path):
    for key in list(store.keys()):
        store.find(key).write_bytes(b"nothing")
    with pytest.raises(BrokenEditError, match="truncated or damaged"):
        run(images, store, tmp_path / "out")


def test_rejected_edits_are_never_used(images, tmp_path):
    from genmix_aug.screening.checks import Verdict

    doomed = image_digest(load_rgb(images / "top.png"))

    def screen(originals, edits):
        return [
            Verdict("black" if image_digest(image) == doomed else "", {}) for image in originals
        ]

    store = fill(tmp_path / "store", images, screen=screen)
    out = tmp_path / "out"
    assert run(images, store, out, copies=2) == Exported(6, 10, 1, 16)
    assert "top.png" in tree(out)
    assert not [name for name in tree(out) if name.startswith("top_genmix")]
    assert run(images, store, out, copies=2) == Exported(6, 10, 1, 0)


def test_one_rejected_edit_leaves_the_other(images, store, tmp_path):
    records = {}
    for record in store.entries():
        records.setdefault(record["image"], []).append(record)
    for first, _ in records.values():
        store.reject(first, "flat")
    assert run(images, store, tmp_path / "out", copies=2) == Exported(6, 12, 0, 18)


@pytest.mark.parametrize("out", ["images", "images/a/out", "."])
def test_the_export_lies_apart_from_the_images(images, store, tmp_path, out):
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="must not lie within one another"):
        run(images, store, tmp_path / out)
    assert tree(tmp_path) == before


def test_a_folder_in_use_is_refused(images, store, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(ValueError, match="out is not empty and holds no export"):
        run(images, store, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert run(images, store, tmp_path / "empty").augmented == 6


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"copies": -1}, "copies must be 0 or more, not -1"),
        ({"image_format": "gif"}, "unknown image format 'gif': choose from png, jpeg"),
    ],
)
def test_senseless_values_are_refused(images, store, tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        run(images, store, tmp_path / "out", **more)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        run(images, store, tmp_path / "out", plan=replace(PLAN, per_image=0))
    with pytest.raises(ValueError, match="nowhere does not exist"):
        run(tmp_path / "nowhere", store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_original_is_named(images, store, tmp_path):
    path = images / "top.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"cannot read image .*top\.png"):
        run(images, store, tmp_path / "out")


def test_the_mark_holds_what_decided_the_export(images, store, tmp_path):
    run(images, store, tmp_path / "out", copies=2, seed=6)
    mark = json.loads((tmp_path / "out" / "genmix_export.json").read_text())
    assert mark["copies"] == 2
    assert mark["draw_seed"] == 6
    assert mark["prompts"] == sorted(PROMPTS)
    assert mark["editor"] == EDITOR.fingerprint
    assert mark["fractal_weight"] == GENMIX.fractal_weight
