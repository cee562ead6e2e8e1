"""Options, presets and the fingerprint."""

from dataclasses import asdict

import pytest

from genmix_aug.editors import EDITORS
from genmix_aug.editors.diffusion.instruct_pix2pix import InstructPix2PixEditor

PRESETS = InstructPix2PixEditor.presets


def test_presets_are_overridden_by_options(folder):
    editor = InstructPix2PixEditor(preset="fast", steps=7, channels_last=False)
    assert asdict(editor.settings) == asdict(PRESETS["fast"]) | {"steps": 7, "channels_last": False}
    assert InstructPix2PixEditor().settings == PRESETS["released"]
    assert isinstance(EDITORS["instruct-pix2pix"](), InstructPix2PixEditor)


def test_the_fingerprint_names_what_changes_an_edit():
    plain = InstructPix2PixEditor().fingerprint
    assert plain == (
        "instruct-pix2pix-v1 timbrooks/instruct-pix2pix@31519b5cb02a7fd89b906d88731cd4d6a7bbf88d "
        "steps=100 text=4.0 image=1.5 px=512 euler-ancestral float16"
    ), "another would make edits that exist anew"
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
        ({"strength": 0.5}, "strength: 0.5, but this editor has no such option"),
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
