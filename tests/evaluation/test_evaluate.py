import math
from pathlib import Path

import pytest
import torch

from uda.data.items import Item
from uda.data.scenarios import ClassSplit
from uda.evaluation.evaluate import answers, class_table, held_out_scores, target_scores
from uda.methods.base import Bank
from uda.methods.unknown import Prediction

SPLIT = ClassSplit(shared=("a", "b"), source_private=("c",), target_private=("d", "e"))


def items(text):
    return [Item(Path(f"{i}.png"), name) for i, name in enumerate(text)]


def bank_of(labels, num_classes=3):
    """Return a bank whose most probable classes are the labels, of unknowns the last class."""
    classes = [min(label, num_classes - 1) for label in labels]
    features = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0))
    return Bank(features, torch.eye(num_classes)[classes], torch.randn(num_classes, 6))


def prediction(labels, scores=None):
    scores = scores or [0.0] * len(labels)
    return Prediction(torch.tensor(labels), torch.tensor(scores))


def test_open_set_scores():
    scores = target_scores(
        items("aabde"),
        SPLIT,
        "opda",
        prediction([0, 3, 1, 3, 0], [0.1, 0.6, 0.2, 0.9, 0.3]),
        bank_of([0, 0, 1, 2, 0]),
    )
    assert scores["known_acc"] == 75
    assert scores["unknown_acc"] == 50
    assert scores["h_score"] == 60
    assert scores["empty_classes"] == []
    # Of six (private, shared) pairs, 0.3 < 0.6 is wrong.
    assert scores["auroc"] == pytest.approx(100 * 5 / 6)
    # Accepted by rising score: a (right), b (right), e, a (right), d.
    assert scores["oscr"] == pytest.approx(100 * (1 / 2 * 2 / 3 + 1 / 2 * 1))
    # At 0.15 the first image of a is right, and both private images.
    assert scores["h_curve"][:4] == [0, 0, 0, 40]
    assert len(scores["h_curve"]) == 21
    # From 0.6 on the second image of a is accepted; from 0.9 on no private image is rejected.
    assert scores["h_curve"][13:17] == pytest.approx([200 / 3] * 4, abs=0.1)
    assert scores["h_curve"][19:] == [0, 0]
    assert scores["private_nmi"] == pytest.approx(100)  # two samples, two classes
    assert scores["h3_score"] == pytest.approx(3 / (1 / 75 + 1 / 50 + 1 / 100))
    assert scores["per_class"] == {"a": 50, "b": 100, "d": 100, "e": 0}


def test_pictures_without_a_label_are_not_scored():
    def scored(of, labels, scenario="opda"):
        return target_scores(of, SPLIT, scenario, prediction(labels), bank_of(labels))

    known = scored(items("aabde"), [0, 3, 1, 3, 0])
    mixed = [*items("aab"), Item(Path("x.png"), ""), *items("de")]
    scores = scored(mixed, [0, 3, 1, 2, 3, 0])
    assert scores == {**known, "private_nmi": scores["private_nmi"], "h3_score": scores["h3_score"]}
    assert class_table(mixed, SPLIT, prediction([0, 3, 1, 2, 3, 0]))[0] == ("a", 2, 50)
    none = scored(mixed[3:4], [2])
    assert none["h_score"] is None
    assert none["num_images"] == 0
    assert none["empty_classes"] == []
    assert scored(mixed[3:4], [2], "pda")["accuracy"] is None


def test_undefined_scores_are_none_and_empty_classes_named():
    scores = target_scores(items("aa"), SPLIT, "opda", prediction([0, 1]), bank_of([0, 1]))
    assert scores["h_score"] is None
    assert scores["unknown_acc"] is None
    assert scores["empty_classes"] == ["b"]


def test_partial_set_is_plain_accuracy():
    split = ClassSplit(shared=("a", "b"), source_private=("c",))
    scores = target_scores(items("aab"), split, "pda", prediction([0, 2, 1]), bank_of([0, 2, 1]))
    assert scores["accuracy"] == pytest.approx(200 / 3)
    assert scores["per_class"] == {"a": 50, "b": 100}


def test_class_table_counts_a_private_image_called_unknown_as_right():
    table = class_table(items("aade"), SPLIT, prediction([0, 3, 3, 1]))
    values = {name: (count, value) for name, count, value in table}
    assert values["a"] == (2, 50)
    assert values["d"] == (1, 100)
    assert values["e"] == (1, 0)
    assert values["b"][0] == 0
    assert math.isnan(values["b"][1])
    assert "c" not in values


def test_held_out_scores():
    split = ClassSplit(shared=("a", "b", "c"))
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    scores = held_out_scores(items("ab"), split, Bank(probabilities, probabilities, probabilities))
    assert scores == {"top1": 50, "top5": 100, "ece": 0, "num_images": 2}


def test_answers_have_true_labels_names_and_private_marks():
    parts = answers(items("ade"), SPLIT, prediction([0, 3, 1], [0.1, 0.9, 0.2]))
    assert parts["true_label"].tolist() == [0, 3, 4]
    assert parts["is_private"].tolist() == [False, True, True]
    assert parts["name"].tolist() == ["a/0.png", "d/1.png", "e/2.png"]
    assert parts["label"].tolist() == [0, 3, 1]
