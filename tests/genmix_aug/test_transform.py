"""GenMix as a transform: in a Dataset of files, in workers, over epochs."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers.edits import fill as fill_store
from helpers.edits import requests_for
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from genmix_aug.editors import EDITORS, Editor
from genmix_aug.edits.store import EditStore, MissingEditError
from genmix_aug.images import find_images, from_picture, load_rgb, to_picture
from genmix_aug.mixing.genmix import GenMix
from genmix_aug.prompts import CROSS_DOMAIN
from genmix_aug.screening.checks import Verdict
from genmix_aug.transform import GenMixTransform

PER_IMAGE = 2
SIZE = 40


def random_images(count, seed=0, size=SIZE):
    """Return smooth colours, so that JPEG and the filters have something to work on."""
    rng = np.random.default_rng(seed)
    small = torch.from_numpy(rng.integers(0, 256, (count, 3, 4, 5), dtype=np.uint8))
    return torch.nn.functional.interpolate(small, (size, size + 7), mode="bilinear")


def fill(store, images, prompts=CROSS_DOMAIN, screen=None, seed=0):
    requests = requests_for(images, prompts, PER_IMAGE, seed)
    return fill_store(EditStore(store), EDITORS["filters"](), images, requests, screen=screen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a tree of JPEGs and a transparent PNG, with the edits of all in a store."""
    root = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(random_images(9)):
        path = root / "tree" / f"class{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_picture(image).save(path, quality=90)
    layer = to_picture(random_images(1, seed=3)[0]).convert("RGBA")
    layer.putalpha(Image.linear_gradient("L").resize(layer.size))
    layer.save(root / "tree" / "class0" / "layer.png")
    fill(root / "edits", [load_rgb(path) for path in find_images(root / "tree")])
    return root


def transform(folder, **options):
    fractals = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    defaults = {"genmix": GenMix(fractals.byte(), blend_width=None), "per_image": PER_IMAGE}
    return GenMixTransform(folder / "edits", **{**defaults, **options})


def dataset(folder, augment, **options):
    steps = v2.Compose([augment, v2.PILToTensor(), v2.CenterCrop(32)])
    return ImageFolder(folder / "tree", transform=steps, **options)


def epoch_of(loader):
    batches = list(loader)
    return torch.cat([images for images, _ in batches]), torch.cat([y for _, y in batches])


def test_any_number_of_workers_gives_the_same_images(folder):
    augment = transform(folder, probability=0.7)
    data = dataset(folder, augment, loader=load_rgb)
    seen = {}
    for workers, persistent in ((0, False), (2, False), (2, True)):
        augment.set_epoch(0)
        loader = DataLoader(data, 3, num_workers=workers, persistent_workers=persistent)
        for epoch in range(3):
            augment.set_epoch(epoch)
            images, labels = epoch_of(loader)
            assert labels.tolist() == data.targets, "labels pass through"
            expected = seen.setdefault(epoch, images)
            assert torch.equal(images, expected), (workers, persistent, epoch)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.slow
def test_workers_that_are_spawned_see_the_epoch(folder):
    augment = transform(folder)
    data = dataset(folder, augment, loader=load_rgb)
    spawned = DataLoader(
        data, 5, num_workers=1, persistent_workers=True, multiprocessing_context="spawn"
    )
    for epoch in (3, 4):
        augment.set_epoch(epoch)
        assert torch.equal(epoch_of(spawned)[0], epoch_of(DataLoader(data, 5))[0])


def test_the_result_depends_on_seed_epoch_and_pixels_alone(folder):
    paths = find_images(folder / "tree")
    images = [load_rgb(path) for path in paths]
    first, again, other = transform(folder), transform(folder), transform(folder, seed=1)
    expected = [first(image) for image in images]
    backwards = [again(image) for image in reversed(images)]
    assert all(torch.equal(*pair) for pair in zip(expected, reversed(backwards), strict=True))
    assert not all(
        torch.equal(image, other(source)) for image, source in zip(expected, images, strict=True)
    )
    first.set_epoch(7)
    assert first.epoch == 7
    assert not all(
        torch.equal(image, first(source)) for image, source in zip(expected, images, strict=True)
    )


def test_an_augmented_image_is_genmix_of_one_of_its_edits(folder):
    image = load_rgb(find_images(folder / "tree")[0])
    augment = transform(folder, probability=1)
    store, genmix = EditStore(folder / "edits"), augment.genmix
    keys = fill(folder / "edits", [image])
    drawn = set()
    for epoch in range(40):
        augment.set_epoch(epoch)
        result = augment(image)
        assert (result.dtype, result.shape) == (torch.uint8, image.shape)
        # Each way of joining that the options allow, in turn: which was it?
        for number, key in enumerate(keys):
            for side in genmix.sides:
                for noise in range(len(genmix.fractals)):
                    way = GenMix(genmix.fractals[[noise]], None, sides=(side,))
                    if torch.equal(way(image, store.read(key), 0), result):
                        drawn.add((number, side, noise))
    assert {number for number, _, _ in drawn} == {0, 1}
    assert {side for _, side, _ in drawn} == set(genmix.sides)
    assert {noise for _, _, noise in drawn} == {0, 1, 2, 3}


