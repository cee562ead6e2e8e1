import pytest
from helpers.tiny import CLASSES

from uda.data.items import domain_items
from uda.data.partition import disjoint_half, hash_share, holdout_split


def test_disjoint_halves_share_no_name_and_lose_none(spec):
    source = disjoint_half(domain_items(spec, "Plain"), source=True)
    target = disjoint_half(domain_items(spec, "Dark"), source=False)
    sources, targets = ({item.path.stem for item in items} for items in (source, target))
    assert not sources & targets
    assert len(sources | targets) == 4


def test_holdout_is_stratified_and_stable(spec):
    items = domain_items(spec, "Plain")
    train, test = holdout_split(items, 0.25)
    assert {item.class_name for item in test} == set(CLASSES)
    assert len(test) == 5
    assert len(train) == 15
    assert not set(train) & set(test)
    assert holdout_split(items, 0.25) == (train, test)
    few = [items[0], *items[4:6]]  # a class with a single picture is trained on
    train, test = holdout_split(few, 0.25)
    assert items[0] in train
    assert len(test) == 1
    with pytest.raises(ValueError, match=r"data\.holdout"):
        holdout_split(few[:1], 0.25)


def test_names_with_bytes_of_no_encoding_have_a_share_of_their_own():
    assert hash_share("caf\udce9") != hash_share("caf\udce8")
    assert 0 <= hash_share("caf\udce9") < 1
    assert hash_share("café") == 0.3416692459009697  # as ever
