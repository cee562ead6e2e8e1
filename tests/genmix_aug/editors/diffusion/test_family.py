"""What all diffusion editors have in common, each on a small random pipeline of its own kind."""

import inspect

import pytest
import torch
from helpers.diffusion import difference, pictures, spoil
from helpers.tiny_pipeline import PIPELINES, save_tiny_pipeline, tiny_pipeline

from genmix_aug.editors import EDITORS
from genmix_aug.editors.diffusion import editor as diffusion_editor
from genmix_aug.seeding import hash_seed

EDITOR_OF = {
    "pix2pix": "instruct-pix2pix",
    "pix2pix-xl": "instruct-pix2pix",
    "image-to-image": "image-to-image",
    "image-to-image-xl": "image-to-image",
    "kontext": "kontext",
}
# How each is called plainly: text and all, an image at a time, as diffusers' documentation does it.
CALLS = {
    "pix2pix": {"guidance_scale": 4.0, "image_guidance_scale": 1.5},
    "pix2pix-xl": {"guidance_scale": 4.0, "image_guidance_scale": 1.5, "height": 64, "width": 64},
    "image-to-image": {"guidance_scale": 7.5, "strength": 0.5},
    "image-to-image-xl": {"guidance_scale": 7.5, "strength": 0.5},
    "kontext": {"guidance_scale": 2.5, "height": 64, "width": 64, "max_area": 64**2},
}
SENTENCES = {
    "instruct-pix2pix": "A transformed version of image into {}",
    "image-to-image": "an image in the style of {}",
    "kontext": "Change the image into {}, keep what it shows",
}


@pytest.fixture(params=PIPELINES, scope="module")
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind, tmp_path_factory):
    return save_tiny_pipeline(tmp_path_factory.mktemp(kind), kind=kind)


@pytest.fixture
def make(kind, model):
    def make(**options):
        quick = {"model": str(model), "steps": 4, "resolution": 64, "device": "cpu"}
        return EDITORS[EDITOR_OF[kind]](**quick | options)

    return make


def test_an_edit_is_that_of_the_pipeline_called_plainly(kind, make, tmp_path):
    images, prompts, seeds = pictures(2), ["snowy", "retro comic"], [3, 4]
    edits = make(scheduler="own").edit(images, prompts, seeds)
    pipeline = tiny_pipeline(tmp_path, kind=kind)
    pipeline.set_progress_bar_config(disable=True)
    if kind == "kontext":  # the editor computes T5 in bfloat16
        pipeline.text_encoder_2.to(torch.bfloat16).to(torch.float32)
    takes_size = {"_auto_resize": False} if kind == "kontext" else {}
    for number in range(2):
        plain = pipeline(
            prompt=SENTENCES[EDITOR_OF[kind]].format(prompts[number]),
            image=images[number : number + 1] / 255,
            num_inference_steps=4,
            generator=torch.Generator().manual_seed(hash_seed(prompts[number], seeds[number])),
            output_type="pt",
            **CALLS[kind],
            **takes_size,
        ).images
        assert difference(edits[number], (plain[0] * 255).round()) <= (3 if takes_size else 1)


@pytest.mark.parametrize("preset", ["released", "fast", "low-memory"])
def test_an_edit_does_not_depend_on_its_neighbours(make, preset):
    editor = make(preset=preset)
    images, prompts, seeds = pictures(3), ["snowy", "sunset", "snowy"], [5, 6, 7]
    batch = editor.edit(images, prompts, seeds)
    for number in range(3):
        row = slice(number, number + 1)
        assert difference(editor.edit(images[row], prompts[row], seeds[row])[0], batch[number]) <= 1
    other = editor.edit(images[[2, 0]], [prompts[k] for k in (2, 0)], [7, 5])
    assert difference(other, batch[[2, 0]]) <= 1


def test_an_edit_depends_on_image_prompt_and_seed(make):
    images = pictures(2)[[0, 1, 0, 0]]
    edits = make().edit(images, ["snowy", "snowy", "sunset", "snowy"], [1, 1, 1, 2])
    for number in range(1, 4):
        assert difference(edits[number], edits[0]) > 0


@pytest.mark.parametrize("size", [(24, 24), (20, 200), (90, 131)], ids=str)
def test_any_size_comes_back_as_it_was(make, size):
    edits = make().edit(pictures(2, *size), ["snowy", "any words at all"], [0, 1])
    assert edits.shape == (2, 3, *size)
    assert edits.float().std() > 0


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_makes_nearly_the_same_edit(make, precision, in_half):
    """Other random numbers would change most pixels by tens of grey levels."""
    request = (pictures(2), ["snowy", "sunset"], [0, 1])
    exact = make(precision="float32").edit(*request).float()
    half = make(precision=precision).edit(*request).float()
    assert (half - exact).abs().mean() < (1 if precision == "float16" else 4)


