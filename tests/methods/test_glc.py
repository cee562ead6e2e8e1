"""GLC against naive loops over its formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.banks import batch_of, random_bank
from sklearn.cluster import KMeans
from torch.nn import functional as F

from uda.methods import METHODS, clusters, glc, lead
from uda.methods.base import Bank, Batch
from uda.methods.geometry import consistency, most_confident, neighbours_in, prototypes


def naive_labels(features, probabilities, num_clusters, rho, centroids_of):
    """Return labels by clusters of each class and of the rest, which ``centroids_of`` clusters."""
    count, num_classes = probabilities.shape
    z = [row / np.linalg.norm(row) for row in features]
    n = max(count // num_clusters, 1)
    prototype, suppression, negatives = [], [], []
    for k in range(num_classes):
        ranked = sorted(range(count), key=lambda i: -probabilities[i, k])
        mean = np.mean([z[i] for i in ranked[:n]], axis=0)
        prototype.append(mean / np.linalg.norm(mean))
        confident = np.mean([probabilities[i, k] for i in ranked[:n]])
        suppression.append(rho + (1 - rho) * confident)
        others = [z[i] for i in sorted(ranked[n:])]
        negatives.append(centroids_of(np.array(others), k) if others else [])
    labels = []
    for i in range(count):
        k = max(range(num_classes), key=lambda k: z[i] @ prototype[k])
        similarity = suppression[k] * (z[i] @ prototype[k])
        labels.append(k if all(similarity >= z[i] @ c for c in negatives[k]) else num_classes)
    return labels


def naive_centroids(points, count, seed):
    """Return the unit centroids of Lloyd's rounds until no label changes."""
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    centroids = [points[i] for i in order[:count]]
    labels = None
    while True:
        nearest = [
            min(range(len(centroids)), key=lambda c: ((x - centroids[c]) ** 2).sum())
            for x in points
        ]
        if nearest == labels:
            return [c / np.linalg.norm(c) for c in centroids]
        labels = nearest
        for c in range(len(centroids)):
            if members := [x for x, k in zip(points, labels, strict=True) if k == c]:
                centroids[c] = np.mean(members, axis=0)


