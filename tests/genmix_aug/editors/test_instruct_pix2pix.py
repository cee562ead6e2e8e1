"""The diffusion editor, on a real pipeline of small random modules."""

import json
import pickle
import shutil
import subprocess
import sys
import weakref
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from helpers.tiny_pipeline import tiny_pipeline

from genmix_aug.editors import EDITORS
from genmix_aug.editors.base import edit_each, on_device, release
from genmix_aug.editors.diffusion import instruct_pix2pix
from genmix_aug.editors.diffusion.instruct_pix2pix import REVISION, InstructPix2PixEditor
from genmix_aug.editors.diffusion.model_folder import CHUNK_BYTES, CHUNKS, folder_digest
from genmix_aug.editors.diffusion.noise import first_noise, step_in_float32
from genmix_aug.editors.diffusion.resizing import resize, working_size
from genmix_aug.editors.diffusion.settings import PRESETS, SCHEDULERS
from genmix_aug.prompts import full_prompt
from genmix_aug.seeding import hash_seed

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tiny_pipeline):
    """The pipeline as diffusers saves it."""
    return tiny_pipeline


@pytest.fixture
def make(folder):
    """Makes editors quick enough for tests."""

    def make(**options):
        quick = {"model": str(folder), "steps": 2, "resolution": 64, "device": "cpu"}
        return InstructPix2PixEditor(**quick | options)

    return make


@pytest.fixture
def in_half(monkeypatch):
    """A CPU that computes in half precision, which PyTorch can but the editor never asks for."""
    monkeypatch.setattr(
        instruct_pix2pix,
        "_compute_dtype",
        lambda precision, device: instruct_pix2pix.PRECISIONS[precision],
    )


def pictures(count, height=64, width=64, seed=0):
    """Smooth random colours, uint8 [count, 3, height, width]."""
    noise = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, (height, width), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


def difference(first, second):
    return int((first.int() - second.int()).abs().max())


