import numpy as np
import pytest
import yaml
from helpers.phone import noise, save_tagged
from helpers.tiny import make_dataset
from PIL import Image

from genmix_aug.images import load_rgb
from uda.cli.main import main
from uda.data.check import check_dataset, describe, fix_names
from uda.data.near_duplicates import HASH_BYTES, hash_image, near_pairs
from uda.data.spec import load_dataset_spec


@pytest.fixture
def dataset(tmp_path):
    path = make_dataset(tmp_path, per_class=2)
    spec = yaml.safe_load(path.read_text())
    spec["images"] = {"Plain": 10, "Dark": [9, 10]}
    spec["domains"]["Dark"] = ["Dark", "Dim"]
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def check(path, *more):
    return main(["data", "check", str(path), "--workers", "1", *more])


def test_a_whole_dataset_has_no_problem(dataset, capsys):
    assert check(dataset) == 0
    text = capsys.readouterr().out
    assert "Plain: 10 images of 5 of 5 classes" in text
    assert "Plain and Dark: 0 pairs of near-duplicates" in text
    assert text.splitlines()[-1] == "WHOLE: Tiny, 2 domains as expected"


def test_faults_are_named(dataset, capsys):
    plain = dataset.parent / "pictures" / "Plain"
    (plain / "bar" / "00.png").write_bytes((plain / "bar" / "00.png").read_bytes()[:80])
    (plain / "ring" / "00.png").write_text("no picture")
    for picture in (plain / "disc").iterdir():
        picture.unlink()
    (plain / "extra").mkdir()
    (plain / "extra" / "00.png").write_bytes((plain / "bar" / "01.png").read_bytes())
    assert check(dataset) == 1
    text = capsys.readouterr().out
    assert f"! cannot be read: {plain / 'ring' / '00.png'}: no image" in text
    assert f"! cannot be read: {plain / 'bar' / '00.png'}: " in text
    assert "! no picture of disc" in text
    assert "! 8 images where 10 are expected" in text
    assert "passed over, no class of Tiny: extra" in text
    assert text.splitlines()[-1] == "NOT WHOLE: Tiny has 4 problems"


def test_links_are_named_as_a_problem_of_their_domain(dataset, capsys):
    plain = dataset.parent / "pictures" / "Plain"
    (plain / "whale").symlink_to("unmounted")
    (plain / "bar" / "gone.png").symlink_to("nowhere.png")
    assert check(dataset) == 1
    assert f"! {plain / 'whale'}: a link that leads nowhere" in capsys.readouterr().out
    (plain / "whale").unlink()
    assert check(dataset) == 1
    problem = f"! cannot be read: {plain / 'bar' / 'gone.png'}: no such file"
    assert problem in capsys.readouterr().out


def test_near_duplicates_across_domains_are_counted(dataset):
    pictures = dataset.parent / "pictures"
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).resize((128, 128))
    noise.save(pictures / "Plain" / "bar" / "00.png")
    noise.resize((90, 90)).save(pictures / "Dark" / "ring" / "01.jpg", quality=80)
    (pictures / "Dark" / "ring" / "01.png").unlink()
    checked = check_dataset(load_dataset_spec(str(dataset)))
    assert not checked.problems
    ((pair,),) = checked.near.values()
    assert pair.first == pictures / "Plain" / "bar" / "00.png"
    assert pair.second == pictures / "Dark" / "ring" / "01.jpg"


def test_near_pairs_are_those_of_a_naive_count():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (7, HASH_BYTES), np.uint8)
    second = np.concatenate([first[[2, 5, 5]], rng.integers(0, 256, (2, HASH_BYTES), np.uint8)])
    second[1, 0] ^= 0b111
    naive = [
        [i, j]
        for i, a in enumerate(first)
        for j, b in enumerate(second)
        if np.unpackbits(a ^ b).sum() <= 3
    ]
    assert sorted(near_pairs(first, second, 3).tolist()) == naive == [[2, 0], [5, 1], [5, 2]]
    assert near_pairs(first, second, 2).tolist() == [[2, 0], [5, 2]]
    assert near_pairs(first[:0], second, 3).shape == (0, 2)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16", "LAB"])
def test_pictures_of_any_mode_have_a_hash(mode, tmp_path):
    Image.new(mode, (5, 9), 1 if mode in "1 L P I;16" else None).save(tmp_path / "x.tif")
    hashes = hash_image(tmp_path / "x.tif")
    assert (hashes.problem, len(hashes.perceptual)) == ("", HASH_BYTES)
    load_rgb(tmp_path / "x.tif")  # what one reader takes, the other does