def test_an_overflow_is_redone_in_float32(make, in_half):
    request = (pictures(3), ["snowy", "sunset", "mosaic"], [0, 1, 2])
    exact = make(precision="float32").edit(*request)
    editor = make(precision="bfloat16")
    editor._load()
    editor._pipeline.vae.decoder.register_forward_pre_hook(spoil(1))
    edits = editor.edit(*request)
    assert difference(edits[1], exact[1]) <= 12  # the weights were rounded to half precision
    assert (editor.redone, editor.failed) == (1, 0)
    assert editor._pipeline.vae.dtype == editor._denoiser.dtype == torch.bfloat16


def test_nothing_is_printed(make, in_half, capfd, recwarn):
    make(precision="float16").edit(pictures(1), ["snowy"], [0])
    assert capfd.readouterr() == ("", "")
    assert [str(w.message) for w in recwarn.list] == []


def test_prompts_that_would_be_cut_are_refused(make):
    with pytest.raises(ValueError, match=r"prompt too long, .* takes (77|512)"):
        make().edit(pictures(1), ["very " * 200 + "long"], [0])


def test_the_models_of_other_editors_are_refused(kind, model):
    for name in set(SENTENCES) - {EDITOR_OF[kind]}:
        editor = EDITORS[name](model=str(model), device="cpu", resolution=64)
        with pytest.raises(ValueError, match=f"and {name} needs a "):
            editor.edit(pictures(1), ["snowy"], [0])


def test_image_to_image_takes_the_models_of_text_to_image(tmp_path):
    from diffusers import StableDiffusionPipeline

    model = save_tiny_pipeline(tmp_path, kind="image-to-image")
    options = {"steps": 4, "resolution": 64, "device": "cpu"}
    request = (pictures(1), ["snowy"], [0])
    edit = EDITORS["image-to-image"](model=str(model), **options).edit(*request)
    plain = StableDiffusionPipeline(
        **tiny_pipeline(tmp_path / "again", kind="image-to-image").components,
        requires_safety_checker=False,
    )
    plain.save_pretrained(tmp_path / "text-to-image")
    editor = EDITORS["image-to-image"](model=str(tmp_path / "text-to-image"), **options)
    assert torch.equal(editor.edit(*request), edit)


def test_strength_says_how_much_of_the_picture_stays(tmp_path):
    model = save_tiny_pipeline(tmp_path, kind="image-to-image")
    images = pictures(2)
    changes = []
    for strength in (0.25, 0.5, 1.0):
        editor = EDITORS["image-to-image"](
            model=str(model), steps=8, resolution=64, device="cpu", strength=strength
        )
        assert f"strength={strength}" in editor.fingerprint
        changes.append(editor.edit(images, ["snowy"] * 2, [0, 1]).float())
    low, middle, high = changes
    assert difference(low, middle) > 5
    assert difference(middle, high) > 5
    with pytest.raises(ValueError, match=r"steps: 3 at strength 0\.25 leave no step.* least 4"):
        EDITORS["image-to-image"](model=str(model), steps=3, strength=0.25)
    with pytest.raises(ValueError, match=r"strength: 1\.5 must be over 0, at most 1"):
        EDITORS["image-to-image"](model=str(model), strength=1.5)


@pytest.mark.parametrize("name", ["image-to-image", "kontext"])
def test_editors_without_a_model_of_their_own_say_so(name):
    with pytest.raises(ValueError, match=f"model: {name} has none of its own; give a folder"):
        EDITORS[name]()
    with pytest.raises(ValueError, match="to take it from the hub give its revision too"):
        EDITORS[name](model="someone/model")
    assert "someone/model@abc" in EDITORS[name](model="someone/model", revision="abc").fingerprint


def test_kontext_edits_at_multiples_of_16_px(tmp_path):
    editor = EDITORS["kontext"](model=str(tmp_path), resolution=512)
    assert editor.group(100, 130) == (400, 512)
    with pytest.raises(ValueError, match="resolution: 72 must be a multiple of 16"):
        EDITORS["kontext"](model=str(tmp_path), resolution=72)


def test_all_have_the_same_options():
    options = {str(inspect.signature(EDITORS[name])) for name in SENTENCES}
    assert len(options) == 1
    assert diffusion_editor.PRECISIONS.keys() == {"float32", "float16", "bfloat16"}
