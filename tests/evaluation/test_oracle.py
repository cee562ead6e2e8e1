"""Neighbours that are always right, and the share of neighbours that are."""

import math
from pathlib import Path

import numpy as np
import pytest

from uda.data.items import UNLABELLED, Item
from uda.data.scenarios import ClassSplit
from uda.evaluation.evaluate import neighbours_purity
from uda.evaluation.metrics import neighbour_purity
from uda.evaluation.oracle import oracle_neighbours

SPLIT = ClassSplit(("a", "b"), (), ("c", "d"))
NAMES = [*"abcabcabc", "a", "d"]


def items(names):
    return [Item(Path(f"{number}.png"), name) for number, name in enumerate(names)]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_an_oracles_neighbours_are_others_of_the_class(count):
    near = oracle_neighbours(items(NAMES), SPLIT, count, seed=0)
    assert near.shape == (11, count)
    for row, rows in enumerate(near.tolist()):
        assert {NAMES[other] for other in rows} == {NAMES[row]}
        others = NAMES.count(NAMES[row]) - 1
        assert (row in rows) == (others == 0)  # nothing else is a d
        if count <= others:
            assert len(set(rows)) == count
    assert neighbours_purity(items(NAMES), SPLIT, near) == 100


def test_an_oracles_neighbours_are_drawn_by_the_seed():
    names = "a" * 9
    first, second, other = (oracle_neighbours(items(names), SPLIT, 3, seed) for seed in (0, 0, 1))
    assert first.equal(second)
    assert not first.equal(other)


def test_an_oracle_without_labels_is_an_error():
    with pytest.raises(ValueError, match="adapt.neighbours: oracle .* 1 of its 3 pictures"):
        oracle_neighbours(items(["a", UNLABELLED, "b"]), SPLIT, 2, 0)


def test_purity_equals_a_loop_over_the_labelled():
    rng = np.random.default_rng(0)
    labels, near = rng.integers(-1, 3, 31), rng.integers(0, 31, (31, 5))
    same = [
        labels[row] == labels[other]
        for row in range(31)
        for other in near[row]
        if labels[row] >= 0 and labels[other] >= 0
    ]
    assert neighbour_purity(near, labels) == pytest.approx(100 * sum(same) / len(same))
    assert 0 < sum(same) < len(same) < 31 * 5
    assert math.isnan(neighbour_purity(near, np.full(31, -1)))
