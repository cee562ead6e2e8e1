"""The diffusion editor's edits."""

import pickle

import pytest
import torch
from helpers.diffusion import difference, fails_over, pictures, spoil
from helpers.tiny_pipeline import tiny_pipeline

from genmix_aug.editors import EDITORS
from genmix_aug.editors.diffusion.instruct_pix2pix import InstructPix2PixEditor
from genmix_aug.editors.diffusion.settings import SCHEDULERS
from genmix_aug.prompts import full_prompt
from genmix_aug.seeding import hash_seed

PLAIN_SCHEDULERS = {
    "dpm-solver++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "lcm": "LCMScheduler",
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_edit_is_that_of_the_pipeline_called_plainly(make, tmp_path, scheduler):
    """One image and prompt at a time, text and all, as diffusers' documentation does it."""
    import diffusers

    images, prompts, seeds = pictures(2), ["snowy", "retro comic"], [3, 4]
    edits = make(scheduler=scheduler, steps=3).edit(images, prompts, seeds)
    pipeline = tiny_pipeline(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    if scheduler in PLAIN_SCHEDULERS:
        plain_scheduler = getattr(diffusers, PLAIN_SCHEDULERS[scheduler])
        pipeline.scheduler = plain_scheduler.from_config(pipeline.scheduler.config)
    for number in range(2):
        plain = pipeline(
            full_prompt(prompts[number]),
            image=images[number : number + 1] / 255,
            num_inference_steps=3,
            guidance_scale=4.0,
            image_guidance_scale=1.5,
            generator=torch.Generator().manual_seed(hash_seed(prompts[number], seeds[number])),
            output_type="pt",
        ).images
        assert difference(edits[number], (plain[0] * 255).round()) <= 1


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_edit_does_not_depend_on_its_neighbours(make, scheduler):
    editor = make(scheduler=scheduler, steps=3)
    images, prompts, seeds = pictures(4), ["snowy", "sunset", "mosaic", "snowy"], [5, 6, 7, 8]
    batch = editor.edit(images, prompts, seeds)
    for number in range(4):
        row = slice(number, number + 1)
        alone = editor.edit(images[row], prompts[row], seeds[row])
        assert difference(alone[0], batch[number]) <= 1
    order = [2, 0, 3]
    other = editor.edit(images[order], [prompts[k] for k in order], [seeds[k] for k in order])
    assert difference(other, batch[order]) <= 1


def test_an_edit_depends_on_image_prompt_and_seed(make):
    editor = make()
    images = pictures(2)[[0, 1, 0, 0]]
    edits = editor.edit(images, ["snowy", "snowy", "sunset", "snowy"], [1, 1, 1, 2])
    for number in range(1, 4):
        assert (edits[number].float() - edits[0].float()).abs().mean() > 1
    assert torch.equal(
        editor.edit(images[:1], ["snowy"], [1]), make().edit(images[:1], ["snowy"], [1])
    )


def test_guidance_and_steps_matter(make):
    request = (pictures(1), ["snowy"], [1])
    plain = make().edit(*request)
    for option in ({"text_guidance": 9.0}, {"image_guidance": 4.0}, {"steps": 3}):
        assert difference(make(**option).edit(*request), plain) > 1, option


@pytest.mark.parametrize("size", [(24, 24), (33, 47), (20, 200), (90, 131), (1, 1)], ids=str)
def test_any_size_comes_back_as_it_was(make, size):
    images = pictures(2, *size)
    before = images.clone()
    edits = make(steps=1).edit(images, ["snowy", "any words at all"], [0, 1])
    assert edits.shape == images.shape
    assert edits.dtype == torch.uint8
    assert torch.equal(images, before)
    assert edits.float().std() > 0


def test_no_images_need_no_model(tmp_path):
    editor = InstructPix2PixEditor()
    none = torch.zeros(0, 3, 7, 9, dtype=torch.uint8)
    assert editor.edit(none, [], []).shape == (0, 3, 7, 9)
    assert editor.prompts == ()


def test_each_distinct_prompt_is_encoded_once(make):
    editor = make(steps=1)
    editor.edit(pictures(1), ["mosaic"], [0])
    text_encoder = editor._texts.text_encoder
    calls = []
    text_encoder.register_forward_hook(lambda *_: calls.append(1))
    editor.edit(pictures(3), ["snowy", "sunset", "snowy"], [0, 1, 2])
    editor.edit(pictures(2), ["sunset", "mosaic"], [3, 4])
    assert len(calls) == 4, "two new prompts, each with the empty one"
    assert editor._pipeline.text_encoder is None


@pytest.mark.parametrize("option", ["channels_last", "vae_slicing"])
def test_layout_and_slicing_change_no_edit(make, option):
    request = (pictures(3), ["snowy", "sunset", "mosaic"], [0, 1, 2])
    plain, other = make(), make(**{option: True})
    assert difference(plain.edit(*request), other.edit(*request)) <= 1
    assert other._pipeline.vae.use_slicing == (option == "vae_slicing")
    weight = other._pipeline.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == (option == "channels_last")


def test_nothing_is_printed(make, capfd):
    make().edit(pictures(1), ["snowy"], [0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_compiled_network_makes_the_same_edits(make, in_half, monkeypatch):
    """Traced but not generated: the compiler takes a minute on a CPU."""
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled(self, backend="eager"))
    request = (pictures(2), ["snowy", "sunset"], [0, 1])
    editor = make(compile=True, precision="bfloat16")
    plain = make(precision="bfloat16").edit(*request)
    assert difference(editor.edit(*request), plain) <= 4
    assert editor._pipeline.unet._compiled_call_impl is not None
    editor._pipeline.vae.decoder.register_forward_pre_hook(spoil(slice(None)))
    exact = make(precision="float32").edit(*request)
    assert difference(editor.edit(*request), exact) <= 6
    assert editor.redone == 2


def test_a_used_editor_can_be_pickled(make):
    editor = make(steps=1)
    edit = editor.edit(pictures(1), ["snowy"], [0])
    copied = pickle.dumps(editor)
    assert len(copied) < 10_000
    assert torch.equal(pickle.loads(copied).edit(pictures(1), ["snowy"], [0]), edit)


def test_images_of_one_working_size_are_one_batch(make):
    """Of other sizes themselves; each edit is that of the image alone, at its size."""
    editor = make(steps=1)
    sizes = [(40, 30), (80, 60), (44, 33), (64, 48)]
    images = [pictures(1, *size, seed=k)[0] for k, size in enumerate(sizes)]
    assert {editor.group(*size) for size in sizes} == {(64, 64)}
    tried, _ = fails_over(editor, 99, None)
    edits = editor.edit_each(images, ["snowy"] * 4, [0, 1, 2, 3])
    assert tried == [4]
    for k, image in enumerate(images):
        assert edits[k].shape == image.shape
        alone = editor.edit(image[None], ["snowy"], [k])[0]
        assert difference(edits[k], alone) <= 1
    wide = make(resolution=128)
    with pytest.raises(ValueError, match="several working sizes"):
        wide.edit_each([images[0], images[0].mT.contiguous()], ["snowy"] * 2, [0, 1])


def test_a_device_is_for_those_who_leave_it_open(make):
    for option, expected in (("auto", "cuda:1"), ("cpu", "cpu")):
        editor = make(device=option)
        editor.prefer_device("cuda:1")
        assert editor.device == expected
    EDITORS["filters"]().prefer_device("cuda:1")


def test_prompts_that_would_be_cut_are_refused(make):
    with pytest.raises(ValueError, match="prompt too long, .* takes 77"):
        make().edit(pictures(1), ["very " * 80 + "long"], [0])


def test_requests_that_do_not_fit_are_refused(make):
    with pytest.raises(ValueError, match="1 images, 2 prompts"):
        make().edit(pictures(1), ["snowy", "sunset"], [0])
