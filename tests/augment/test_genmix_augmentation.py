"""GenMix in training: which edits are made and read, screened, joined and reported."""

import pytest
import torch
from helpers.edits import fill, requests_for

from genmix_aug.editors import Editor
from genmix_aug.edits.store import EditStore
from genmix_aug.mixing.fractal_folder import write_fractals
from genmix_aug.prompts import CROSS_DOMAIN, IN_DOMAIN
from uda.augment.genmix import GenMixAugmentation
from uda.config import CONFIGS, read_yaml

NAMES = ("a/0.png", "a/1.png", "b/0.png")


@pytest.fixture
def images(pictures):
    return pictures[:3]


def prepared(images, store, **options):
    augmentation = GenMixAugmentation(num_fractals=2, **options)
    augmentation.prepare(images, NAMES[: len(images)], store, seed=0)
    return augmentation


def test_edits_are_made_once(images, tmp_path, monkeypatch):
    first = prepared(images, tmp_path)
    calls = []
    edit = type(first.editor).edit
    monkeypatch.setattr(type(first.editor), "edit", lambda *a: calls.append(1) or edit(*a))
    again = prepared(images, tmp_path)
    assert again.keys == first.keys
    assert not calls
    assert torch.equal(again.edits, first.edits)


def test_edits_that_do_not_fit_in_memory_are_read_from_the_store(images, tmp_path, monkeypatch):
    loaded = prepared(images, tmp_path)
    monkeypatch.setattr("uda.augment.genmix.EDITS_IN_MEMORY", 0)
    reading = prepared(images, tmp_path)
    assert reading.edits is None
    ids, seeds = [0, 1], [3, 4]
    assert torch.equal(
        loaded.images(images[ids], ids, seeds), reading.images(images[ids], ids, seeds)
    )


def test_every_edit_is_drawn_on_every_side(images, tmp_path):
    augmentation = prepared(images[:1], tmp_path, edits_per_image=4, fractal_weight=0.0)
    results = {
        tuple(augmentation.images(images[:1], [0], [seed]).flatten().tolist())
        for seed in range(300)
    }
    assert len(results) == 16  # each of four edits on each of four sides


def test_stages_are_of_different_prompts(images, tmp_path):
    augmentation = prepared(images, tmp_path, edits_per_image=6)
    _, rows = augmentation.stages(images, [0, 1, 2], seed=0)
    assert list(rows[0]) == ["original", "edited", "mask", "hybrid", "fractal", "result"]
    assert torch.equal(rows[1]["original"], images[1])


class Blank(Editor):
    """Makes white edits of even seeds and negatives of odd seeds."""

    fingerprint, prompts = "blank-v1", ()

    def edit(self, images, prompts, seeds):
        drawn = torch.tensor([seed % 2 for seed in seeds], dtype=torch.uint8)[:, None, None, None]
        return drawn * (255 - images) + (1 - drawn) * 255


