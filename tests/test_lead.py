"""LEAD against golden numbers of its released code (tests/golden/README.md) and naive loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uda.methods import lead
from uda.methods.base import Bank, Batch, normalised_entropy, predict_by_entropy
from uda.metrics import accuracy, open_set_scores

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(params=["lead_opda", "lead_pda"])
def golden(request):
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        return {key: torch.as_tensor(value) for key, value in file.items()}


def golden_labels(golden):
    return lead.pseudo_labels(
        golden["features"],
        golden["probabilities"],
        golden["class_weights"],
        int(golden["num_clusters"]),
    )


def golden_bank(golden):
    return Bank(golden["features"], golden["probabilities"], golden["class_weights"])


def random_bank(count=40, dim=12, num_classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(num_classes, dim, generator=generator)
    features = torch.randn(count, dim, generator=generator)
    return Bank(features, (features @ weights.T).softmax(dim=1), weights)


def test_pseudo_labels_are_the_released_codes(golden):
    pseudo = golden_labels(golden)
    assert torch.equal(pseudo.label, golden["pseudo_label"])
    torch.testing.assert_close(pseudo.target, golden["pseudo_target"], atol=1e-4, rtol=0)
    torch.testing.assert_close(pseudo.weight, golden["weight"], atol=1e-4, rtol=0)


def test_losses_are_the_released_codes(golden):
    state = lead.start_state(golden_bank(golden), golden_labels(golden))
    parts = lead.losses(
        golden["train_embeddings"], golden["train_probabilities"], golden["train_index"], state
    )
    for name, part in zip(("ce", "reg", "con"), parts, strict=True):
        assert float(part) == pytest.approx(float(golden[f"loss_{name}"]), abs=1e-4)


def test_the_method_sums_to_the_released_total(golden):
    method = lead.Lead(open_set=True, ce_weight=float(golden["lambda_ce"]))
    state = lead.start_state(golden_bank(golden), golden_labels(golden))
    # Log-probabilities are logits whose softmax gives the probabilities back.
    logits = golden["train_probabilities"].log()
    parts = method.loss(Batch(golden["train_embeddings"], logits, golden["train_index"]), state)
    assert float(sum(parts.values())) == pytest.approx(float(golden["loss_total"]), abs=3e-4)


def test_scores_are_the_released_codes(golden):
    labels = golden["labels"].numpy()
    if not golden["has_unknown"]:
        prediction = predict_by_entropy(golden["probabilities"], None).label.numpy()
        assert accuracy(labels, prediction) == pytest.approx(
            100 * float(golden["known_acc"]), abs=1e-4
        )
        return
    prediction = predict_by_entropy(golden["probabilities"], float(golden["entropy_threshold"]))
    scores = open_set_scores(
        labels, prediction.label.numpy(), int(golden["num_shared"]), int(golden["num_source"])
    )
    assert scores.h_score == pytest.approx(100 * float(golden["h_score"]), abs=1e-3)
    assert scores.known_acc == pytest.approx(100 * float(golden["known_acc"]), abs=1e-3)
    assert scores.unknown_acc == pytest.approx(100 * float(golden["unknown_acc"]), abs=1e-3)


@pytest.mark.slow
def test_num_clusters_is_the_released_codes(golden):
    found = lead.estimate_num_clusters(golden["features"], len(golden["class_weights"]))
    assert found == int(golden["num_clusters"])


def test_common_score_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    target, source = torch.rand(2, 6, 3, generator=generator, dtype=torch.float64) * 2 - 1
    score = lead.common_score(target, source)
    for i in range(6):
        for k in range(3):
            near = 1 - np.exp(-max(float(target[i, k]), 0))
            expected = np.sqrt(near * np.exp(max(float(source[i, k]), 0) - 1))
            assert float(score[i, k]) == pytest.approx(expected)


def test_prototypes_equal_a_loop():
    bank = random_bank()
    z = F.normalize(bank.features, dim=1)
    u = torch.rand(len(z), generator=torch.Generator().manual_seed(1))
    prototypes, priors = lead._prototypes(z, u, bank.probabilities, 7)
    for k in range(bank.probabilities.shape[1]):
        own = sorted(range(len(z)), key=lambda i: -float(bank.probabilities[i, k]))[:7]
        mean = torch.stack([z[i] for i in own]).mean(dim=0)
        torch.testing.assert_close(prototypes[k], mean / mean.norm())
        torch.testing.assert_close(priors[k], u[own].mean())


def test_confident_weights_are_one_outside_prior_and_second_mean(golden):
    arguments = (
        golden["features"],
        golden["probabilities"],
        golden["class_weights"],
        int(golden["num_clusters"]),
    )
    plain = lead.pseudo_labels(*arguments)
    confident = lead.pseudo_labels(*arguments, confident_weights=True)
    changed = plain.weight != confident.weight
    assert changed.any()
    assert (confident.weight[changed] == 1).all()
    assert changed[plain.unknown_norm > plain.means[1]].all()
    assert torch.equal(plain.label, confident.label)


def test_the_batch_replaces_its_rows_of_the_states_bank_only():
    bank = random_bank()
    state = lead.start_state(bank, lead.pseudo_labels(*vars(bank).values(), num_clusters=5))
    before = state.unit_features.clone()
    features = torch.randn(3, 12, requires_grad=True)
    probabilities = torch.full((3, 5), 0.2)
    lead.losses(features, probabilities, torch.tensor([4, 0, 9]), state)
    rest = torch.ones(40, dtype=torch.bool)
    rest[[4, 0, 9]] = False
    assert torch.equal(state.unit_features[rest], before[rest])
    torch.testing.assert_close(state.unit_features[4], F.normalize(features[0], dim=0).detach())
    assert not state.unit_features.requires_grad
    assert torch.equal(bank.features, random_bank().features)  # the bank itself is untouched


def test_consistency_uses_the_neighbours_but_the_first():
    bank = random_bank()
    pseudo = lead.pseudo_labels(*vars(bank).values(), num_clusters=5)
    state = lead.start_state(bank, pseudo)
    features, probabilities = bank.features[:2] + 0.01, bank.probabilities[:2]
    _, _, con = lead.losses(features, probabilities, torch.tensor([0, 1]), state)
    z, bank_z = F.normalize(features, dim=1), F.normalize(bank.features, dim=1)
    total = 0.0
    for i in range(2):
        ranked = sorted(range(40), key=lambda j: -float(z[i] @ bank_z[j]))
        agreed = bank.probabilities[ranked[1:5]].mean(dim=0)
        total -= float((agreed * (probabilities[i] + 1e-5).log()).sum())
    assert float(con) == pytest.approx(total / 2, abs=1e-5)


def test_gradients_are_finite_and_reach_the_features():
    bank = random_bank()
    state = lead.start_state(bank, lead.pseudo_labels(*vars(bank).values(), num_clusters=5))
    features = torch.randn(4, 12, requires_grad=True)
    logits = features @ bank.class_weights.T
    parts = lead.losses(features, logits.softmax(dim=1), torch.arange(4), state)
    sum(parts).backward()
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().sum() > 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_samples_works(count):
    bank = random_bank(count=count)
    clusters = lead.estimate_num_clusters(bank.features, 5, space="features")
    assert 1 <= clusters <= count
    pseudo = lead.pseudo_labels(*vars(bank).values(), num_clusters=clusters)
    assert torch.isfinite(pseudo.weight).all()


def test_more_classes_than_dimensions_is_an_error():
    bank = random_bank(dim=4, num_classes=5)
    with pytest.raises(ValueError, match="more dimensions than classes"):
        lead.pseudo_labels(*vars(bank).values(), num_clusters=5)


def test_num_clusters_keeps_the_previous_where_nothing_scores():
    features = torch.ones(50, 8)
    assert lead.estimate_num_clusters(features, 4, previous=7, space="features") == 7
    assert lead.estimate_num_clusters(features, 4, space="features") == 4
    with pytest.raises(ValueError, match="'umap' is not one of tsne, features"):
        lead.estimate_num_clusters(features, 4, space="umap")


def test_clusters_are_counted_every_tenth_epoch_and_survive_a_restart(monkeypatch):
    calls = []
    monkeypatch.setattr(lead, "estimate_num_clusters", lambda *_: calls.append(1) or 6)
    method, bank = lead.Lead(open_set=True), random_bank()
    for epoch in range(12):
        method.refresh(bank, epoch)
    assert len(calls) == 2
    again = lead.Lead(open_set=True)
    again.load_state_dict(method.state_dict())
    again.refresh(bank, 12)
    assert len(calls) == 2
    assert again.num_clusters == 6


def test_entropy_decides_the_unknown():
    probabilities = torch.tensor([[0.97, 0.01, 0.01, 0.01], [0.25, 0.25, 0.25, 0.25]])
    entropy = normalised_entropy(probabilities)
    assert float(entropy[1]) == pytest.approx(1, abs=1e-4)
    assert predict_by_entropy(probabilities, 0.55).label.tolist() == [0, 4]
    assert predict_by_entropy(probabilities, None).label.tolist() == [0, 0]
