from dataclasses import replace

import pytest

from uda.data.scenarios import class_split, numbered_by
from uda.data.spec import load_dataset_spec

COUNTS = {
    ("emoji_home", "opda"): (10, 5, 42),
    ("emoji_home", "osda"): (25, 0, 32),
    ("emoji_home", "pda"): (25, 32, 0),
    ("office_home", "opda"): (10, 5, 50),
    ("office_home", "osda"): (25, 0, 40),
    ("office_home", "pda"): (25, 40, 0),
}


@pytest.mark.parametrize(("dataset", "scenario"), COUNTS)
def test_class_counts_are_the_papers(dataset, scenario):
    split = class_split(load_dataset_spec(dataset), scenario)
    parts = (split.shared, split.source_private, split.target_private)
    assert tuple(map(len, parts)) == COUNTS[dataset, scenario]


def test_classes_are_numbered_shared_first_in_class_order():
    split = class_split(load_dataset_spec("office_home"), "opda")
    assert split.shared[0] == "Alarm_Clock"
    names = sorted(split.number, key=split.number.__getitem__)
    assert names == sorted(names)
    assert split.number[split.source_private[0]] == 10
    assert split.number[split.target_private[0]] == 15
    assert split.source_classes == tuple(names[:15])


def test_no_scenario_shares_all():
    split = class_split(load_dataset_spec("office_home"), "")
    assert len(split.shared) == 65
    assert split.target_classes == split.source_classes


def test_unknown_scenario_is_named():
    spec = load_dataset_spec("office_home")
    with pytest.raises(ValueError, match=r"office_home has no 'closed'; it has opda, osda, pda"):
        class_split(spec, "closed")


def test_a_models_order_numbers_the_classes_within_their_roles(spec):
    split = class_split(spec, "pda")  # shared: bar, cross, disc; only in the source: ring, square
    names = ("disc", "bar", "cross", "square", "ring")
    ours = numbered_by(names, split, spec, "m.pt")
    assert ours.source_classes == names
    assert [ours.number[name] for name in split.shared] == [1, 2, 0]
    assert (set(ours.shared), ours.target_private) == (set(split.shared), ())
    assert numbered_by(split.source_classes, split, spec, "m.pt") == split


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("bar cross zebra ring square", "with the class 'zebra', where 'disc' is expected"),
        (
            "bar cross disc ring square zebra",
            "of 6 classes, where .* has 5: with the class 'zebra'",
        ),
        ("bar cross disc ring", "of 4 classes, where .* has 5: without the class 'square'"),
        ("bar cross ring disc square", "whose class 2 is 'ring', where 'disc' is expected"),
    ],
)
def test_a_class_that_a_model_has_otherwise_is_named(spec, names, words):
    with pytest.raises(ValueError, match=f"^m.pt: a model {words}; restore the dataset's"):
        numbered_by(names.split(), class_split(spec, "pda"), spec, "m.pt")


@pytest.mark.parametrize("file", ["plain.txt", "plain.csv"])
def test_lists_which_name_classes_by_number_bear_no_other_order(spec, file):
    """Their pictures change their classes with the order, so there is no right number for them."""
    lists = replace(spec, domains={"Plain": file, "Dark": "Dark"})
    split, names = class_split(spec, "osda"), ("cross", "bar", "disc")
    with pytest.raises(ValueError, match="whose class 0 is 'cross', where 'bar' is expected"):
        numbered_by(names, split, lists, "m.pt")
    assert numbered_by(split.source_classes, split, lists, "m.pt") == split