def test_the_share_of_augmented_images_is_the_probability(folder):
    image = load_rgb(find_images(folder / "tree")[0])
    for probability in (0, 0.3, 1):
        augment = transform(folder, probability=probability)
        changed = 0
        for epoch in range(200):
            augment.set_epoch(epoch)
            changed += not torch.equal(augment(image), image)
        assert (
            abs(changed / 200 - probability) <= 4 * (probability * (1 - probability) / 200) ** 0.5
        )


def test_every_kind_of_image_gives_the_same_pixels_and_stays_its_kind(folder):
    image = load_rgb(find_images(folder / "tree")[1])
    augment = transform(folder, probability=1)
    expected = augment(image)
    assert type(expected) is torch.Tensor
    assert not torch.equal(expected, image)
    picture = augment(to_picture(image))
    assert isinstance(picture, Image.Image)
    assert torch.equal(from_picture(picture), expected)
    wrapped = augment(tv_tensors.Image(image))
    assert type(wrapped) is tv_tensors.Image
    assert torch.equal(wrapped.as_subclass(torch.Tensor), expected)


@pytest.mark.parametrize("probability", [0, 1])
def test_pillow_images_become_rgb_augmented_or_not(folder, probability):
    """A transparent PNG, opened as it is: the pixels are those of `load_rgb`."""
    path = folder / "tree" / "class0" / "layer.png"
    with Image.open(path) as picture:
        result = transform(folder, probability=probability)(picture)
    assert result.mode == "RGB"
    assert torch.equal(from_picture(result), load_rgb(path)) == (probability == 0)


def test_the_rest_of_a_sample_passes_through(folder):
    image = load_rgb(find_images(folder / "tree")[0])
    augment = transform(folder, probability=1)
    mask = tv_tensors.Mask(torch.ones(1, *image.shape[1:], dtype=torch.uint8))
    label, vector = torch.tensor(4), torch.ones(3)
    sample = {"image": tv_tensors.Image(image), "mask": mask, "label": label, "more": [vector, "a"]}
    out = v2.Compose([augment])(sample)
    assert torch.equal(out["image"], augment(image))
    assert out["mask"] is mask
    assert out["label"] is label
    assert out["more"][0] is vector
    assert out["more"][1] == "a"
    first, second = augment(image, label)
    assert torch.equal(first, augment(image))
    assert second is label


@pytest.mark.parametrize("rejected", [1, 2])
def test_rejected_edits_are_not_used(tmp_path, rejected):
    """All of an image's edits rejected: it stays; one of two: the other is used."""
    image = random_images(1, seed=5)[0]
    requests = requests_for([image], CROSS_DOMAIN, PER_IMAGE)
    asked = [request.prompt for request in requests]

    def screen(originals, edits):
        verdicts = []
        for edit in edits:
            bad = any(torch.equal(edit, made[prompt]) for prompt in asked[:rejected])
            verdicts.append(Verdict("unchanged" if bad else "", {}))
        return verdicts

    # The filters vary with the seed: know the edits of every attempt by their prompt.
    editor, made = EDITORS["filters"](), {}

    class Recorded(Editor):
        fingerprint, prompts = editor.fingerprint, editor.prompts

        def edit(self, images, prompts, seeds):
            edits = editor.edit(images, prompts, seeds)
            made.update(zip(prompts, edits, strict=True))
            return edits

    store = EditStore(tmp_path / "edits")
    keys = fill_store(store, Recorded(), [image], requests, batch_size=1, screen=screen)
    assert keys[0] is None
    augment = transform(tmp_path, probability=1)
    unchanged = 0
    for epoch in range(12):
        augment.set_epoch(epoch)
        unchanged += torch.equal(augment(image), image)
    assert unchanged == (12 if rejected == 2 else 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_edit_says_what_makes_it(folder, workers):
    data = dataset(folder, transform(folder, probability=1, edit_seed=99), loader=load_rgb)
    loader = DataLoader(data, 1, num_workers=workers)
    batches = iter(loader)
    with pytest.raises(MissingEditError) as raised:
        next(batches)
    message = str(raised.value).splitlines()[-1]  # a worker's comes below its traceback
    store = folder / "edits"
    command = f"genmix edit FOLDER --store {store} --prompts cross-domain --per-image 2 --seed 99"
    assert f"`{command}`" in message
    assert "genmix_aug.images.load_rgb" in message
    assert "filters" in message


def test_another_seed_of_the_edits_asks_for_other_edits(folder, tmp_path):
    image = random_images(1)[0]
    fill(tmp_path / "edits", [image], seed=3)
    assert transform(tmp_path, probability=1, edit_seed=3)(image).shape == image.shape
    with pytest.raises(MissingEditError, match="genmix edit FOLDER"):
        transform(tmp_path, probability=1)(image)


def test_prompts_are_a_set_a_text_or_a_sequence(folder):
    for words in ("snowy, retro comic", ["snowy", "retro comic"]):
        augment = transform(folder, prompts=words, probability=1)
        assert augment.plan.prompts == ("snowy", "retro comic")
        with pytest.raises(MissingEditError, match="--prompts 'snowy,retro comic' --per-image 2`"):
            augment(random_images(1)[0])
    assert transform(folder, prompts="cross-domain").plan.prompts == CROSS_DOMAIN


def test_an_editor_is_named_in_three_ways(folder):
    editor = EDITORS["filters"]()
    for name in ("filters", editor, editor.fingerprint):
        assert transform(folder, editor=name).plan.fingerprint == editor.fingerprint


def test_copies_have_the_same_settings_and_an_epoch_of_their_own(folder):
    image = load_rgb(find_images(folder / "tree")[0])
    augment = transform(folder, probability=1)
    augment.set_epoch(5)
    for copied in (pickle.loads(pickle.dumps(augment)), copy.deepcopy(augment)):
        assert torch.equal(copied(image), augment(image))
        assert copied._epoch.is_shared()
        copied.set_epoch(6)
        assert augment.epoch == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_image": 0}, "per_image must be at least 1"),
        ({"probability": 1.5}, "probability must be in"),
        ({"prompts": ()}, "no prompt in"),
        ({"prompts": ("snowy", "snowy")}, "named twice: snowy"),
    ],
)
def test_senseless_options_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        transform(folder, **options)