@pytest.mark.parametrize("num_clusters", [2, 7, 61])
@pytest.mark.parametrize("spread", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_pseudo_labels_equal_a_loop(seed, spread, num_clusters):
    bank = random_bank(seed=seed, spread=spread)
    features, probabilities = bank.features.double(), bank.probabilities.double()
    pseudo = glc.pseudo_labels(features, probabilities, num_clusters, 0.6, kmeans="torch")
    expected = naive_labels(
        features.numpy(),
        probabilities.numpy(),
        num_clusters,
        0.6,
        lambda points, k: naive_centroids(points, num_clusters, k),
    )
    assert pseudo.label.tolist() == expected
    for label, row in zip(expected, pseudo.target, strict=True):
        wanted = torch.full((4,), 0.25) if label == 4 else F.one_hot(torch.tensor(label), 4)
        assert torch.equal(row, wanted.to(row))


@pytest.mark.parametrize("spread", [0.1, 0.5, 2.0])
def test_faiss_gives_the_labels_of_its_centroids(spread):
    bank = random_bank(spread=spread)
    z = F.normalize(bank.features, dim=1)
    start = glc.all_centroids(z, 7, 0)
    expected = naive_labels(
        bank.features.numpy(),
        bank.probabilities.numpy(),
        7,
        0.6,
        lambda points, k: glc.refined_centroids(torch.from_numpy(points), start, k, 0).numpy(),
    )
    assert glc.pseudo_labels(bank.features, bank.probabilities, 7, 0.6).label.tolist() == expected


@pytest.mark.parametrize("kmeans", glc.KMEANS)
def test_both_k_means_agree_on_clear_clusters(kmeans):
    bank = random_bank(count=210, spread=0.05, num_private=3)
    labels = glc.pseudo_labels(bank.features, bank.probabilities, 7, kmeans=kmeans).label
    other = glc.pseudo_labels(bank.features, bank.probabilities, 7, kmeans="torch").label
    assert (labels == other).float().mean() > 0.98


def test_labels_of_clear_clusters_agree_with_scikit_learns_k_means():
    bank = random_bank(count=210, spread=0.05, num_private=3)
    labels = glc.pseudo_labels(bank.features, bank.probabilities, 7).label
    expected = naive_labels(
        bank.features.numpy(),
        bank.probabilities.numpy(),
        7,
        0.75,
        lambda points, k: F.normalize(
            torch.from_numpy(KMeans(7, random_state=k).fit(points).cluster_centers_), dim=1
        ).numpy(),
    )
    # Random starts may join two clusters that scikit-learn's tell apart.
    assert np.mean(labels.numpy() == expected) > 0.9
    assert 0 < int((labels == 4).sum()) < 210


@pytest.mark.parametrize(("count", "num_clusters"), [(40, 3), (11, 11), (5, 9), (1, 1)])
def test_centroids_equal_lloyds_rounds_by_loops(count, num_clusters):
    points = torch.randn(
        count, 6, generator=torch.Generator().manual_seed(count), dtype=torch.float64
    )
    centroids = glc.unit_centroids(points, num_clusters, seed=3)
    expected = np.array(naive_centroids(points.numpy(), num_clusters, 3))
    np.testing.assert_allclose(centroids.numpy(), expected, atol=1e-9)


def test_centroids_of_many_points_are_those_of_a_random_part():
    points = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(3))
    part = points[order[:12]].numpy()
    # Lloyd's rounds on these twelve points, from the first three of them.
    centroids = part[:3]
    for _ in range(100):
        labels = ((part[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
        centroids = np.stack([part[labels == c].mean(axis=0) for c in range(3)])
    expected = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    result = glc.unit_centroids(points, 3, seed=3, max_points=12)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-9)
    assert torch.equal(
        glc.unit_centroids(points, 3, 3, max_points=50), glc.unit_centroids(points, 3, 3)
    )


def test_samples_per_centroid_bounds_every_kmeans(monkeypatch):
    bank, asked, unit_centroids = random_bank(count=90), [], glc.unit_centroids

    def seen(points, count, seed, **options):
        asked.append(options["max_points"])
        return unit_centroids(points, count, seed, **options)

    monkeypatch.setattr(glc, "unit_centroids", seen)
    options = {"clusters": "classes", "samples_per_centroid": 5, "kmeans": "torch"}
    METHODS["glc"](open_set=True, **options).refresh(bank, 0)
    assert set(asked) == {20}
    seen_points = []
    real = glc.kmeans_centroids

    def seen_by_faiss(points, *args, **kwargs):
        seen_points.append(len(points))
        return real(points, *args, **kwargs)

    monkeypatch.setattr(glc, "kmeans_centroids", seen_by_faiss)
    METHODS["glc"](open_set=True, **{**options, "kmeans": "faiss"}).refresh(bank, 0)
    assert set(seen_points) == {20}
    assert len(seen_points) > 1
    with pytest.raises(ValueError, match=r"samples_per_centroid: -1 must be 0 \(all\) or more"):
        METHODS["glc"](open_set=True, samples_per_centroid=-1)


def test_a_cluster_without_points_keeps_its_centroid():
    points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    centroids = glc.unit_centroids(points, 4, seed=0)  # three start on the same point
    assert torch.isfinite(centroids).all()
    assert sorted(map(tuple, centroids.tolist())) == sorted(map(tuple, points.tolist()))


def test_suppression_by_unsure_classes_makes_more_unknown():
    bank = random_bank(count=200, spread=1.0)
    unknown = [
        int((glc.pseudo_labels(bank.features, bank.probabilities, 4, rho).label == 4).sum())
        for rho in (0.0, 0.75, 1.0)
    ]
    assert unknown[0] > unknown[1] > unknown[2]


def test_a_tie_with_a_centroid_is_known():
    features = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    pseudo = glc.pseudo_labels(features, torch.eye(2).repeat(2, 1), num_clusters=2, rho=1.0)
    assert torch.equal(pseudo.similarity, pseudo.rival)
    assert (pseudo.label < 2).all()


def test_a_single_cluster_makes_no_sample_unknown():
    bank = random_bank()
    pseudo = glc.pseudo_labels(bank.features, bank.probabilities, 1)
    assert (pseudo.label < 4).all()
    assert torch.isinf(pseudo.rival).all()


def test_num_clusters_is_searched_among_the_papers_multiples(monkeypatch):
    tried = []
    monkeypatch.setattr(clusters, "best_num_clusters", lambda _, counts, __: tried.append(counts))
    bank = random_bank(count=200, dim=16, num_classes=15)
    method = glc.Glc(open_set=True, clusters="features")
    method.refresh(bank, 0)
    assert [list(counts) for counts in tried] == [[3, 7, 15, 30, 45]]
    assert method.num_clusters == 15  # none was positive


def test_num_clusters_finds_clear_clusters():
    bank = random_bank(count=300, dim=16, num_classes=6, spread=0.02, num_private=0)
    method = glc.Glc(open_set=True, clusters="features")
    method.refresh(bank, 0)
    assert method.num_clusters == 6


def test_num_clusters_is_estimated_once_and_survives_a_restart(monkeypatch):
    calls = []
    monkeypatch.setattr(glc, "estimate_num_clusters", lambda *_, **__: calls.append(1) or 6)
    method, bank = glc.Glc(open_set=True), random_bank()
    for epoch in range(12):
        method.refresh(bank, epoch)
    again = glc.Glc(open_set=True)
    again.load_state_dict(method.state_dict())
    state = again.refresh(bank, 12)
    assert len(calls) == 1
    assert torch.equal(state.pseudo.label, method.refresh(bank, 12).pseudo.label)


def test_prototypes_equal_a_loop():
    bank = random_bank()
    z = F.normalize(bank.features, dim=1)
    result = prototypes(z, most_confident(bank.probabilities, 7))
    for k in range(4):
        ranked = sorted(range(len(z)), key=lambda i: -float(bank.probabilities[i, k]))[:7]
        mean = torch.stack([z[i] for i in ranked]).mean(dim=0)
        torch.testing.assert_close(result[k], mean / mean.norm())


def naive_losses(features, probabilities, target, bank):
    z = [f / np.linalg.norm(f) for f in features]
    bank_z = [f / np.linalg.norm(f) for f in bank.features.double().numpy()]
    bank_p = bank.probabilities.double().numpy()
    ce = con = 0.0
    for i, p in enumerate(probabilities):
        ranked = sorted(range(len(bank_z)), key=lambda j: -(z[i] @ bank_z[j]))
        agreed = np.mean([bank_p[j] for j in ranked[1:5]], axis=0)
        con -= sum(a * np.log(q + 1e-5) for a, q in zip(agreed, p, strict=True))
        ce -= sum(t * np.log(q + 1e-5) for t, q in zip(target[i], p, strict=True))
    return ce / len(features), con / len(features)


@pytest.mark.parametrize("index", [[3], [3, 0, 59, 17, 8]])
def test_losses_equal_a_loop(index):
    bank = random_bank()
    batch = batch_of(bank, torch.tensor(index), noise=0.3)
    probabilities = batch.logits.softmax(dim=1)
    pseudo = glc.pseudo_labels(bank.features, bank.probabilities, 4)
    state = glc.start_state(bank, pseudo)
    near = neighbours_in(F.normalize(batch.features, dim=1), state.unit_features, 4)
    parts = glc.losses(batch.features, probabilities, batch.index, state, near)
    expected = naive_losses(
        batch.features.detach().double().numpy(),
        probabilities.detach().double().numpy(),
        pseudo.target[index].double().numpy(),
        bank,
    )
    assert [part.item() for part in parts] == pytest.approx(expected, abs=1e-5)


def test_consistency_is_leads():
    bank = random_bank()
    batch = batch_of(bank, torch.tensor([4, 9, 30]), noise=0.3)
    probabilities = batch.logits.softmax(dim=1)
    state = lead.start_state(
        bank, lead.pseudo_labels(bank.features, bank.probabilities, bank.class_weights, 4)
    )
    features, rows = F.normalize(bank.features, dim=1), bank.probabilities.clone()
    z = F.normalize(batch.features, dim=1)
    near = neighbours_in(z, features, 4)
    loss = consistency(z, probabilities, batch.index, features, rows, near)
    leads = lead.losses(batch.features, probabilities, batch.index, state, near)[2]
    torch.testing.assert_close(loss, leads)
    torch.testing.assert_close(features, state.unit_features)
    torch.testing.assert_close(rows, state.probabilities)


def test_the_batch_replaces_its_rows_of_the_states_bank_only():
    bank = random_bank()
    method = METHODS["glc"](open_set=True, clusters="features")
    state = method.refresh(bank, 0)
    before = state.unit_features.clone(), state.probabilities.clone()
    batch = batch_of(bank, torch.tensor([4, 0, 9]), noise=0.3)
    parts = method.loss(batch, state)
    sum(parts.values()).backward()
    assert batch.features.grad.isfinite().all()
    rest = torch.ones(60, dtype=torch.bool)
    rest[batch.index] = False
    assert torch.equal(state.unit_features[rest], before[0][rest])
    assert torch.equal(state.probabilities[rest], before[1][rest])
    rows = batch.logits.softmax(dim=1).detach()
    torch.testing.assert_close(state.probabilities[batch.index], rows)
    unit = F.normalize(batch.features, dim=1).detach()
    torch.testing.assert_close(state.unit_features[batch.index], unit)
    assert not state.probabilities.requires_grad
    assert torch.equal(bank.features, random_bank().features)  # the bank itself is untouched


def test_the_method_weighs_the_first_loss():
    bank = random_bank()
    batch = batch_of(bank, torch.tensor([1, 2]), noise=0.3)
    light, heavy = (
        glc.Glc(open_set=True, ce_weight=weight, clusters="features") for weight in (0.3, 1.5)
    )
    parts = [method.loss(batch, method.refresh(bank, 0)) for method in (light, heavy)]
    assert parts[1]["ce"].item() == pytest.approx(5 * parts[0]["ce"].item())
    assert parts[1]["con"].item() == pytest.approx(parts[0]["con"].item())


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("clusters", "umap", "adapt.options.glc.clusters: 'umap' is not one of tsne, "),
        ("neighbours", 0, "adapt.options.glc.neighbours: 0 must be at least 1"),
        ("rho", 1.5, "adapt.options.glc.rho: 1.5 is not between 0 and 1"),
    ],
)
def test_wrong_options_are_named(option, value, words):
    with pytest.raises(ValueError, match=words):
        METHODS["glc"](open_set=True, **{option: value})


