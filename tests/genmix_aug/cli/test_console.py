"""What the commands share: warnings, messages and paths."""

import os
import sys
import warnings

import pytest

from genmix_aug.cli.console import one_line, plain_console, with_home
from genmix_aug.editors.options import parse_options


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    return "/home/ada"


def test_home_is_put_into_options_at_any_depth(home):
    value = {"runs": "~/runs", "pairs": ["~", "a~b"], "options": {"genmix": {"fractals": "~/f"}}}
    assert with_home(value) == {
        "runs": f"{home}/runs",
        "pairs": [home, "a~b"],
        "options": {"genmix": {"fractals": f"{home}/f"}},
    }
    assert with_home("~ results") == "~ results"
    assert with_home(3) == 3


def test_home_is_put_into_an_editors_options(home):
    assert parse_options("model=~/m,steps=3") == {"model": f"{home}/m", "steps": 3}


def test_a_librarys_warning_is_a_line_without_its_code(capsys, monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    with plain_console("uda"):
        # as Python prints it where nobody records it
        text = warnings.formatwarning("two\n  lines", UserWarning, __file__, 1)
    assert text == "uda: warning: two lines\n"
    assert __file__ in warnings.formatwarning("usual", UserWarning, __file__, 1)


def test_pythons_switch_brings_the_whole_warning_back(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with plain_console("uda"):
        assert __file__ in warnings.formatwarning("usual", UserWarning, __file__, 1)


def test_what_is_of_no_use_is_passed_over(monkeypatch):
    with warnings.catch_warnings():
        warnings.resetwarnings()
        with plain_console("uda"), warnings.catch_warnings():
            ignored = [entry[2] for entry in warnings.filters if entry[0] == "ignore"]
    assert FutureWarning in ignored


def test_an_error_is_a_line_that_steers_no_terminal():
    assert one_line("a\n b\x1b[2J" + os.fsdecode(b"\xe9")) == r"a b\x1b[2J\udce9"
