"""Answers by several views, another score and a threshold found without labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.banks import method_for
from torch.nn import functional as F

from uda.config import AnswerConfig, ImageConfig
from uda.data.views import fixed_views
from uda.evaluation.answering import CUTS, answer, box_cox_threshold, relabel, unknown_scores
from uda.methods import METHODS
from uda.methods.base import Bank
from uda.methods.co_learn import Opinion
from uda.models.classifier import build_model
from uda.training.bank import average, forward_all, view_banks

CPU = torch.device("cpu")
CROP = ImageConfig(32, 32, 28).crop_px


@pytest.fixture(scope="module")
def model():
    return build_model("timm:test_efficientnet", "none", "bottleneck_wn", 16, 4, crop_px=CROP)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (7, 3, 34, 32), generator=torch.manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def bank():
    generator = torch.manual_seed(1)
    probabilities = torch.randn(40, 4, generator=generator).mul(3).softmax(dim=1)
    return Bank(torch.randn(40, 16, generator=generator), probabilities, torch.randn(4, 16))


def test_views_are_the_centre_its_mirror_image_and_the_corners():
    views = fixed_views(34, 32, 28, 6)
    assert views[:2] == [(3, 2, False), (3, 2, True)]
    assert {view[:2] for view in views[2:]} == {(0, 0), (0, 4), (6, 0), (6, 4)}
    assert sum(mirror for *_, mirror in views[2:]) == 2
    assert fixed_views(34, 32, 28, 2) == views[:2]


@pytest.mark.parametrize("count", [1, 2, 6])
def test_probabilities_and_cosines_are_means_over_views(model, images, count):
    bank, cosines = average(view_banks(model, images, CROP, count, CPU))
    with torch.no_grad():
        outputs = []
        for top, left, mirror in fixed_views(34, 32, CROP, count):
            crop = images[:, :, top : top + CROP, left : left + CROP].float() / 255
            outputs.append(model(crop.flip(-1) if mirror else crop))
    probabilities = torch.stack([logits.softmax(1) for _, logits in outputs]).mean(0)
    rows = F.normalize(model.classifier.weight.detach(), dim=1)
    expected = torch.stack([F.cosine_similarity(f[:, None], rows[None], 2) for f, _ in outputs])
    torch.testing.assert_close(bank.probabilities, probabilities, atol=1e-5, rtol=0)
    torch.testing.assert_close(cosines, expected.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(bank.features, forward_all(model, images, CROP, CPU).features)


def test_scores_are_high_for_unknown():
    cosines = torch.tensor([[0.9, 0.1], [0.2, 0.3]])
    bank = Bank(torch.zeros(2, 3), torch.tensor([[0.9, 0.1], [0.5, 0.5]]), torch.zeros(2, 3))

    def score(name, method="lead"):
        return unknown_scores(name, method_for(bank, method), bank, cosines).tolist()

    assert score("cosine") == pytest.approx([0.1, 0.7])
    assert score("probability") == pytest.approx([0.1, 0.5])
    low, high = score("entropy")
    assert low < 0.5 < high == pytest.approx(1, abs=1e-3)
    assert score("method") == score("entropy")
    assert score("method", "ovanet") == pytest.approx([0.5, 0.5])  # of features without any class


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_own_answer_is_its_prediction(name, bank):
    method = method_for(bank, name)
    given = answer(AnswerConfig(), method, bank, torch.zeros(40, 4))
    expected = method.predict(bank)
    assert given.label.equal(expected.label)
    assert given.unknown_score.equal(expected.unknown_score)


@pytest.mark.parametrize("threshold", ["two-means", "mixture", "box-cox"])
def test_thresholds_part_two_clusters_of_cosines(threshold, bank):
    known = torch.linspace(0.8, 0.9, 20)
    cosines = torch.zeros(40, 4)
    cosines[:20, 1], cosines[20:, 2] = known, known - 0.5
    settings = AnswerConfig(score="cosine", threshold=threshold)
    given = answer(settings, METHODS["adabn"](open_set=True), bank, cosines)
    assert (given.label[20:] == 4).all()
    assert given.label[:20].equal(bank.probabilities.argmax(1)[:20])
    assert answer(settings, METHODS["adabn"](open_set=False), bank, cosines).label.max() < 4


def test_a_number_is_the_threshold(bank):
    settings = AnswerConfig(score="probability", threshold="0.4")
    given = answer(settings, METHODS["lead"](open_set=True), bank, torch.zeros(40, 4))
    unknown = 1 - bank.probabilities.amax(1) > 0.4
    assert 0 < unknown.sum() < 40
    assert (given.label == 4).equal(unknown)


def test_co_learn_moves_labels_and_not_what_is_unknown(bank):
    frozen = torch.rand(40, 7, generator=torch.manual_seed(2))
    prediction = answer(AnswerConfig(), METHODS["lead"](open_set=True), bank, torch.zeros(40, 4))
    opinion = Opinion.of(bank.probabilities, frozen)
    moved_bank, moved = relabel(bank, prediction, opinion, frozen)
    expected = opinion.agree(bank.probabilities, frozen)
    torch.testing.assert_close(moved_bank.probabilities, expected)
    assert moved.unknown_score.equal(prediction.unknown_score)
    unknown = prediction.label == 4
    assert 0 < unknown.sum() < 40
    assert (moved.label == 4).equal(unknown)
    assert moved.label[~unknown].equal(expected.argmax(1)[~unknown])
    assert not moved.label.equal(prediction.label)


def test_box_cox_finds_the_cut_of_skewed_scores_that_a_plain_mixture_misses():
    rng = np.random.default_rng(0)
    low, high = np.exp(rng.normal(-4, 0.5, 400)), np.exp(rng.normal(-1, 0.5, 400))
    scores = np.concatenate([low, high])
    wrong = {
        name: (low > CUTS[name](scores)).mean() + (high <= CUTS[name](scores)).mean()
        for name in ("mixture", "box-cox")
    }
    assert wrong["box-cox"] < 0.01 < wrong["mixture"]


@pytest.mark.parametrize("scores", [[], [0.2], [0.3, 0.3, 0.3], [0.0, 0.0, 1.0]])
@pytest.mark.parametrize("name", CUTS)
def test_few_or_equal_scores_have_a_threshold(name, scores):
    values = np.array(scores)
    cut = CUTS[name](values)
    assert np.isfinite(cut)
    assert (values > cut).sum() == (values == 1).sum()
    assert np.isfinite(box_cox_threshold(values))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"views": 3}, "answer.views: 3"),
        ({"score": "energy"}, "answer.score: 'energy'"),
        ({"labels": "frozen"}, "answer.labels: 'frozen'"),
        ({"threshold": "otsu"}, "answer.threshold: 'otsu'"),
        ({"threshold": "-0.1"}, "answer.threshold: '-0.1'"),
        ({"threshold": "nan"}, "answer.threshold: 'nan'"),
        ({"score": "cosine"}, "with the score cosine name another"),
    ],
)
def test_a_wrong_key_is_named(keys, message):
    with pytest.raises(ValueError, match=message):
        replace(AnswerConfig(), **keys)
