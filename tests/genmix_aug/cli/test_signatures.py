"""Parsers made of signatures and docstrings."""

from dataclasses import dataclass

import pytest

from genmix_aug.cli.signatures import call, description_of, parser_of


@dataclass(frozen=True)
class Size:
    """A size.

    Args:
        width_px: across
        height_px: down
    """

    width_px: int = 3
    height_px: int = 4


WIDE = Size(width_px=9)


def act(name: str, *, store: str, size: Size = WIDE, words: list[str] = (), fast: bool = False):
    """Act on ``name``. And so on.

    More of it.

    Args:
        name: whom to act on,
            in two lines
        store: where to
        size: how large
        words: some
        fast: or slow
    """
    return name, store, size, list(words), fast


def run(*arguments):
    return call(act, vars(parser_of(act).parse_args(list(arguments))))


def test_defaults_are_those_of_the_signature():
    assert run("a", "--store", "b") == ("a", "b", Size(9, 4), [], False)


def test_fields_of_a_dataclass_are_flags():
    flags = ["--height-px", "7", "--words", "x", "y", "--fast"]
    assert run("a", "--store", "b", *flags) == ("a", "b", Size(9, 7), ["x", "y"], True)


@pytest.mark.parametrize("arguments", [["a"], ["--store", "b"]])
def test_what_has_no_default_is_required(arguments, capsys):
    with pytest.raises(SystemExit):
        run(*arguments)
    assert "required" in capsys.readouterr().err


def test_help_comes_from_docstrings():
    text = " ".join(parser_of(act).format_help().split())
    for part in ("Act on `name`. And so on. More of it.", "whom to act on, in two lines", "across"):
        assert part in text
    assert "how large" not in text, "a group is no option"
    assert description_of(act, short=True) == "Act on `name`"


def test_skipped_parameters_are_no_options():
    assert "--store" not in parser_of(act, skip=["store"]).format_help()
