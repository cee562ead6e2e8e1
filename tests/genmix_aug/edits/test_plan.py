"""Which edits an image gets, and the command that makes them."""

import pytest
from helpers.edits import random_images

from genmix_aug.digests import image_digest
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore, MissingEditError
from genmix_aug.prompts import CROSS_DOMAIN


def digests(count):
    return [image_digest(image) for image in random_images(count)]


def test_requests_depend_on_content_alone():
    plan = EditPlan(("snowy", "mosaic", "sunset"), 5, "a", seed=1)
    requests = plan.requests(digests(3))
    assert len({seed for _, _, seed in requests}) == len(requests) == 15
    backwards = plan.requests(digests(3)[::-1])
    assert {(2 - index, prompt, seed) for index, prompt, seed in backwards} == set(requests)
    fewer = EditPlan(("sunset", "snowy", "mosaic"), 2, "b", seed=1).requests(digests(3))
    assert set(fewer) <= set(requests)


@pytest.mark.parametrize(
    ("prompts", "per_image", "message"),
    [
        ((), 1, "no prompts"),
        (("snowy", "snowy"), 1, "named twice: snowy"),
        (("snowy",), -1, "must be 0 or more"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(prompts, per_image, message):
    with pytest.raises(ValueError, match=message):
        EditPlan(prompts, per_image, "a")


def test_an_empty_store_lacks_every_edit(tmp_path):
    plan = EditPlan(("snowy",), 1, "a")
    with pytest.raises(MissingEditError, match="no edit of this image under 'snowy' by a"):
        plan.served_keys(EditStore(tmp_path), "00")


@pytest.mark.parametrize(
    ("plan", "flags"),
    [
        (EditPlan(CROSS_DOMAIN[::-1], 2, "a"), "--prompts cross-domain --per-image 2"),
        (
            EditPlan(("snowy", "retro comic"), 1, "a", 3, 64),
            "--prompts 'snowy,retro comic' --per-image 1 --seed 3 --square-px 64",
        ),
    ],
)
def test_the_command_says_all_but_the_editor(plan, flags):
    command = plan.command("my pictures", EditStore("edits"))
    assert command == f"genmix edit 'my pictures' --store edits {flags}"
