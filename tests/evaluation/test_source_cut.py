"""The threshold that splits of the source's classes give, against naive renderings."""

import numpy as np
import pytest
import torch

from uda.config import AnswerConfig
from uda.evaluation.answering import answer
from uda.evaluation.metrics import open_set_scores
from uda.evaluation.source_cut import best_cut, restricted, source_cuts
from uda.methods import METHODS
from uda.methods.base import Bank

KNOWN = np.array([0, 3, 4])


def h_at(cut, labels, nearest, score):
    """Return the H-score of a cut as `uda evaluate` defines it, known classes numbered anew."""
    number = {old: new for new, old in enumerate(KNOWN)}
    renumbered = np.array([number.get(label, len(KNOWN)) for label in labels])
    answered = np.array([number[label] for label in nearest])
    answered = np.where(score > cut, len(KNOWN), answered)
    return open_set_scores(renumbered, answered, len(KNOWN), len(KNOWN)).h_score


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("digits", [1, 6])
def test_the_cut_has_the_best_h_score_of_all(seed, digits):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 3, 4], 60, p=[0.4, 0.2, 0.2, 0.1, 0.1])
    unknown = ~np.isin(labels, KNOWN)
    nearest = np.where(unknown | (rng.random(60) < 0.3), rng.choice(KNOWN, 60), labels)
    score = np.round(rng.random(60) * 0.7 + 0.3 * unknown, digits)  # of one digit, many are equal
    cut = best_cut(labels, nearest, score, KNOWN)
    best = max(h_at(at, labels, nearest, score) for at in np.unique(score))
    assert h_at(cut, labels, nearest, score) == pytest.approx(best)
    assert cut not in score


def test_a_class_without_pictures_is_left_out_of_the_mean():
    labels, nearest = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0])
    assert best_cut(labels, nearest, np.array([0.1, 0.2, 0.6, 0.8]), KNOWN) == pytest.approx(0.4)


@pytest.mark.parametrize("labels", [[0, 3], [1, 2], [1]])
def test_without_known_or_unknown_pictures_the_cut_is_a_number(labels):
    score = np.linspace(0.2, 0.4, len(labels))
    cut = best_cut(np.array(labels), np.zeros(len(labels), int), score, KNOWN)
    assert 0.2 <= cut <= 0.4


def test_the_softmax_is_that_of_the_known_classes_alone():
    logits = torch.randn(6, 9, 5, generator=torch.manual_seed(0)).mul(9).double()
    expected = logits[..., KNOWN].softmax(dim=-1).mean(dim=0)
    torch.testing.assert_close(restricted(logits.softmax(dim=-1)[..., KNOWN]), expected)


def test_a_softmax_that_is_zero_for_all_known_classes_says_nothing_of_them():
    assert restricted(torch.zeros(1, 1, 4)).tolist() == [[0.25] * 4]


@pytest.mark.parametrize(
    ("score", "expected"),
    [("cosine", (0.1 + 0.7) / 2), ("probability", (0.25 + 2 / 3) / 2), ("entropy", None)],
)
def test_cuts_lie_between_classes_that_are_known_and_those_that_are_not(score, expected):
    # Six classes, three of them known in each split: every picture is its class's at 0.9, and
    # at 0.3 every other's.
    labels = np.repeat(np.arange(6), 4)
    cosines = torch.full((24, 6), 0.3)
    cosines[torch.arange(24), labels] = 0.9
    probabilities = torch.full((24, 6), 0.1)
    probabilities[torch.arange(24), labels] = 0.6  # of three 0.6 / 0.8
    cuts = source_cuts(score, probabilities[None], cosines, labels, num_splits=4)
    assert len(cuts) == 4
    low = -(0.75 * np.log(0.75) + 0.25 * np.log(0.125)) / np.log(3)
    assert cuts == pytest.approx([expected or (low + 1) / 2] * 4, abs=1e-4)


def test_splits_are_the_same_every_time_and_differ_from_one_another():
    generator = torch.manual_seed(0)
    labels = np.repeat(np.arange(7), 5)
    logits = torch.randn(2, 35, 7, generator=generator)
    logits[:, torch.arange(35), labels] += 2
    cuts = [source_cuts("entropy", logits.softmax(-1), logits[0], labels) for _ in range(2)]
    assert cuts[0] == cuts[1]
    assert len(set(cuts[0])) > 1


def test_two_classes_are_too_few_to_split():
    with pytest.raises(ValueError, match="at least 3, and there are pictures of 2; name"):
        source_cuts("cosine", torch.ones(1, 4, 2), torch.ones(4, 2), np.array([0, 0, 1, 1]))


def test_classes_without_pictures_are_in_no_split():
    labels = np.repeat([0, 2, 3, 5], 4)
    cosines = torch.full((16, 6), 0.3)
    cosines[torch.arange(16), labels] = 0.9
    cosines[:, [1, 4]] = 0.8  # any split with these would have another cut
    cuts = source_cuts("cosine", torch.full((1, 16, 6), 1 / 6), cosines, labels)
    assert cuts == pytest.approx([0.4] * 20)


@pytest.mark.parametrize("open_set", [True, False])
def test_it_decides_whether_or_not_something_may_be_unknown(open_set):
    cosines = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.1, 0.6]])
    bank = Bank(torch.zeros(3, 3), torch.tensor([[0.9, 0.1]] * 3), torch.zeros(2, 3))
    settings = AnswerConfig(score="cosine", threshold="source")
    method = METHODS["adabn"](open_set=open_set)
    assert answer(settings, method, bank, cosines, 0.5).label.tolist() == [0, 2, 0]
    assert answer(settings, method, bank, cosines, 0.8).label.tolist() == [0, 0, 0]


def test_the_score_has_to_be_named():
    with pytest.raises(ValueError, match="answer.score: with the threshold source name"):
        AnswerConfig(threshold="source")