# What it makes


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_edit_is_that_of_the_pipeline_called_plainly(make, tmp_path, scheduler):
    """One image and prompt at a time, text and all, as diffusers' documentation does it."""
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    images, prompts, seeds = pictures(2), ["snowy", "retro comic"], [3, 4]
    edits = make(scheduler=scheduler, steps=3).edit(images, prompts, seeds)
    pipeline = tiny_pipeline(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    if scheduler == "dpm-solver++":
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    elif scheduler == "unipc":
        pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
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
        one = slice(number, number + 1)
        alone = editor.edit(images[one], prompts[one], seeds[one])
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
    text_encoder = editor._encoder.args[1]
    calls = []
    text_encoder.register_forward_hook(lambda *_: calls.append(1))
    editor.edit(pictures(3), ["snowy", "sunset", "snowy"], [0, 1, 2])
    editor.edit(pictures(2), ["sunset", "mosaic"], [3, 4])
    assert len(calls) == 2  # mosaic and the empty one were encoded before
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


# Half precision


def spoil(items):
    """A hook that makes half-precision input of a network infinite, and leaves float32 alone."""

    def hook(module, inputs):
        hidden = inputs[0].clone()
        if hidden.dtype != torch.float32:
            hidden[items] = float("inf")
        return (hidden, *inputs[1:])

    return hook


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
    assert vae.dtype == editor._pipeline.unet.dtype == instruct_pix2pix.PRECISIONS[precision]


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
        latents[-1] = float("nan")  # the last of a batch, and each one alone
        return (latents,)

    editor._pipeline.vae.decoder.register_forward_pre_hook(poison)
    edits = editor.edit(*request)
    assert difference(edits[:2], plain[:2]) == 0
    assert edits[2].max() == 0
    assert (editor.redone, editor.failed) == (1, 1)


def test_infinities_are_not_taken_for_white(make):
    """In float32 from the start there is nothing to redo."""
    editor = make()
    editor._load()
    with torch.no_grad():
        editor._pipeline.vae.decoder.conv_out.bias.fill_(float("inf"))
    assert editor.edit(pictures(2), ["snowy"] * 2, [0, 1]).max() == 0
    assert (editor.redone, editor.failed) == (0, 2)


def test_noise_is_that_of_float32_in_every_precision():
    """36 values: half precision draws others from the same seed, in older PyTorch always."""
    from diffusers import EulerAncestralDiscreteScheduler

    moved = {}
    for dtype in (torch.float32, torch.float16):
        scheduler = EulerAncestralDiscreteScheduler()
        scheduler.set_timesteps(4)
        step_in_float32(scheduler)
        generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        latents = first_noise((4, 3, 3), generators).to(dtype)
        time = scheduler.timesteps[0]
        scheduler.scale_model_input(latents, time)
        moved[dtype], *_ = scheduler.step(
            torch.zeros_like(latents), time, latents, generator=generators, return_dict=False
        )
        assert moved[dtype].dtype == dtype
    torch.testing.assert_close(
        moved[torch.float16].float(), moved[torch.float32], atol=2e-3, rtol=2e-3
    )


# Options


def test_presets_are_overridden_by_options(folder):
    editor = InstructPix2PixEditor(preset="fast", steps=7, channels_last=False)
    assert asdict(editor.settings) == asdict(PRESETS["fast"]) | {"steps": 7, "channels_last": False}
    assert InstructPix2PixEditor().settings == PRESETS["released"]
    assert isinstance(EDITORS["instruct-pix2pix"](), InstructPix2PixEditor)


def test_the_fingerprint_names_what_changes_an_edit():
    plain = InstructPix2PixEditor().fingerprint
    assert f"timbrooks/instruct-pix2pix@{REVISION}" in plain
    changes = {
        "steps": 99,
        "text_guidance": 4.5,
        "image_guidance": 1.4,
        "resolution": 256,
        "scheduler": "unipc",
        "precision": "bfloat16",
        "revision": "abc",
        "preset": "fast",
    }
    others = {InstructPix2PixEditor(**{key: value}).fingerprint for key, value in changes.items()}
    assert len(others | {plain}) == len(changes) + 1
    for same in (
        {"device": "cuda:3"},
        {"compile": True},
        {"channels_last": True},
        {"vae_slicing": True},
        {"preset": "low-memory"},
        {"text_guidance": 4, "steps": 100},
    ):
        assert InstructPix2PixEditor(**same).fingerprint == plain
    fast = InstructPix2PixEditor(preset="fast")
    assert InstructPix2PixEditor(**asdict(fast.settings)).fingerprint == fast.fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "slow"}, "preset: 'slow' is not one of released, fast, low-memory"),
        ({"steps": -1}, "steps: -1 must be a whole number, at least 1"),
        ({"steps": 2.5}, "steps: 2.5 must be a whole number"),
        ({"text_guidance": 1.0}, "text_guidance: 1.0 must be over 1"),
        ({"text_guidance": float("nan")}, "text_guidance: nan must be over 1"),
        ({"image_guidance": 0.5}, "image_guidance: 0.5 must be at least 1"),
        ({"image_guidance": "much"}, "image_guidance: 'much' must be at least 1"),
        ({"resolution": 500}, "resolution: 500 must be a multiple of 8, at least 64"),
        ({"resolution": 56}, "resolution: 56 must be"),
        ({"scheduler": "ddim"}, "scheduler: 'ddim' must be one of euler-ancestral, dpm-solver"),
        ({"precision": "half"}, "precision: 'half' must be one of float32, float16, bfloat16"),
        ({"compile": "yes"}, "compile: 'yes' must be true or false"),
        ({"device": "gpu"}, "device: 'gpu' is not one of auto, cpu, cuda, cuda:N"),
        ({"model": "./nowhere"}, "no folder './nowhere'"),
        ({"model": "someone/fork"}, "'someone/fork' is no folder here.*revision"),
    ],
    ids=str,
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        InstructPix2PixEditor(**options)


