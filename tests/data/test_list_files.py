"""Lists of pictures as programs and people write them."""

import pytest

from uda.data.items import UNLABELLED, domain_items
from uda.data.list_files import read_list
from uda.data.spec import load_dataset_spec
from uda.inference.pictures import find_pictures

PICTURES = ["a.png", "my cat.png", "a, b.png", "a\r1.png"]


@pytest.fixture
def folder(tmp_path):
    for name in PICTURES:
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa.png\nmy cat.png\na, b.png\na\r1.png\n",
        b"a.png 3\r\nmy cat.png -1\r\na, b.png 0\r\na\r1.png 2\r\n",
        b'\xef\xbb\xbfpath,label\na.png,cat\nmy cat.png,a cat\n"a, b.png",2\na\r1.png,3\n',
        b"Filename,class,nearest\na.png,1,x\nmy cat.png,1,y\na, b.png\na\r1.png,,\n",
    ],
    ids=["byte order mark", "numbers", "table", "columns"],
)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_every_picture_of_a_list_is_predicted(folder, content, suffix):
    (folder / f"list{suffix}").write_bytes(content)
    assert find_pictures([str(folder / f"list{suffix}")]) == [folder / name for name in PICTURES]


def test_a_missing_picture_is_named_without_its_number(folder):
    (folder / "list.txt").write_text("not there.png\nnor this.png 3\n")
    listed = find_pictures([str(folder / "list.txt")])
    assert [path.name for path in listed] == ["not there.png", "nor this.png"]


@pytest.fixture
def domain(tmp_path):
    def with_lines(lines):
        (tmp_path / "list.csv").write_text(lines)
        (tmp_path / "d.yaml").write_text(
            "title: D\nroot: ''\ndomains: {A: list.csv}\nabbreviations: {A: A}\n"
            "classes: [cat, dog]\nscenarios: {}\n"
        )
        return [
            (item.path.name, item.class_name)
            for item in domain_items(load_dataset_spec(str(tmp_path / "d.yaml")), "A")
        ]

    return with_lines


def test_a_table_of_numbers_is_a_domain(domain):
    lines = 'path,label\nmy cat.png,0\n"a, b.png",1\na 7.png 1\nu.png,-1\n'
    expected = [("my cat.png", "cat"), ("a, b.png", "dog"), ("a 7.png", "dog")]
    assert domain(lines) == [*expected, ("u.png", UNLABELLED)]


@pytest.mark.parametrize("line", ["a.png", "a.png,cat", "a.png,2", "a, b.png,1", "7"])
def test_another_form_is_refused_with_the_expected_one(domain, line):
    with pytest.raises(ValueError, match=r"list.csv:2: expected .*'path,class-number'.* below 2"):
        domain(f"a.png,0\n{line}\n")


def test_a_list_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("a.png\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"list.txt: .* UTF-8"):
        read_list(tmp_path / "list.txt")
