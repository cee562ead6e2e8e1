"""RRDA against naive loops over its formulas, and whole runs of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.banks import batch_of, method_for, random_bank
from helpers.tiny import arguments, make_dataset
from sklearn.metrics import accuracy_score
from torch import nn
from torch.nn import functional as F

from uda.cli.main import main
from uda.config import CONFIGS, AdaptConfig, read_yaml
from uda.inference.model import load
from uda.methods import METHODS, rrda
from uda.methods.unknown import entropy
from uda.runs.checkpoints import read_checkpoint
from uda.runs.folder import find_runs

K = 4


def classifier_of(bank):
    layer = nn.Linear(bank.features.shape[1], len(bank.class_weights))
    layer.load_state_dict({"weight": bank.class_weights, "bias": torch.linspace(-1, 1, K)})
    return layer.requires_grad_(False)


def wide_bank():
    """Return a bank whose unsure features lie apart from the sure ones."""
    bank = random_bank(count=200, dim=32)
    return replace(bank, class_weights=0.3 * bank.class_weights)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- synthesis


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


def slope_of_cross_entropy(p):
    return p - np.eye(len(p))[1]


def slope_of_certainty(p):
    """Return the gradient, with respect to the logits, of Σ p log(p + 1e-5)."""
    by_p = np.log(p + 1e-5) + p / (p + 1e-5)
    return p * (by_p - (p * by_p).sum())


def naive_synthesis(start, weight, bias, slope_of, steps):
    """Return the points after ``steps`` of Adam, with gradients by hand, in float64."""
    points = start.copy()
    count, dim = points.shape
    first, second = np.zeros_like(points), np.zeros_like(points)
    for step in range(1, steps + 1):
        gradient = np.empty_like(points)
        for i, point in enumerate(points):
            gradient[i] = slope_of(softmax(weight @ point + bias)) @ weight / count
        for d in range(dim):
            column = points[:, d]
            deviation = math.sqrt(((column - column.mean()) ** 2).mean() + 1e-4)
            if deviation < 1:
                gradient[:, d] -= (column - column.mean()) / (count * deviation * dim)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        size = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        points -= 1e-3 * first / (1 - 0.9**step) / size
    return points


@pytest.mark.parametrize("kind", ["known", "unknown"])
@pytest.mark.parametrize("count", [1, 7])
def test_synthesis_equals_adam_by_hand(kind, count):
    bank = random_bank(count=count)
    layer = classifier_of(bank)
    value, slope_of = {
        "known": (lambda f: -layer(f).log_softmax(1)[:, 1], slope_of_cross_entropy),
        "unknown": (lambda f: -entropy(layer(f).softmax(1)), slope_of_certainty),
    }[kind]
    start = bank.features * torch.linspace(0.1, 2, 8)  # some dimensions deviate by less than 1
    given = rrda.synthesise(start, value, 40)
    weight, bias = layer.weight.double().numpy(), layer.bias.double().numpy()
    expected = naive_synthesis(start.double().numpy(), weight, bias, slope_of, 40)
    np.testing.assert_allclose(given.double().numpy(), expected, atol=2e-4)
    assert np.abs(expected - start.numpy()).max() > 0.03


def test_known_points_are_those_that_the_classifier_is_sure_of():
    bank = random_bank(count=50, spread=1.0)
    layer = classifier_of(bank)
    points = rrda.known_points(layer, bank.features, 2, 30, generator())
    moved = rrda.synthesise(
        bank.features[torch.randperm(50, generator=generator())],
        lambda f: -layer(f).log_softmax(1)[:, 2],
        30,
    )
    sure = [p for p in moved if -math.log(layer(p).softmax(0)[2]) < 0.25 * math.log(K)]
    assert 0 < len(points) == len(sure) < 50
    torch.testing.assert_close(points, torch.stack(sure))


def test_known_points_are_at_most_a_thousand():
    bank = random_bank(count=1100, spread=0.1)
    points = rrda.known_points(classifier_of(bank), bank.features, 2, 1, generator())
    assert len(points) < 1000
    layer = nn.Linear(8, K).requires_grad_(False)
    layer.load_state_dict({"weight": torch.zeros(K, 8), "bias": torch.tensor([0.0, 0.0, 9.0, 0.0])})
    assert len(rrda.known_points(layer, bank.features, 2, 1, generator())) == 1000


def test_unknown_points_begin_at_two_noisy_copies_and_are_unsure():
    bank = random_bank(count=50)
    layer = classifier_of(bank)
    start = torch.cat([bank.features, bank.features])
    start += 2 * torch.randn(start.shape, generator=generator())
    moved = rrda.synthesise(start, lambda f: -entropy(layer(f).softmax(1)), 200)
    unsure = []
    for point in moved:
        p = layer(point).softmax(0).tolist()
        if -sum(x * math.log(x + 1e-5) for x in p) > 0.75 * math.log(K):
            unsure.append(point)
    points = rrda.unknown_points(layer, bank.features, 200, generator())
    assert 0 < len(points) == len(unsure) < 100
    torch.testing.assert_close(points, torch.stack(unsure))


def test_unknown_points_are_clustered_into_further_classes():
    bank = wide_bank()
    layer = classifier_of(bank)
    points, labels = rrda.synthetic_features(layer, bank.features, (K, 3), 100, 0)
    assert labels.unique().tolist() == list(range(K + 3))
    known = labels < K
    assert (layer(points[known]).argmax(1) == labels[known]).all()
    centres = torch.stack([points[labels == k].mean(0) for k in range(K, K + 3)])
    nearest = torch.cdist(points[~known], centres).argmin(1) + K
    assert accuracy_score(labels[~known], nearest) > 0.95  # k-means has converged, nearly


def test_trained_rows_know_the_synthetic_features():
    bank = wide_bank()
    method = method_for(bank, "rrda", steps=100, unknown_classes=2)
    before = method.classifier.weight.detach().clone()
    points, labels = rrda.synthetic_features(method.classifier, bank.features, (K, 2), 100, 0)
    method.refresh(bank, 0)
    rows = method.classifier.weight.detach().clone()
    assert not torch.equal(rows, before)
    logits = torch.cat([method.classifier(points), method.heads["unknown"](points)], dim=1)
    right = logits.argmax(1) == labels
    assert right[labels < K].float().mean() > 0.9
    assert (logits.argmax(1) >= K)[labels >= K].float().mean() > 0.9
    method.refresh(bank, 1)
    assert torch.equal(method.classifier.weight, rows)


# ---- losses


def test_shots_losses_equal_a_loop():
    logits, labels = 2 * torch.randn(5, 7, generator=generator(1)), [0, 6, 3, 3, 5]
    rows = [softmax(row) for row in logits.double().numpy()]
    ce = 0.0
    for row, label in zip(rows, labels, strict=True):
        target = 0.7 * np.eye(7)[label] + 0.3 / 7
        ce -= (target * np.log(row)).sum() / 5
    mean_entropy = -sum((row * np.log(row + 1e-5)).sum() for row in rows) / 5
    mean = np.mean(rows, axis=0)
    parts = rrda.shot_losses(logits, torch.tensor(labels))
    expected = [ce, mean_entropy, (mean * np.log(mean + 1e-5)).sum()]
    assert [float(part) for part in parts] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_aads_losses_equal_a_loop_after_the_batchs_rows_are_replaced(count):
    bank = random_bank(count=30)
    method = method_for(bank, "rrda", steps=20, unknown_classes=2, objective="aad", neighbours=3)
    state = method.refresh(bank, 0)
    index = torch.randperm(30, generator=generator(3))[:count]
    batch = batch_of(bank, index, noise=0.5)
    batch = replace(batch, logits=method.classifier(batch.features))
    features = F.normalize(bank.features, dim=1)
    features[index] = F.normalize(batch.features.detach(), dim=1)

    def probabilities(f):
        return torch.cat([method.classifier(f), method.heads["unknown"](f)], dim=1).softmax(1)

    kept, p = probabilities(bank.features).detach(), probabilities(batch.features).detach()
    kept[index] = p
    attract = disperse = 0.0
    for i in range(count):
        nearest = (features @ features[index[i]]).argsort(descending=True)[1:4]
        attract -= sum(float(p[i] @ kept[n]) for n in nearest) / count
        disperse += sum(float(p[i] @ p[j]) for j in range(count) if j != i) / count
    losses = method.loss(batch, state)
    given = {name: value.item() for name, value in losses.items()}
    assert given == pytest.approx({"attract": attract, "disperse": disperse}, abs=1e-5)


def test_aad_attracts_to_the_neighbours_that_the_batch_names():
    bank = random_bank(count=30)
    method = method_for(bank, "rrda", steps=20, unknown_classes=2, objective="aad")
    state = method.refresh(bank, 0)
    index, near = torch.tensor([4, 9]), torch.tensor([[1, 2], [20, 7]])
    batch = replace(batch_of(bank, index, noise=0.5), near=near)
    kept = state.probabilities.clone()
    logits = torch.cat([batch.logits, method.heads["unknown"](batch.features)], dim=1)
    p = logits.softmax(1).detach()
    expected = -sum(float(p[i] @ kept[row]) for i in range(2) for row in near[i]) / 2
    assert method.loss(batch, state)["attract"].item() == pytest.approx(expected, abs=1e-5)


def test_shots_objective_asks_for_no_neighbours():
    bank = random_bank(count=30)
    assert method_for(bank, "rrda", objective="shot").neighbours == 0


def test_both_sides_of_aads_dispersion_have_a_gradient():
    logits = torch.randn(4, 5, generator=generator(), requires_grad=True)
    p = logits.softmax(1)
    (given,) = torch.autograd.grad(rrda.aad_losses(p, p[:, None].detach())[1], p)
    torch.testing.assert_close(given, 2 * (p.sum(0) - p).detach() / 4)


def test_the_first_epoch_has_no_cross_entropy():
    bank = random_bank()
    method = method_for(bank, "rrda", steps=20, ce_weight=0.4)
    batch = batch_of(bank, torch.arange(9))
    first, second = (method.loss(batch, method.refresh(bank, epoch)) for epoch in (0, 1))
    logits = torch.cat([batch.logits, method.heads["unknown"](batch.features)], dim=1)
    label = method.refresh(bank, 1).label
    ce, mean_entropy, diversity = rrda.shot_losses(logits, label[:9])
    assert first["ce"] == 0
    assert second["ce"].item() == pytest.approx(0.4 * ce.item())
    assert second["entropy"].item() == pytest.approx(0.5 * mean_entropy.item())
    assert second["diversity"].item() == pytest.approx(diversity.item())


# ---- answers


def test_the_highest_of_all_rows_is_the_answer():
    bank = random_bank(count=80, spread=1.5)
    method = method_for(bank, "rrda", steps=100, unknown_classes=3)
    method.refresh(bank, 0)
    known = method.classifier(bank.features)
    bank = replace(bank, probabilities=known.softmax(1).detach())
    rows = torch.cat([known, method.heads["unknown"](bank.features)], dim=1).argmax(1)
    prediction = method.predict(bank)
    assert prediction.label.tolist() == rows.clamp(max=K).tolist()
    assert 0 < (prediction.label == K).sum() < 80
    assert ((prediction.unknown_score > 0.5) == (rows >= K)).all()
    closed = method_for(bank, "rrda", open_set=False, unknown_classes=3)
    closed.load_state_dict(method.state_dict())
    closed.classifier.load_state_dict(method.classifier.state_dict())
    assert closed.predict(bank).label.tolist() == known.argmax(1).tolist()


@pytest.mark.parametrize(("objective", "trained"), [("shot", False), ("aad", True)])
def test_shot_freezes_all_rows_and_aad_trains_them(objective, trained):
    method = method_for(random_bank(), "rrda", objective=objective)
    assert method.trains_classifier == trained
    assert all(p.requires_grad == trained for p in method.heads.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "nrc"}, "objective: 'nrc' is not one of shot, aad"),
        ({"unknown_classes": -1}, "unknown_classes: -1 must be at least 0"),
        ({"neighbours": 0}, "neighbours: 0 must be at least 1"),
        ({"steps": 0}, "steps: 0 must be at least 1"),
        ({"ce_weight": -1.0}, "ce_weight: -1.0 must not be negative"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ValueError, match=rf"adapt\.options\.rrda\.{message}"):
        METHODS["rrda"](open_set=True, **options)


@pytest.mark.parametrize(("name", "factor"), [("rrda", 1.0), ("rrda_aad", 0.1)])
def test_the_configurations_have_the_released_rates_of_the_backbone(name, factor):
    settings = AdaptConfig(**read_yaml(CONFIGS / "methods" / f"{name}.yaml")["adapt"])
    assert (settings.method, settings.backbone_factor) == ("rrda", factor)


# ---- whole runs


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A dataset, and the folder of a source model's run."""
    folder = tmp_path_factory.mktemp("rrda")
    dataset = make_dataset(folder, per_class=5)
    assert main(["train", *arguments(dataset, folder / "runs")]) == 0
    return dataset, folder / "runs"


