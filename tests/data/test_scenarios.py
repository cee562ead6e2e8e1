import pytest

from uda.data.scenarios import class_split
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