@pytest.mark.parametrize(
    "image", [torch.rand(3, 8, 8), torch.zeros(1, 8, 8).byte(), torch.zeros(2, 3, 8, 8).byte()]
)
def test_images_that_cannot_be_found_by_content_are_refused(folder, image):
    with pytest.raises(ValueError, match="put it before transforms"):
        transform(folder)(image)


@pytest.mark.parametrize(
    "sample",
    [
        np.zeros((8, 8, 3), np.uint8),
        (np.zeros((8, 8, 3), np.uint8), 3),
        {"image": np.zeros((8, 8, 3), np.uint8), "label": torch.tensor(3)},
        ("a.png", 3),
        tv_tensors.Mask(torch.zeros(1, 8, 8)),
    ],
    ids=range(5),
)
@pytest.mark.parametrize("probability", [0, 1])
def test_a_sample_without_an_image_is_refused(folder, sample, probability):
    """To torchvision a NumPy array is no image: it would pass as it is, for ever."""
    with pytest.raises(ValueError, match=r"no image in a sample of .*load_rgb.*v2\.ToImage"):
        v2.Compose([transform(folder, probability=probability)])(sample)


def test_arrays_beside_an_image_pass_through(folder):
    image = load_rgb(find_images(folder / "tree")[0])
    boxes, mask = np.zeros((2, 4)), np.zeros((*image.shape[1:], 1))
    out = transform(folder, probability=1)(image, {"boxes": boxes, "mask": mask})
    assert not torch.equal(out[0], image)
    assert out[1]["boxes"] is boxes
    assert out[1]["mask"] is mask


@pytest.mark.parametrize("editor", ["filter", "filters-v1", "instruct-pix2pix-v1 nothing"])
def test_an_editor_that_made_nothing_is_refused_at_once(folder, editor):
    message = rf"unknown editor '{editor}': choose from filters, .* has edits by filters-v2"
    with pytest.raises(ValueError, match=message):
        transform(folder, editor=editor)


def test_an_editor_is_not_asked_of_an_empty_store(tmp_path):
    assert transform(tmp_path, editor="filters").plan.fingerprint == "filters-v2"
    with pytest.raises(ValueError, match="has edits by none"):
        transform(tmp_path, editor="filters-v2")


def test_prompts_may_name_sets_in_a_sequence(folder):
    assert transform(folder, prompts=["cross_domain"]).plan.prompts == CROSS_DOMAIN
    with pytest.raises(ValueError, match="is the set cross-domain meant"):
        transform(folder, prompts=["cross-domian"])


def test_without_a_genmix_it_makes_its_own(folder, monkeypatch):
    monkeypatch.setattr("genmix_aug.transform.DEFAULT_FRACTALS", (2, 16))
    augment = GenMixTransform(folder / "edits", per_image=PER_IMAGE, probability=1)
    assert augment.genmix == GenMix(augment.genmix.fractals, blend_width=None)
    assert len(augment.genmix.fractals) == 2
    image = load_rgb(find_images(folder / "tree")[0])
    assert not torch.equal(augment(image), image)
