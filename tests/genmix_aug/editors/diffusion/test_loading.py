"""Loading a pipeline, and what is wrong with it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.diffusion import pictures

from genmix_aug.editors.diffusion.instruct_pix2pix import InstructPix2PixEditor

ROOT = Path(__file__).resolve().parents[4]


def broken_copy(folder, tmp_path, part, **values):
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = json.loads((copy / part).read_text())
    (copy / part).write_text(json.dumps(content | values))
    return copy


def edit_with(make, model):
    make(model=str(model)).edit(pictures(1), ["snowy"], [0])


def test_other_pipelines_are_refused(make, folder, tmp_path):
    copy = broken_copy(folder, tmp_path, "model_index.json", _class_name="FluxPipeline")
    with pytest.raises(
        ValueError, match=f"model {copy} is a FluxPipeline, and instruct-pix2pix needs a Stable"
    ):
        edit_with(make, copy)


def test_ordinary_stable_diffusion_is_refused(make, folder, tmp_path):
    copy = broken_copy(folder, tmp_path, "unet/config.json", in_channels=4)
    with pytest.raises(ValueError, match="takes 4 channels, that of instruct-pix2pix takes 8"):
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