def test_rejected_edits_never_reach_training(images, tmp_path, monkeypatch):
    """White edits are redrawn; an image of which none is accepted stays as it is."""
    augmentation = GenMixAugmentation(num_fractals=1, edits_per_image=2, fractal_weight=0.0)
    augmentation.editor = Blank()
    augmentation.prepare(images, NAMES, tmp_path, seed=0)
    assert augmentation.store.rejected_keys()
    for row, key in enumerate(augmentation.keys):
        if key:
            assert torch.equal(augmentation.store.read(key), 255 - images[row // 2])
    # Take all edits of image 1 out of service, and none is drawn again.
    monkeypatch.setattr(Blank, "edit", lambda self, images, *_: torch.full_like(images, 255))
    for record in list(augmentation.store.entries()):
        if record["source"] == NAMES[1] and not record["reason"]:
            augmentation.store.reject(record, "white")
    again = GenMixAugmentation(num_fractals=1, edits_per_image=2, fractal_weight=0.0)
    again.editor = Blank()
    again.prepare(images, NAMES, tmp_path, seed=0)
    assert again.rows[1] == []
    out = again.images(images[[0, 1, 2]], [0, 1, 2], [4, 5, 6])
    assert torch.equal(out[1], images[1])
    for index in (0, 2):
        alone = again.images(images[[index]], [index], [4 + index])
        assert torch.equal(out[index], alone[0])
        assert not torch.equal(out[index], images[index])
    assert torch.equal(again.images(images[[1]], [1], [5]), images[[1]])
    assert [len(again.stages(images, [number], 0)[1]) for number in range(3)] == [1, 0, 1]


def test_everything_that_decides_a_run_is_in_its_identity(images, tmp_path):
    pictures = tmp_path / "fractals"
    write_fractals(pictures, 2, 8)
    plain, folder = GenMixAugmentation(), GenMixAugmentation(fractals=str(pictures))
    assert plain.identity == {"editor": "filters-v2", "editor_options": ""}
    before = folder.identity["fractals"]
    write_fractals(pictures, 3, 8)
    assert folder.identity["fractals"] != before
    folder.prepare(images, NAMES, tmp_path / "store", seed=0)
    assert folder.genmix.fractals.shape == (3, 3, 24, 24)


@pytest.mark.parametrize("join", ["cutmix", "mixup", "edited", "original"])
def test_joins_and_sides_reach_the_mixing(images, tmp_path, join):
    plain = prepared(images, tmp_path, fractal_weight=0.0)
    other = prepared(images, tmp_path, fractal_weight=0.0, join=join, sides="left, top")
    assert (other.genmix.join, other.genmix.sides) == (join, ("left", "top"))
    mixed = other.images(images, [0, 1, 2], [7, 8, 9])
    assert not torch.equal(mixed, plain.images(images, [0, 1, 2], [7, 8, 9]))
    if join == "original":
        assert torch.equal(mixed, images)
    if join == "edited":
        assert torch.equal(mixed, other.edits)


def test_screening_by_features(images, tmp_path):
    augmentation = prepared(images, tmp_path, screening="features")
    scores = [record["scores"] for record in augmentation.store.entries()]
    assert scores
    assert all("similarity" in score for score in scores)


@pytest.mark.parametrize("first", ["none", "pixels", "features", "command"])
@pytest.mark.parametrize("then", ["none", "pixels", "features"])
def test_a_run_takes_the_edits_that_its_screen_accepts(images, tmp_path, capsys, first, then):
    """Whatever filled the store before it: a run with another screen or `genmix edit`."""

    def run(screening, store):
        augmentation = GenMixAugmentation(
            num_fractals=1, edits_per_image=3, fractal_weight=0.0, screening=screening
        )
        augmentation.editor = Blank()
        return augmentation, augmentation.prepare(images, NAMES, store, seed=0)

    expected, expected_summary = run(then, tmp_path / "alone")
    if first == "command":
        requests = requests_for(images, CROSS_DOMAIN, 3)
        fill(EditStore(tmp_path / "store"), Blank(), images, requests)
    else:
        run(first, tmp_path / "store")
    capsys.readouterr()
    augmentation, summary = run(then, tmp_path / "store")
    assert (augmentation.keys, summary) == (expected.keys, expected_summary)
    assert torch.equal(augmentation.edits, expected.edits)
    whites = sum((edit == 255).all().item() for edit in augmentation.edits)
    assert bool(whites) == (then == "none")
    notice = "keeps as rejected are trained on: augment.options.genmix.screening none accepts"
    kept = then == "none" and first in ("pixels", "features")
    assert (notice in capsys.readouterr().out) == kept


def test_jpeg_files_are_reported_and_tell_runs_apart(images, tmp_path, capsys):
    lossless = GenMixAugmentation(num_fractals=1)
    plain = lossless.prepare(images, NAMES, tmp_path / "png", seed=0)
    assert plain["jpeg"] == 0
    assert "JPEG" not in capsys.readouterr().out
    requests = requests_for(images, CROSS_DOMAIN, 1)
    fill(EditStore(tmp_path / "jpeg", "jpeg"), lossless.editor, images, requests)
    lossy = GenMixAugmentation(num_fractals=1)
    summary = lossy.prepare(images, NAMES, tmp_path / "jpeg", seed=0)
    assert lossy.keys == lossless.keys
    assert summary["jpeg"] == 3
    assert summary["edits"] != plain["edits"]
    assert "3 of 3 edits in" in capsys.readouterr().out
    again = GenMixAugmentation(num_fractals=1, fractal_weight=0.5)
    assert again.prepare(images, NAMES, tmp_path / "png", seed=1) == plain, "of the edits alone"


class OnDevice(Blank):
    device = "auto"

    def __init__(self):
        self.log = []

    def edit(self, *request):
        self.log.append(self.device)
        return super().edit(*request)

    def prefer_device(self, device):
        self.device = device if self.device == "auto" else self.device

    def release(self):
        self.log.append("released")


@pytest.mark.parametrize(
    ("device", "option", "expected"),
    [
        (torch.device("cuda:3"), "auto", "cuda:3"),
        (torch.device("cpu"), "auto", "cpu"),
        (torch.device("cuda:3"), "cpu", "cpu"),
        (torch.device("meta"), "auto", "auto"),
        (None, "auto", "auto"),
    ],
)
def test_the_editor_works_on_the_runs_device_and_releases_it(
    images, tmp_path, device, option, expected
):
    augmentation = GenMixAugmentation(num_fractals=1, screening="none")
    augmentation.editor = OnDevice()
    augmentation.editor.device = option
    augmentation.prepare(images, NAMES, tmp_path, 0, device)
    assert augmentation.editor.log == [expected, "released"]


def test_a_failing_editor_releases_its_memory(images, tmp_path, monkeypatch):
    augmentation = GenMixAugmentation(num_fractals=1)
    augmentation.editor = OnDevice()

    def fail(*_):
        raise ValueError("memory is too small")

    monkeypatch.setattr(OnDevice, "edit", fail)
    with pytest.raises(ValueError, match="memory is too small"):
        augmentation.prepare(images, NAMES, tmp_path, 0)
    assert augmentation.editor.log == ["released"]


def test_bad_mixing_fails_before_any_edit_is_made(images, tmp_path):
    pictures = tmp_path / "fractals"
    write_fractals(pictures, 1, 8)
    (pictures / "torn.png").write_bytes(b"no picture")
    for options, message in (
        ({"blend_width": 300}, "augment.options.genmix: blend width 300 px does not fit an image"),
        ({"fractals": str(pictures)}, r"augment.options.genmix: cannot read image .*torn\.png"),
        ({"fractals": "nowhere"}, "augment.options.genmix: image folder nowhere does not exist"),
    ):
        with pytest.raises(ValueError, match=message):
            GenMixAugmentation(**options).prepare(images, NAMES, tmp_path / "store", seed=0)
        assert not (tmp_path / "store").exists()
    GenMixAugmentation(blend_width=300, join="mixup", num_fractals=1).prepare(
        images, NAMES, tmp_path / "store", seed=0
    )


def test_a_negative_blend_width_is_a_hard_cut(images, tmp_path):
    hard = prepared(images, tmp_path, fractal_weight=0.0, blend_width=-1, sides="left")
    mixed = hard.images(images, [0, 1, 2], [7, 8, 9])
    assert torch.equal(mixed[..., :12], hard.edits[..., :12])
    assert torch.equal(mixed[..., 12:], images[..., 12:])
    soft = prepared(images, tmp_path, fractal_weight=0.0, sides="left", blend_width=6)
    assert not torch.equal(soft.images(images, [0, 1, 2], [7, 8, 9]), mixed)


@pytest.mark.parametrize("recipe", ["cifar_100", "fine_grained"])
def test_the_recipes_diffusemix_joins_halves_and_adds_a_fractal(recipe, images, tmp_path):
    raw = read_yaml(CONFIGS / "experiments" / "in_domain" / f"{recipe}.yaml")
    rows = [row for row in raw["sweep"]["augmentations"] if isinstance(row, dict)]
    (row,) = [row for row in rows if row["title"] == "DiffuseMix"]
    augmentation = prepared(images, tmp_path, **row["options"]["genmix"])
    assert augmentation.prompts == IN_DOMAIN
    hybrids = []
    for first, second in [(images, augmentation.edits), (augmentation.edits, images)]:
        for dim in (2, 3):
            middle = torch.arange(24) < 12
            in_first = middle[:, None] if dim == 2 else middle[None, :]
            hybrids.append(torch.where(in_first, first, second).float())
    for seed in range(8):
        (mixed,) = augmentation.images(images[:1], [0], [seed])
        expected = [
            0.8 * hybrid[0] + 0.2 * fractal.float()
            for hybrid in hybrids
            for fractal in augmentation.genmix.fractals
        ]
        assert min(float((mixed - one).abs().max()) for one in expected) <= 0.51
