"""Half precision: nearly the same edits, and what overflows in it."""

import pytest
import torch
from helpers.diffusion import difference, pictures, spoil

from genmix_aug.editors.diffusion import editor as diffusion_editor
from genmix_aug.editors.diffusion.noise import step_in_float32


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_makes_nearly_the_same_edit(make, in_half, precision):
    """Other random numbers would change most pixels by tens of grey levels."""
    request = (pictures(2, 56, 64), ["snowy", "sunset"], [0, 1])
    exact = make(precision="float32").edit(*request).float()
    half = make(precision=precision).edit(*request).float()
    reseeded = make(precision="float32").edit(request[0], request[1], [2, 3]).float()
    assert (half - exact).abs().mean() < (1 if precision == "float16" else 4)
    assert (reseeded - exact).abs().mean() > 10


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_an_overflow_is_redone_in_float32(make, in_half, precision):
    request = (pictures(3), ["snowy", "sunset", "mosaic"], [0, 1, 2])
    plain = make(precision=precision).edit(*request)
    exact = make(precision="float32").edit(*request)
    editor = make(precision=precision)
    editor._load()
    vae = editor._pipeline.vae
    vae.decoder.register_forward_pre_hook(spoil(1))
    edits = editor.edit(*request)
    assert difference(edits[[0, 2]], plain[[0, 2]]) == 0
    assert difference(edits[1], exact[1]) <= 6  # the weights were rounded to half precision
    assert (editor.redone, editor.failed) == (1, 0)
    assert vae.dtype == editor._pipeline.unet.dtype == diffusion_editor.PRECISIONS[precision]


def test_weights_that_overflow_float16_are_redone(make, in_half, capfd):
    """The known fault itself: activations over 65,504, which a normalisation would bring back."""
    editor = make(precision="float16")
    editor._load()
    with torch.no_grad():
        editor._pipeline.vae.decoder.conv_in.weight.mul_(3e5)
    edits = editor.edit(pictures(2), ["snowy", "sunset"], [0, 1])
    assert (editor.redone, editor.failed) == (2, 0)
    assert capfd.readouterr() == ("", "")
    assert edits.float().std(dim=(1, 2, 3)).min() > 1


def test_what_float32_cannot_edit_comes_out_black_and_counted(make, in_half):
    request = (pictures(3), ["snowy", "sunset", "mosaic"], [0, 1, 2])
    editor = make(precision="bfloat16")
    plain = editor.edit(*request)

    def poison(module, inputs):
        latents = inputs[0].clone()
        latents[-1] = float("nan")  # the last of a batch, and each alone
        return (latents,)

    editor._pipeline.vae.decoder.register_forward_pre_hook(poison)
    edits = editor.edit(*request)
    assert difference(edits[:2], plain[:2]) == 0
    assert edits[2].max() == 0
    assert (editor.redone, editor.failed) == (1, 1)


def test_infinities_are_not_taken_for_white(make):
    """In float32 from the start nothing can be redone."""
    editor = make()
    editor._load()
    with torch.no_grad():
        editor._pipeline.vae.decoder.conv_out.bias.fill_(float("inf"))
    assert editor.edit(pictures(2), ["snowy"] * 2, [0, 1]).max() == 0
    assert (editor.redone, editor.failed) == (0, 2)


def test_remarks_say_what_went_wrong(make):
    editor = make()
    assert editor.remarks() == {}
    editor.redone, editor.failed = 3, 1
    assert editor.remarks() == {
        "were not finite in half precision and were made in float32": 3,
        "were not finite in float32 either and came out black": 1,
    }


def test_noise_is_that_of_float32_in_every_precision():
    """36 values: half precision draws others from the same seed, in older PyTorch always."""
    from diffusers import EulerAncestralDiscreteScheduler

    moved = {}
    for dtype in (torch.float32, torch.float16):
        scheduler = EulerAncestralDiscreteScheduler()
        scheduler.set_timesteps(4)
        step_in_float32(scheduler)
        generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        latents = torch.cat([torch.randn(1, 4, 3, 3, generator=g) for g in generators]).to(dtype)
        time = scheduler.timesteps[0]
        scheduler.scale_model_input(latents, time)
        moved[dtype], *_ = scheduler.step(
            torch.zeros_like(latents), time, latents, generator=generators, return_dict=False
        )
        assert moved[dtype].dtype == dtype
    torch.testing.assert_close(
        moved[torch.float16].float(), moved[torch.float32], atol=2e-3, rtol=2e-3
    )