@pytest.mark.parametrize("case", "abcd")
def test_glc_plus_equals_the_released_batch(case):
    """Losses and gradient; coeff is C_t over K."""
    with np.load(Path(__file__).parents[1] / "golden" / "glc_plus_batch.npz") as file:
        golden = {key[2:]: torch.from_numpy(file[key]) for key in file.files if key[0] == case}
    classes = golden["class_weights"].shape[0]
    method = glc.Glc(open_set=True, affinity_weight=1.0)
    method.num_clusters = round(classes * float(golden["coeff"]), 6)
    bank = Bank(golden["bank_features"], golden["bank_probabilities"], golden["class_weights"])
    nothing = torch.zeros(len(bank.features))
    labels = glc.PseudoLabels(nothing.long(), golden["target"], nothing, nothing)
    state = glc.start_state(bank, labels)
    features = golden["features"].clone().requires_grad_()
    batch = Batch(features, features @ bank.class_weights.T, golden["index"])
    losses = method.loss(batch, state)
    for name, key, weight in (("ce", "ce", 1.5), ("con", "con", 1), ("aff", "affinity", 1)):
        expected = weight * float(golden[key])
        assert float(losses[name].detach()) == pytest.approx(expected, rel=1e-5)
    sum(losses.values()).backward()
    torch.testing.assert_close(features.grad, golden["grad_total"], rtol=1e-3, atol=1e-7)