def adapted(source, *more):
    """Adapt for two epochs; return the run that this makes."""
    flags = ["--adapt.method=rrda", "--data.target=Dark", "--adapt.options.rrda.steps=20", *more]
    before = {run.folder for run in find_runs(source[1])}
    assert main(["adapt", *arguments(*source, *flags)]) == 0
    (run,) = (run for run in find_runs(source[1]) if run.folder not in before)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("objective", rrda.OBJECTIVES)
def test_a_run_is_loaded_exported_and_answers_anew(source, tmp_path, objective):
    flags = [f"--adapt.options.rrda.objective={objective}"]
    run = adapted(source, *flags)
    _, first, second = (run.bank(epoch, ["class_weights"])[0] for epoch in range(3))
    assert np.array_equal(first, second) == (objective == "shot")
    saved, model = np.load(run.folder / "predictions.npz"), load(run.folder)
    assert model.threshold == 0.5
    columns = ("name", "label", "unknown_score")
    for name, label, score in zip(*(saved[key] for key in columns), strict=True):
        answer = model(source[0].parent / "pictures" / "Dark" / str(name))
        assert answer.label == (*model.classes, "unknown")[label]
        assert answer.unknown_score == pytest.approx(score, abs=1e-5)
    assert main(["evaluate", str(run.folder)]) == 0
    views = ["--answer.views=6", "--answer.score=cosine", "--answer.threshold=two-means"]
    assert adapted(source, *flags, *views).answer["views"] == 6
    pytest.importorskip("onnxruntime")
    assert main(["export", str(run.folder), f"--out={tmp_path / 'a.onnx'}"]) == 0
    checkpoint = read_checkpoint(run.checkpoint)
    torch.save(checkpoint | {"method": {}}, run.checkpoint)
    with pytest.raises(ValueError, match="has not RRDA's own layers"):
        load(run.folder)
