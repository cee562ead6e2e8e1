"""Options as keyword arguments."""

import pytest

from genmix_aug.options import resolved_options


def make(first, *, rate: float = 0.5, name: str = "a", count: int = 3, flag: bool | None = None):
    """A function with options and a parameter that is none."""


def resolve(**chosen):
    return resolved_options(
        make,
        chosen,
        unknown="no {key!r}: {known}",
        mistyped="{key}={value!r}, {wanted}",
        nothing="-",
    )


def test_chosen_values_stand_over_the_defaults():
    assert resolve(count=4) == {"rate": 0.5, "name": "a", "count": 4, "flag": None}


def test_numbers_serve_where_yaml_reads_them_instead():
    resolved = resolve(rate=1, name=31519)
    assert (resolved["rate"], resolved["name"]) == (1.0, "31519")
    assert type(resolved["rate"]) is float


def test_a_default_of_none_takes_any_type():
    assert resolve(flag=False)["flag"] is False


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"first": 1}, "no 'first': rate, name, count, flag"),
        ({"count": "x"}, "count='x', int"),
        ({"count": True}, "count=True, int"),
        ({"rate": "1"}, "rate='1', float"),
        ({"name": True}, "name=True, str"),
    ],
)
def test_what_does_not_fit_is_named(chosen, message):
    with pytest.raises(ValueError, match=message):
        resolve(**chosen)
    with pytest.raises(ValueError, match="no 'x': -"):
        resolved_options(
            lambda: None, {"x": 1}, unknown="no {key!r}: {known}", mistyped="", nothing="-"
        )