def test_a_picture_that_is_turned_is_a_duplicate_of_one_that_is_upright(tmp_path):
    save_tagged(tmp_path / "phone.png", noise(40, 60))
    noise(40, 60).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    phone, upright = hash_image(tmp_path / "phone.png"), hash_image(tmp_path / "upright.png")
    assert phone.perceptual == upright.perceptual


def test_an_absent_domain_is_a_problem_unless_optional_or_not_asked_for(dataset, capsys):
    (dataset.parent / "pictures" / "Dark").rename(dataset.parent / "pictures" / "Sombre")
    assert check(dataset) == 1
    text = capsys.readouterr().out
    assert f"! no Dark or Dim in {dataset.parent / 'pictures'}" in text
    assert "--fix-names renames" in text
    assert check(dataset, "--domains", "Plain") == 0
    spec = yaml.safe_load(dataset.read_text())
    dataset.write_text(yaml.safe_dump({**spec, "optional": ["Dark"]}))
    assert check(dataset) == 0
    assert check(dataset, "--domains", "Dark") == 1
    assert check(dataset, "--domains", "Drak") == 1
    assert "no domain 'Drak'; it has" in capsys.readouterr().err
    assert check(dataset, "--workers", "0") == 1


def test_a_root_one_level_too_high_is_pointed_out(dataset, capsys):
    assert check(dataset, "--root", str(dataset.parent)) == 1
    text = capsys.readouterr().out
    assert f"The domains are in {dataset.parent / 'pictures'}: name it with --root" in text


def test_names_are_fixed_and_nothing_else(dataset, capsys):
    pictures = dataset.parent / "pictures"
    (pictures / "Plain").rename(pictures / "plain")
    (pictures / "Dark" / "square").rename(pictures / "Dark" / "SQUARE")
    (pictures / "Dark").rename(pictures / "dim")
    (pictures / "other").mkdir()
    assert check(dataset) == 1
    capsys.readouterr()
    (pictures / "plain").rename(pictures / "Plain")
    (pictures / "dim").rename(pictures / "Dark")
    assert check(dataset) == 1  # a class alone
    assert "--fix-names renames those whose names are nearly a class's" in capsys.readouterr().out
    (pictures / "Plain").rename(pictures / "plain")
    (pictures / "Dark").rename(pictures / "dim")
    assert check(dataset, "--fix-names") == 0
    text = capsys.readouterr().out
    assert f"renamed {pictures / 'plain'} to Plain" in text
    assert f"renamed {pictures / 'dim'} to Dark" in text
    assert f"renamed {pictures / 'Dark' / 'SQUARE'} to square" in text
    assert sorted(path.name for path in pictures.iterdir()) == ["Dark", "Plain", "other"]
    assert fix_names(load_dataset_spec(str(dataset))) == []


def test_two_folders_for_the_same_name_are_left_alone(dataset):
    pictures = dataset.parent / "pictures"
    (pictures / "Dark").rename(pictures / "dark")
    (pictures / "d_ark").mkdir()
    with pytest.raises(ValueError, match="both 'd_ark' and 'dark' could be 'Dark'"):
        fix_names(load_dataset_spec(str(dataset)))
    assert (pictures / "dark").is_dir()
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        fix_names(load_dataset_spec(str(dataset), "/nowhere"))


def test_in_domain_datasets_are_not_checked(capsys):
    assert main(["data", "check", "cifar_100"]) == 1
    assert "CIFAR-100 is for training in one domain" in capsys.readouterr().err


def test_several_processes_report_the_same(dataset):
    (dataset.parent / "pictures" / "Plain" / "bar" / "00.png").write_text("")
    spec = load_dataset_spec(str(dataset))
    assert check_dataset(spec, workers=2) == check_dataset(spec)


def test_long_lists_of_problems_are_cut(dataset, monkeypatch):
    monkeypatch.setattr("uda.data.check.MOST_UNREADABLE", 3)
    for picture in (dataset.parent / "pictures" / "Plain").glob("*/*.png"):
        picture.write_text("")
    dataset.write_text(dataset.read_text() + "images: {Plain: 8}\n")
    lines = describe(spec := load_dataset_spec(str(dataset)), check_dataset(spec))
    wrong = [line for line in lines if "!" in line]
    assert wrong[0] == "  ! 10 images where 8 are expected"
    assert len([line for line in wrong if "cannot be read: " in line]) == 3
    assert wrong[-1] == "  ! and 7 more that cannot be read"
    assert lines[-1] == "NOT WHOLE: Tiny has 11 problems"
