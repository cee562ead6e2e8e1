"""Fractals: deterministic, colourful, filling the frame, self-similar by construction."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from genmix_aug.mixing import fractal_folder
from genmix_aug.mixing.fractal_folder import load_fractals, write_fractals
from genmix_aug.mixing.fractals import chaos_game, draw_fractal, draw_fractals, draw_system


@pytest.fixture(scope="module")
def some():
    return draw_fractals(12, 64, seed=5)


def test_deterministic_by_seed(some):
    assert some.shape == (12, 3, 64, 64)
    assert some.dtype == torch.uint8
    assert torch.equal(draw_fractals(3, 64, seed=5), some[:3])
    assert not torch.equal(draw_fractals(1, 64, seed=6)[0], some[0])
    assert torch.equal(draw_fractal(8, 33), draw_fractal(8, 33))


def test_no_two_alike(some):
    flat = some.flatten(1).float()
    apart = (flat[:, None] - flat[None]).abs().mean(dim=2)
    assert (apart + 1e6 * torch.eye(12)).min() > 15


def test_colourful_and_full(some):
    image = some.float()
    chroma = image.amax(dim=1) - image.amin(dim=1)
    assert (chroma.flatten(1).mean(dim=1) > 40).all()
    # Detail in most parts of the frame, so that every crop gets some.
    blocks = image.mean(dim=1).unfold(1, 16, 16).unfold(2, 16, 16).flatten(3).std(dim=3)
    assert ((blocks > 4).float().mean(dim=(1, 2)) > 0.5).all()


def test_all_maps_contract():
    for seed in range(40):
        system = draw_system(np.random.default_rng(seed))
        norms = np.linalg.norm(system.matrix, ord=2, axis=(1, 2))
        assert (norms < 0.95).all()
        assert system.chance.sum() == pytest.approx(1)
        assert (system.chance > 0).all()


def test_the_attractor_is_the_union_of_its_images():
    """Points mapped by any of the maps fall where the chaos game puts points (Hutchinson)."""
    rng = np.random.default_rng(0)
    system = draw_system(np.random.default_rng(3))
    points, paint = chaos_game(system, 60_000, rng)
    assert points.shape == (60_000, 2)
    assert paint.shape == (60_000, 3)
    low, high = points.min(axis=0), points.max(axis=0)

    def cells(where):
        index = np.clip((where - low) / (high - low) * 24, 0, 23.999).astype(int)
        return set(map(tuple, index))

    mapped = set()
    for matrix, shift in zip(system.matrix, system.shift, strict=True):
        mapped |= cells(points @ matrix.T + shift)
    attractor = cells(points)
    assert len(mapped ^ attractor) <= 0.05 * len(attractor)


@pytest.mark.parametrize("size", [1, 2, 17])
def test_any_size(size):
    assert draw_fractal(0, size).shape == (3, size, size)


def test_senseless_requests_are_refused(tmp_path):
    for call in (
        lambda: draw_fractal(0, 0),
        lambda: draw_fractals(0, 8),
        lambda: load_fractals(tmp_path, 0),
    ):
        with pytest.raises(ValueError, match="at least 1"):
            call()


def test_a_folder_of_fractals(tmp_path, some):
    with pytest.raises(ValueError, match="has no images"):
        load_fractals(tmp_path, 32)
    pixels = some[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[:40]).save(tmp_path / "b.png")
    assert torch.equal(load_fractals(tmp_path, 64)[0], some[0])
    assert load_fractals(tmp_path, 32).shape == (2, 3, 32, 32)


def written(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_set_on_disk_is_the_set_in_memory(tmp_path, some):
    folder = tmp_path / "new" / "set"
    assert write_fractals(folder, 3, 64, seed=5) == 3
    assert sorted(written(folder)) == ["0000.png", "0001.png", "0002.png", "fractals.json"]
    assert torch.equal(load_fractals(folder, 64), some[:3])
    before = written(folder)
    assert write_fractals(folder, 5, 64, seed=5) == 2
    assert torch.equal(load_fractals(folder, 64), some[:5])
    assert torch.equal(load_fractals(folder, 64, most=2), some[[0, 2]])
    assert write_fractals(folder, 2, 64, seed=5) == 0
    assert len(written(folder)) == 6
    assert before.items() <= written(folder).items()


@pytest.mark.parametrize(("count", "most"), [(5, 4), (5, 5), (4, 5), (9, 2), (11, 10), (3, 1)])
def test_of_too_many_pictures_an_even_sample_of_so_many_is_taken(tmp_path, count, most):
    for number in range(count):
        Image.new("RGB", (2, 2), (number, 0, 0)).save(tmp_path / f"{number:02d}.png")
    taken = load_fractals(tmp_path, 2, most)[:, 0, 0, 0].tolist()
    assert len(taken) == min(count, most)
    assert taken[0] == 0
    gaps = {after - before for before, after in pairwise(taken)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    with pytest.raises(ValueError, match="at least 1"):
        load_fractals(tmp_path, 2, 0)


def test_only_what_is_missing_or_broken_is_made_again(tmp_path):
    write_fractals(tmp_path, 4, 16)
    whole = written(tmp_path)
    (tmp_path / "0000.png").unlink()
    (tmp_path / "0001.png").write_bytes(whole["0001.png"][:-20])
    (tmp_path / "0003.png").write_bytes(b"")
    assert write_fractals(tmp_path, 4, 16) == 3
    assert written(tmp_path) == whole


@pytest.mark.slow
def test_processes_draw_the_same(tmp_path):
    assert write_fractals(tmp_path / "single", 3, 16, seed=2) == 3
    assert write_fractals(tmp_path / "two", 3, 16, seed=2, workers=2) == 3
    assert written(tmp_path / "single") == written(tmp_path / "two")


def test_of_two_sets_begun_at_once_the_second_is_refused(tmp_path, monkeypatch):
    """Both have looked into the folder before either has written into it."""
    read = fractal_folder.read_mark

    def begun_meanwhile(path):
        monkeypatch.setattr(fractal_folder, "read_mark", read)
        assert write_fractals(tmp_path / "set", 1, 16, seed=0) == 1
        return None

    monkeypatch.setattr(fractal_folder, "read_mark", begun_meanwhile)
    monkeypatch.setattr(fractal_folder.Path, "iterdir", lambda path: iter(()))
    with pytest.raises(ValueError, match="holds fractals of size 16, seed 0, .* not size 16, seed"):
        write_fractals(tmp_path / "set", 2, 16, seed=1)
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "0000.png",
        "fractals.json",
    ]


def test_sets_are_not_mixed(tmp_path):
    write_fractals(tmp_path / "set", 1, 16, seed=2)
    whole = written(tmp_path / "set")
    for size, seed in ((17, 2), (16, 3)):
        with pytest.raises(ValueError, match=f"size 16, seed 2.* not size {size}, seed {seed}"):
            write_fractals(tmp_path / "set", 2, size, seed)
    assert written(tmp_path / "set") == whole
    for content in (b"", b"[1]", b"\xff"):
        (tmp_path / "set" / "fractals.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"fractals\.json cannot be read"):
            write_fractals(tmp_path / "set", 2, 16, 2)
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "mine" / "a.JPG")
    with pytest.raises(ValueError, match=r"mine holds pictures that were not made as fractals"):
        write_fractals(tmp_path / "mine", 1, 16)
    assert list(written(tmp_path / "mine")) == ["a.JPG"]


@pytest.mark.parametrize(("count", "size", "workers"), [(0, 8, 1), (1, 0, 1), (1, 8, 0)])
def test_nothing_is_written_for_senseless_sets(tmp_path, count, size, workers):
    with pytest.raises(ValueError, match="at least 1"):
        write_fractals(tmp_path / "set", count, size, workers=workers)
    assert not (tmp_path / "set").exists()


def test_a_failed_write_leaves_nothing_half_written(tmp_path, monkeypatch):
    write_fractals(tmp_path, 1, 16)
    before = written(tmp_path)

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_fractals(tmp_path, 2, 16)
    assert written(tmp_path) == before
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_fractals(tmp_path / "file", 1, 16)
