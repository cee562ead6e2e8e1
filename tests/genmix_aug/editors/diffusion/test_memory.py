"""When memory is too small, and giving it back."""

import weakref

import pytest
import torch
from helpers.diffusion import difference, fails_over, pictures

from genmix_aug.editors import EDITORS

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


def test_a_released_editor_holds_no_model_and_loads_it_again(make):
    editor = make(steps=1)
    edit = editor.edit(pictures(1), ["snowy"], [0])
    unet = weakref.ref(editor._pipeline.unet)
    editor.release()
    assert unet() is None
    assert torch.equal(editor.edit(pictures(1), ["snowy"], [0]), edit)
    EDITORS["filters"]().release()  # has nothing to give back
