"""What an editor is that overrides `fingerprint` and `edit` alone."""

import torch

from genmix_aug.editors import Editor


class Negative(Editor):
    fingerprint = "negative-v1"

    def edit(self, images, prompts, seeds):
        return 255 - images


def test_lists_of_images_are_edited_as_a_batch():
    images = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    edits = Negative().edit_each(list(images), ["snowy"] * 2, [0, 1])
    assert torch.equal(torch.stack(edits), 255 - images)


def test_images_of_a_size_go_together():
    assert Negative().group(3, 4) == Negative().group(3, 4) != Negative().group(4, 3)


def test_the_defaults_take_any_prompt_and_do_nothing_more():
    editor = Negative()
    editor.prefer_device("cuda:1")
    editor.release()
    assert editor.prompts == ()
    assert editor.remarks() == {}
    assert not editor.uses_gpu