@pytest.mark.slow
def test_making_an_editor_imports_nothing_heavy(folder):
    code = (
        "import sys; from genmix_aug.editors import EDITORS\n"
        f"print(EDITORS['instruct-pix2pix'](model={str(folder)!r}).fingerprint)\n"
        "sys.exit('diffusers' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == InstructPix2PixEditor(model=str(folder)).fingerprint


def test_a_used_editor_can_be_pickled(make):
    editor = make(steps=1)
    edit = editor.edit(pictures(1), ["snowy"], [0])
    copied = pickle.dumps(editor)
    assert len(copied) < 10_000
    assert torch.equal(pickle.loads(copied).edit(pictures(1), ["snowy"], [0]), edit)


# Models


def test_a_folder_is_known_by_its_content(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    digest = folder_digest(folder)
    assert folder_digest(copy) == digest
    (copy / "README.md").write_text("anything")
    assert folder_digest(copy) == digest
    for name in ("vae/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"):
        path = copy / name
        content = path.read_bytes()
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
        assert folder_digest(copy) != digest
        path.write_bytes(content)
    assert folder_digest(copy) == digest
    (copy / "unet" / "config.json").rename(copy / "unet" / "other.json")
    assert folder_digest(copy) != digest


def test_large_weights_are_sampled(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    path.parent.mkdir()
    size = CHUNKS * CHUNK_BYTES + 12_345

    def digest_with(*places, length=size):
        with path.open("wb") as file:
            file.truncate(length)
            for place in places:
                file.seek(place)
                file.write(b"x")
        return folder_digest(tmp_path)

    plain = digest_with()
    assert digest_with() == plain
    middle = (size - CHUNK_BYTES) * 30 // (CHUNKS - 1)  # where the 31st chunk begins
    seen = [digest_with(0), digest_with(middle), digest_with(size - 1)]
    assert len({plain, *seen, digest_with(length=size + 1)}) == 5


def broken_copy(folder, tmp_path, part, **values):
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = json.loads((copy / part).read_text())
    (copy / part).write_text(json.dumps(content | values))
    return copy


def edit_with(make, model):
    make(model=str(model)).edit(pictures(1), ["snowy"], [0])


def test_other_pipelines_are_refused(make, folder, tmp_path):
    copy = broken_copy(folder, tmp_path, "model_index.json", _class_name="FluxPipeline")
    with pytest.raises(ValueError, match=f"model {copy} is a FluxPipeline, not a Stable"):
        edit_with(make, copy)


def test_ordinary_stable_diffusion_is_refused(make, folder, tmp_path):
    copy = broken_copy(folder, tmp_path, "unet/config.json", in_channels=4)
    with pytest.raises(ValueError, match="takes 4 channels, that of InstructPix2Pix takes 8"):
        edit_with(make, copy)


def test_what_is_missing_or_damaged_is_named(make, folder, tmp_path):
    with pytest.raises(ValueError, match="model_index.json is missing: give the folder of a pipe"):
        edit_with(make, tmp_path)
    with pytest.raises(ValueError, match="model_index.json is missing"):
        _ = InstructPix2PixEditor(model=str(tmp_path)).fingerprint
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"\Acannot load model .*copy: [^\n]+\Z"):
        edit_with(make, copy)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match="vae has no .safetensors file"):
        edit_with(make, copy)
    (copy / "model_index.json").write_text("{")
    with pytest.raises(ValueError, match=r"cannot read .*model_index.json"):
        edit_with(make, copy)


def test_the_hubs_models_come_from_its_cache(make, folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub = {"model": "nobody/nothing", "revision": "0" * 40, "steps": 1}
    request = (pictures(1), ["snowy"], [0])
    message = r"\Acannot load model nobody/nothing at revision 0+ from the hub: .*model=FOLDER\Z"
    with pytest.raises(ValueError, match=message):
        make(**hub).edit(*request)
    cached = tmp_path / "models--nobody--nothing" / "snapshots" / hub["revision"]
    shutil.copytree(folder, cached)
    assert torch.equal(make(**hub).edit(*request), make(steps=1).edit(*request))


def test_missing_packages_are_named(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ValueError, match="needs the packages diffusers and transformers: "):
        make().edit(pictures(1), ["snowy"], [0])


def test_a_gpu_that_is_not_there_is_named(make):
    with pytest.raises(ValueError, match="device: 'cuda:77', but PyTorch sees"):
        make(device="cuda:77").edit(pictures(1), ["snowy"], [0])


def fails_over(editor, most, error):
    """Lets the network fail where more images than `most` come at a time (each comes thrice)."""
    editor._load()
    tried = []

    def fail(module, inputs):
        tried.append(len(inputs[0]) // 3)
        if tried[-1] > most:
            raise error

    hook = editor._pipeline.unet.register_forward_pre_hook(fail)
    return tried, hook


LITTLE_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
]


@pytest.mark.parametrize("error", LITTLE_MEMORY, ids=range(4))
def test_what_memory_does_not_hold_is_edited_in_halves(make, error):
    request = (pictures(5), ["snowy", "sunset", "mosaic", "snowy", "aurora"], list(range(5)))
    plain = make(steps=1).edit(*request)
    editor = make(steps=1)
    tried, _ = fails_over(editor, 1, error)
    assert difference(editor.edit(*request), plain) <= 1
    assert tried == [5, 2, 1, 1, 1, 1, 1]
    tried.clear()
    editor.edit(*request)
    assert tried == [1] * 5, "what fits is remembered"


@pytest.mark.parametrize("error", LITTLE_MEMORY, ids=range(4))
def test_one_image_that_is_too_large_says_what_to_do(make, error):
    editor = make()
    tried, hook = fails_over(editor, 0, error)
    first_line = str(error).partition("\n")[0].rstrip(".")
    with pytest.raises(ValueError, match="too small for one image at 64 px") as raised:
        editor.edit(pictures(2), ["snowy"] * 2, [0, 1])
    assert first_line in str(raised.value)
    assert "\n" not in str(raised.value)
    assert tried == [2, 1]
    hook.remove()
    editor.edit(pictures(1), ["snowy"], [0])


def test_other_errors_are_not_taken_for_little_memory(make):
    editor = make()
    tried, _ = fails_over(editor, 0, RuntimeError("CUDA error: an illegal memory access"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        editor.edit(pictures(4), ["snowy"] * 4, [0, 1, 2, 3])
    assert tried == [4]


def test_a_model_that_memory_does_not_hold_says_so(make, monkeypatch):
    def fail(*_, **__):
        raise LITTLE_MEMORY[0]

    monkeypatch.setattr(torch.nn.Module, "to", fail)
    with pytest.raises(ValueError, match="memory of cpu is too small for the model, or taken"):
        make().edit(pictures(1), ["snowy"], [0])


def test_images_of_one_working_size_are_one_batch(make):
    """Of other sizes themselves; each edit is that of the image alone, at its own size."""
    editor = make(steps=1)
    sizes = [(40, 30), (80, 60), (44, 33), (64, 48)]
    images = [pictures(1, *size, seed=k)[0] for k, size in enumerate(sizes)]
    assert {editor.group(*size) for size in sizes} == {(64, 64)}
    tried, _ = fails_over(editor, 99, None)
    edits = edit_each(editor, images, ["snowy"] * 4, [0, 1, 2, 3])
    assert tried == [4]
    for k, image in enumerate(images):
        assert edits[k].shape == image.shape
        alone = editor.edit(image[None], ["snowy"], [k])[0]
        assert difference(edits[k], alone) <= 1
    wide = make(resolution=128)
    with pytest.raises(ValueError, match="several working sizes"):
        wide.edit_each([images[0], images[0].mT.contiguous()], ["snowy"] * 2, [0, 1])


def test_a_released_editor_holds_no_model_and_loads_it_again(make):
    editor = make(steps=1)
    edit = editor.edit(pictures(1), ["snowy"], [0])
    unet = weakref.ref(editor._pipeline.unet)
    release(editor)
    assert unet() is None
    assert torch.equal(editor.edit(pictures(1), ["snowy"], [0]), edit)
    release(EDITORS["filters"]())  # has nothing to give back


def test_a_device_is_for_those_who_leave_it_open(make):
    for given, expected in (("auto", "cuda:1"), ("cpu", "cpu")):
        editor = make(device=given)
        on_device(editor, "cuda:1")
        assert editor.device == expected
    on_device(EDITORS["filters"](), "cuda:1")


def test_prompts_that_would_be_cut_are_refused(make):
    with pytest.raises(ValueError, match="prompt too long, .* takes 77"):
        make().edit(pictures(1), ["very " * 80 + "long"], [0])


def test_requests_that_do_not_fit_are_refused(make):
    with pytest.raises(ValueError, match="1 images, 2 prompts"):
        make().edit(pictures(1), ["snowy", "sunset"], [0])


# Sizes


@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((24, 24), 512, (512, 512)),
        ((1024, 768), 512, (512, 384)),
        ((33, 47), 512, (360, 512)),
        ((500, 10), 512, (512, 64)),
        ((100, 99), 64, (64, 64)),
        ((1, 1), 64, (64, 64)),
    ],
    ids=str,
)
def test_working_size(size, resolution, expected):
    assert working_size(*size, resolution) == expected


def test_resizing_keeps_flat_colours_and_averages_fine_patterns():
    flat = torch.full((1, 3, 9, 13), 0.3)
    torch.testing.assert_close(resize(flat, 64, 96), torch.full((1, 3, 64, 96), 0.3))
    checks = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float().expand(1, 3, -1, -1)
    assert (resize(checks, 8, 8) - 0.5).abs().max() < 0.05
    sharp = resize(torch.eye(4).expand(1, 3, -1, -1), 50, 50)
    assert sharp.min() >= 0
    assert sharp.max() <= 1
    assert resize(flat, 9, 13) is flat
