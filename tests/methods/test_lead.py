"""LEAD against golden numbers of its released code (tests/golden/README.md) and naive loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.banks import random_bank
from sklearn.mixture import GaussianMixture
from torch.nn import functional as F

from uda.evaluation.metrics import accuracy, open_set_scores
from uda.methods import lead
from uda.methods.base import Bank, Batch
from uda.methods.geometry import neighbours_in
from uda.methods.unknown import normalised_entropy, predict_by_entropy

GOLDEN = Path(__file__).parents[1] / "golden"


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


def test_pseudo_labels_are_the_released_codes(golden):
    pseudo = golden_labels(golden)
    assert torch.equal(pseudo.label, golden["pseudo_label"])
    torch.testing.assert_close(pseudo.target, golden["pseudo_target"], atol=1e-4, rtol=0)
    torch.testing.assert_close(pseudo.weight, golden["weight"], atol=1e-4, rtol=0)


def test_losses_are_the_released_codes(golden):
    state = lead.start_state(golden_bank(golden), golden_labels(golden))
    features, probabilities = golden["train_embeddings"], golden["train_probabilities"]
    near = neighbours_in(F.normalize(features, dim=1), state.unit_features, 4)
    parts = lead.losses(features, probabilities, golden["train_index"], state, near)
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
    num_classes = len(golden["class_weights"])
    estimate = lead.estimate_num_clusters(golden["features"], num_classes, clusters="tsne")
    assert estimate == int(golden["num_clusters"])


def test_common_score_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    target, source = torch.rand(2, 6, 3, generator=generator, dtype=torch.float64) * 2 - 1
    score = lead.common_score(target, source)
    for i in range(6):
        for k in range(3):
            near = 1 - np.exp(-max(float(target[i, k]), 0))
            expected = np.sqrt(near * np.exp(max(float(source[i, k]), 0) - 1))
            assert float(score[i, k]) == pytest.approx(expected)


def naive_labels(features, probabilities, class_weights, num_clusters, split="norm"):
    """Return labels and weights by the formulas, sample by sample in NumPy, float64."""
    f, p, w = (part.double().numpy() for part in (features, probabilities, class_weights))
    (count, num_classes), n = p.shape, max(len(f) // num_clusters, 1)
    unknown_space = np.linalg.svd(w.T)[0][:, num_classes:]
    z = [row / np.linalg.norm(row) for row in f]
    u = np.array([np.linalg.norm(unknown_space.T @ row) for row in z])
    if split == "cosine":
        u = np.array([1 - max(row @ v / np.linalg.norm(v) for v in w) for row in z])
    if count > 1:
        upper = GaussianMixture(2, random_state=0).fit(u[:, None]).means_.max()
    else:
        upper = u.mean()
    prototypes, priors = [], []
    for k in range(num_classes):
        ranked = sorted(range(count), key=lambda i: -p[i, k])[:n]
        mean = np.mean([z[i] for i in ranked], axis=0)
        prototypes.append(mean / np.linalg.norm(mean))
        priors.append(np.mean([u[i] for i in ranked]))
    labels, weights = [], []
    for i in range(count):
        common = []
        for k in range(num_classes):
            near = 1 - np.exp(-max(z[i] @ prototypes[k], 0))
            anchor = w[k] / np.linalg.norm(w[k])
            common.append(np.sqrt(near * np.exp(max(z[i] @ anchor, 0) - 1)))
        k = int(np.argmax(common))
        threshold = priors[k] + common[k] * max(upper - priors[k], 0)
        labels.append(num_classes if u[i] >= threshold else k)
        weights.append(1 - (1 + (u[i] - threshold) ** 2 / 1e-4) ** (-(1e-4 + 1) / 2))
    return labels, weights


@pytest.mark.parametrize(
    ("count", "dim", "num_classes", "num_clusters"),
    [(40, 12, 5, 5), (41, 7, 6, 2), (7, 12, 5, 10), (30, 4, 1, 1), (2, 12, 5, 1)],
    ids=["plain", "odd", "fewer samples than clusters", "a single class", "two samples"],
)
@pytest.mark.parametrize("split", lead.SPLITS)
def test_pseudo_labels_equal_a_loop(count, dim, num_classes, num_clusters, split):
    bank = random_bank(count, dim, num_classes, seed=3, spread=1.0, scale=1.0)
    pseudo = lead.pseudo_labels(*vars(bank).values(), num_clusters, split=split)
    labels, weights = naive_labels(*vars(bank).values(), num_clusters, split)
    assert pseudo.label.tolist() == labels
    np.testing.assert_allclose(pseudo.weight, weights, atol=2e-3)  # α makes it steep
    for label, target in zip(labels, pseudo.target.tolist(), strict=True):
        uniform = [1 / num_classes] * num_classes
        one_hot = [float(k == label) for k in range(num_classes)]
        assert target == pytest.approx(uniform if label == num_classes else one_hot)


def test_a_single_sample_is_unknown_and_weighs_nothing():
    bank = random_bank(1, 12, 5)
    pseudo = lead.pseudo_labels(*vars(bank).values(), num_clusters=1)
    # u, q and both means are equal: the sample lies at its threshold.
    assert pseudo.label.tolist() == [5]
    assert pseudo.weight.tolist() == [0]
    assert pseudo.means.tolist() == pseudo.unknown_norm.tolist() * 2


def test_confident_weights_are_1_outside_of_prior_and_second_mean(golden):
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
    bank = random_bank(40, 12, 5)
    state = lead.start_state(bank, lead.pseudo_labels(*vars(bank).values(), num_clusters=5))
    before = state.unit_features.clone()
    features = torch.randn(3, 12, requires_grad=True)
    probabilities = torch.full((3, 5), 0.2)
    near = neighbours_in(F.normalize(features, dim=1), state.unit_features, 4)
    lead.losses(features, probabilities, torch.tensor([4, 0, 9]), state, near)
    rest = torch.ones(40, dtype=torch.bool)
    rest[[4, 0, 9]] = False
    assert torch.equal(state.unit_features[rest], before[rest])
    torch.testing.assert_close(state.unit_features[4], F.normalize(features[0], dim=0).detach())
    assert not state.unit_features.requires_grad
    assert torch.equal(
        bank.features, random_bank(40, 12, 5).features
    )  # the bank itself is untouched


def test_consistency_uses_the_neighbours_but_the_first():
    bank = random_bank(40, 12, 5)
    pseudo = lead.pseudo_labels(*vars(bank).values(), num_clusters=5)
    state = lead.start_state(bank, pseudo)
    features, probabilities = bank.features[:2] + 0.01, bank.probabilities[:2]
    z, bank_z = F.normalize(features, dim=1), F.normalize(bank.features, dim=1)
    near = neighbours_in(z, state.unit_features, 4)
    _, _, con = lead.losses(features, probabilities, torch.tensor([0, 1]), state, near)
    total = 0.0
    for i in range(2):
        ranked = sorted(range(40), key=lambda j: -float(z[i] @ bank_z[j]))
        agreed = bank.probabilities[ranked[1:5]].mean(dim=0)
        total -= float((agreed * (probabilities[i] + 1e-5).log()).sum())
    assert float(con) == pytest.approx(total / 2, abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_samples_works(count):
    bank = random_bank(count, 12, 5)
    clusters = lead.estimate_num_clusters(bank.features, 5)
    assert 1 <= clusters <= count
    pseudo = lead.pseudo_labels(*vars(bank).values(), num_clusters=clusters)
    assert torch.isfinite(pseudo.weight).all()


def test_more_classes_than_dimensions_is_an_error():
    bank = random_bank(40, 4, 5)
    with pytest.raises(ValueError, match="more dimensions than classes"):
        lead.pseudo_labels(*vars(bank).values(), num_clusters=5)


def test_clusters_are_counted_every_tenth_epoch_and_survive_a_restart(monkeypatch):
    calls = []
    monkeypatch.setattr(lead, "estimate_num_clusters", lambda *_, **__: calls.append(1) or 6)
    method, bank = lead.Lead(open_set=True), random_bank(40, 12, 5)
    for epoch in range(12):
        method.refresh(bank, epoch)
    assert len(calls) == 2
    again = lead.Lead(open_set=True)
    again.load_state_dict(method.state_dict())
    again.refresh(bank, 12)
    assert len(calls) == 2
    assert again.num_clusters == 6


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_the_previous_number_of_clusters_is_kept_where_nothing_scores():
    bank = Bank(torch.ones(50, 12), torch.full((50, 5), 0.2), random_bank(40, 12, 5).class_weights)
    method = lead.Lead(open_set=True, cluster_every=1, clusters="features")
    method.load_state_dict({"num_clusters": 7})
    method.refresh(bank, 3)
    assert method.state_dict() == {"num_clusters": 7}


def test_each_loss_has_its_weight():
    bank, index = random_bank(40, 12, 5), torch.arange(8)
    batch = Batch(bank.features[:8], bank.probabilities[:8].log(), index)

    def parts(**weights):
        method = lead.Lead(open_set=True, clusters="classes", **weights)
        return method.loss(batch, method.refresh(bank, 0))

    plain = parts(ce_weight=1.0)
    weighted = parts(ce_weight=3.0, reg_weight=0.0, con_weight=0.5)
    for name, weight in (("ce", 3), ("reg", 0), ("con", 0.5)):
        assert float(weighted[name]) == pytest.approx(weight * float(plain[name]))


def test_unknown_options_are_refused_by_name():
    with pytest.raises(ValueError, match="adapt.options.lead.split: 'sine' is not one of norm,"):
        lead.Lead(open_set=True, split="sine")
    with pytest.raises(ValueError, match="adapt.options.lead.clusters: 'umap' is not one of tsne,"):
        lead.Lead(open_set=True, clusters="umap")
    for key in ("neighbours", "cluster_every"):
        with pytest.raises(ValueError, match=f"adapt.options.lead.{key}: 0 must be at least 1"):
            lead.Lead(open_set=True, **{key: 0})


def test_entropy_decides_the_unknown():
    probabilities = torch.tensor([[0.97, 0.01, 0.01, 0.01], [0.25, 0.25, 0.25, 0.25]])
    entropy = normalised_entropy(probabilities)
    assert float(entropy[1]) == pytest.approx(1, abs=1e-4)
    assert predict_by_entropy(probabilities, 0.55).label.tolist() == [0, 4]
    assert predict_by_entropy(probabilities, None).label.tolist() == [0, 0]
