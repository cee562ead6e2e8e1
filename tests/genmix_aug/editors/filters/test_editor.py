"""The `filters` editor on drawings with a white ground and on pictures with another."""

import cv2
import numpy as np
import pytest
import torch
from helpers.shapes import drawing, photograph

from genmix_aug.editors import EDITORS, FilterEditor
from genmix_aug.editors.filters.editor import STYLES
from genmix_aug.editors.filters.painting import read_scene
from genmix_aug.prompts import PROMPT_SETS

PROMPTS = list(PROMPT_SETS["all"])
EDITOR = FilterEditor()


@pytest.fixture(scope="module")
def originals():
    return torch.stack([*(drawing(k) for k in range(4)), *(photograph(k) for k in range(3))])


@pytest.fixture(scope="module")
def edits(originals):
    """Return edits float [prompts, images, 3, H, W]."""
    count = len(originals)
    return torch.stack(
        [EDITOR.edit(originals, [prompt] * count, list(range(count))).float() for prompt in PROMPTS]
    )


def edges(image):
    """Return borders of colours [H, W] of an image float [3, H, W]."""
    soft = cv2.GaussianBlur(image.permute(1, 2, 0).float().numpy(), (0, 0), 2)
    dx, dy = cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    return np.sqrt((dx * dx + dy * dy).max(axis=2))


def test_every_prompt_has_a_style():
    assert list(STYLES) == PROMPTS
    assert isinstance(EDITORS["filters"](), FilterEditor)


def test_any_two_prompts_differ(edits):
    flat = edits.flatten(2)
    apart = (flat[:, None] - flat[None]).abs().mean(dim=(2, 3)) + 1e6 * torch.eye(len(PROMPTS))
    first, second = divmod(int(apart.argmin()), len(PROMPTS))
    assert apart.min() > 18, f"{PROMPTS[first]} and {PROMPTS[second]} look alike"


def test_every_prompt_changes_the_image(originals, edits):
    change = (edits - originals.float()).abs().mean(dim=(1, 2, 3, 4))
    assert change.min() > 15, dict(zip(PROMPTS, change.tolist(), strict=True))


@pytest.mark.parametrize("number", range(len(PROMPTS)), ids=PROMPTS)
def test_the_structure_stays(originals, edits, number):
    """Edges of edit and original correlate: the label must stay recognisable."""
    agreement = [
        np.corrcoef(edges(original).ravel(), edges(edit).ravel())[0, 1]
        for original, edit in zip(originals, edits[number], strict=True)
    ]
    assert np.mean(agreement) > 0.35
    assert min(agreement) > 0.15


def test_white_grounds_do_not_stay_white(originals, edits):
    corner = edits[:, :4, :, :12, :12].mean(dim=(1, 3, 4))
    kept = [PROMPTS[k] for k in range(len(PROMPTS)) if (corner[k] > 245).all()]
    assert set(kept) <= {"watercolor art", "watercolor painting"}, "paper may stay paper"


@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_edit_depends_on_its_image_prompt_and_seed_alone(originals, prompt):
    few = originals[[0, 4]]
    alone = [EDITOR.edit(few[k : k + 1], [prompt], [7 + k])[0] for k in range(2)]
    other = "snowy" if prompt != "snowy" else "aurora"
    batch = EDITOR.edit(
        torch.stack([few[1], originals[2], few[0]]), [prompt, other, prompt], [8, 1, 7]
    )
    assert torch.equal(batch[2], alone[0])
    assert torch.equal(batch[0], alone[1])
    reseeded = EDITOR.edit(few[:1], [prompt], [1000])[0]
    assert (reseeded.float() - alone[0].float()).abs().mean() > 0.5, "seeds vary the style"


@pytest.mark.parametrize("size", [(17, 23), (5, 40), (2, 3), (1, 1), (131, 97)], ids=str)
def test_any_size(size):
    images = torch.stack([drawing(1, *size), photograph(1, *size)])
    for prompt in PROMPTS:
        edited = EDITOR.edit(images, [prompt] * 2, [0, 1])
        assert edited.shape == images.shape
        assert edited.dtype == torch.uint8


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_images(level):
    blank = torch.full((1, 3, 24, 31), level, dtype=torch.uint8)
    for prompt in PROMPTS:
        assert EDITOR.edit(blank, [prompt], [3]).shape == blank.shape


def test_the_image_itself_stays_as_it_is(originals):
    before = originals.clone()
    EDITOR.edit(originals, ["mosaic"] * len(originals), [0] * len(originals))
    assert torch.equal(before, originals)


def test_a_plain_ground_is_told_from_a_photograph():
    scene = read_scene(drawing(0).permute(1, 2, 0).numpy())
    assert scene.plain
    assert scene.cover[0, 0] == 0
    assert scene.cover[48, 48] == 1
    scene = read_scene(photograph(0).permute(1, 2, 0).numpy())
    assert not scene.plain
    assert scene.cover.min() > 0.3


def test_what_it_cannot_do_is_refused():
    image = drawing(0)[None]
    with pytest.raises(ValueError, match="'cubism'.*snowy.*cartoon style"):
        EDITOR.edit(image, ["cubism"], [0])
    with pytest.raises(ValueError, match="1 images, 2 prompts"):
        EDITOR.edit(image, ["snowy", "sunset"], [0])
    with pytest.raises(ValueError, match="uint8"):
        EDITOR.edit(image.float(), ["snowy"], [0])
    assert EDITOR.edit(image[:0], [], []).shape == (0, 3, 96, 96)
