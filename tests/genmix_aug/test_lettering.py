"""Names from anywhere, in terminals and pictures."""

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from genmix_aug import lettering
from genmix_aug.contact_sheet import label_font
from genmix_aug.lettering import aligned, font_file, legible, printable


@pytest.fixture
def cat_font(tmp_path, monkeypatch):
    """The one font of a machine besides Matplotlib's: it has a cat and Latin letters."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000)
    names = {ord(letter): f"u{ord(letter):04x}" for letter in "猫abc ?"}
    font.setupGlyphOrder([".notdef", *names.values()])
    font.setupCharacterMap(names)
    font.setupGlyf(dict.fromkeys([".notdef", *names.values()], pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Cat", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "cat.ttf")
    monkeypatch.setattr(lettering, "_fonts", lambda: [tmp_path / "cat.ttf"])
    return tmp_path / "cat.ttf"


def test_what_no_terminal_shows_is_escaped():
    assert printable("b\udce9r\r\n\x1b[2J\u2028 猫 é") == r"b\udce9r\r\n\x1b[2J\u2028 猫 é"


def test_a_font_of_the_machine_that_has_the_letters_is_taken(cat_font):
    assert font_file("a cat") == lettering.usual_font()
    assert font_file("猫 abc") == cat_font
    assert label_font("猫", 12).getname() == ("Cat", "Regular")
    assert legible(["猫", "Ärger"]) == (["猫", "Ärger"], [])


def test_numbers_stand_for_names_without_a_font(cat_font):
    texts, lines = legible(["猫", "고양이", "a", "犬", "고양이"])
    assert texts == ["猫", "[1]", "a", "[2]", "[1]"]
    assert lines == ["Names for whose letters no font is installed: [1] 고양이, [2] 犬"]


def test_unicodes_last_resort_which_has_boxes_for_all_letters_is_not_taken():
    assert not any("LastResort" in file.name for file in lettering._fonts())


def test_columns_of_a_table_are_lined_up():
    rows = [["", "runs", "by"], ["LEAD", "12", "x"], ["A", "1", ""]]
    assert aligned(rows) == ["      runs  by", "LEAD    12   x", "A        1"]
    assert aligned(rows, left=(0, 2)) == [
        "      runs  by",
        "LEAD    12  x",
        "A        1",
    ]
