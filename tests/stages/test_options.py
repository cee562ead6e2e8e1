import pytest

from uda.stages.options import resolve_options


def make(*, open_set, rate: float = 0.5, space: str = "tsne", every: int = 10, flag: bool = False):
    """Takes options, as methods and augmentations do."""


def none(*, open_set):
    """Takes no options."""


def test_configured_options_override_the_defaults():
    resolved = resolve_options({"make": make}, "make", {"make": {"every": 3, "rate": 1}}, "adapt")
    assert resolved == {"rate": 1.0, "space": "tsne", "every": 3, "flag": False}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("other", {}, "adapt.method: 'other' is not one of make, none"),
        ("make", {"rate": 1}, "adapt.options.rate: not one of make, none"),
        ("make", {"make": {"rat": 1}}, "adapt.options.make.rat: unknown; known: rate"),
        ("make", {"make": {"every": "x"}}, "adapt.options.make.every: 'x' is not a int"),
        ("none", {"make": {"rat": 1}}, "adapt.options.make.rat: unknown; known: rate"),
        ("make", {"make": {"every": True}}, "adapt.options.make.every: True is not a int"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        resolve_options({"make": make, "none": none}, name, options, "adapt")
