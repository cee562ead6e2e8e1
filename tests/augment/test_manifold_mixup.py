"""Manifold Mixup: the layer that is mixed, and the features and targets that follow."""

import pytest
import torch
from torch import nn

from uda.augment.manifold_mixup import ManifoldMixupAugmentation, stages_of
from uda.models.classifier import Classifier, build_model

BACKBONES = ["timm:test_efficientnet", "timm:test_vit", "resnet18", "preact_resnet18"]
TARGETS = torch.eye(5)
PAIRS = [1, 0, 3, 2, 4]  # the last has no neighbour


@pytest.fixture(scope="module", params=BACKBONES)
def model(request):
    return build_model(request.param, "none", "bottleneck_wn", 16, 5, 0, 32).eval()


@pytest.fixture
def images():
    """A batch of the size that the networks take."""
    return torch.rand((5, 3, 32, 32), generator=torch.Generator().manual_seed(0))


def recorded(model, run):
    """Return the input and the outputs of stages and bottleneck during ``run``, and its result."""
    stages = [*stages_of(model.backbone), model.bottleneck]
    seen = [None] * (1 + len(stages))
    handles = [
        model.backbone.register_forward_pre_hook(
            lambda _, inputs: seen.__setitem__(0, inputs[0].clone())
        )
    ]
    for layer, stage in enumerate(stages, 1):
        handles.append(
            stage.register_forward_hook(
                lambda _, inputs, output, layer=layer: seen.__setitem__(layer, output.clone())
            )
        )
    result = run()
    for handle in handles:
        handle.remove()
    return seen, result


def share_of(augmentation, seed):
    """Return the weight of an image's target in its mixed target."""
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    return float(augmentation.batch(targets, targets, seed)[1][0, 0])


@torch.no_grad()
def test_a_random_layer_is_mixed_and_all_after_it_change(model, images):
    augmentation = ManifoldMixupAugmentation()
    plain, _ = recorded(model, lambda: model(images))
    layers = set()
    for seed in range(40):
        with augmentation.within(model, 5, seed):
            # These hooks come after the augmentation's: they see what the next layer gets.
            mixed, (features, logits) = recorded(model, lambda: model(images))
        same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(mixed, plain, strict=True)]
        layer = same.index(False)
        assert not any(same[layer:]), "everything after it changes"
        layers.add(layer)
        share = share_of(augmentation, seed)
        expected = share * plain[layer] + (1 - share) * plain[layer][PAIRS]
        torch.testing.assert_close(mixed[layer], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits, model.classifier(features))
        torch.testing.assert_close(features[4], plain[-1][4], atol=1e-4, rtol=1e-4)
    assert layers == set(range(len(plain))), "every layer is drawn in time"


@torch.no_grad()
@pytest.mark.parametrize("kind", ["input", "features"])
def test_the_configured_kind_of_layer_is_mixed(model, images, kind):
    augmentation = ManifoldMixupAugmentation(layers=kind)
    share = share_of(augmentation, 3)
    with augmentation.within(model, 5, 3):
        features, logits = model(images)
    if kind == "input":
        expected = model(share * images + (1 - share) * images[PAIRS])
    else:
        whole = model(images)[0]
        whole = share * whole + (1 - share) * whole[PAIRS]
        expected = whole, model.classifier(whole)
    torch.testing.assert_close(features, expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits, expected[1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_no_hook_and_no_draw_remains_after_an_error(model, images):
    before = model(images)[1]
    augmentation = ManifoldMixupAugmentation(layers="stages")
    state = torch.get_rng_state()
    for seed in range(8):
        with pytest.raises(KeyError), augmentation.within(model, 5, seed):
            raise KeyError
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model(images)[1], before)


def test_targets_are_mixed_and_images_are_not(images):
    augmentation = ManifoldMixupAugmentation()
    same, targets = augmentation.batch(images, TARGETS, 7)
    assert same is images
    share = float(targets[0, 0])
    assert 0 < share < 1
    torch.testing.assert_close(targets, share * TARGETS + (1 - share) * TARGETS[PAIRS])
    assert not torch.equal(targets, augmentation.batch(images, TARGETS, 8)[1])


def test_two_processes_mix_their_shares_as_the_whole_batch(images):
    """Two processes with two images each: their targets are mixed as a batch of four."""
    model = build_model("timm:test_efficientnet", "none", "linear", 0, 5, 0, 32).eval()
    augmentation = ManifoldMixupAugmentation()
    with torch.no_grad():
        for seed in range(6):
            with augmentation.within(model, 4, seed):
                whole = model(images[:4])[1]
                parts = [model(part)[1] for part in images[:4].split(2)]
            torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-5)
    wrong = pytest.raises(ValueError, match=r"train.batch_size: 6 .* odd number of images \(3\)")
    with wrong, augmentation.within(model, 6, 0):
        model(images[:3])


def test_gradients_reach_both_of_a_pair(images):
    model = build_model("timm:test_efficientnet", "none", "linear", 0, 5, 0, 32).eval()
    images = images[:2].clone().requires_grad_()
    with ManifoldMixupAugmentation(layers="features").within(model, 2, 0):
        model(images)[1][0].sum().backward()
    assert (images.grad.abs().sum((1, 2, 3)) > 0).all()


class Flat(nn.Module):
    def __init__(self, stage):
        super().__init__()
        self.stage = stage

    def forward(self, images):
        self.stage(images)
        return images.flatten(1)


class ReturnsTwo(nn.Sequential):
    def forward(self, images):
        return images, images


def flat(stage):
    ones = (1.0, 1.0, 1.0)
    return Classifier(Flat(stage), nn.Identity(), nn.Linear(12, 5), ones, ones)


def test_networks_that_cannot_be_mixed_are_refused():
    stages = ManifoldMixupAugmentation(layers="stages")
    with pytest.raises(ValueError, match="the stages of Flat are not known; say input,features"):
        stages.within(flat(nn.Identity()), 2, 0)
    tuples = flat(ReturnsTwo())
    with pytest.raises(ValueError, match="gives a tuple"), stages.within(tuples, 2, 0):
        tuples(torch.zeros(2, 3, 2, 2))
    compiled = flat(nn.Identity())
    compiled.compile()
    with pytest.raises(ValueError, match="compute.compile: manifold_mixup"):
        ManifoldMixupAugmentation(layers="input").within(compiled, 2, 0)


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18"])
def test_a_residual_network_has_four_stages(name):
    model = build_model(name, "none", "linear", 8, 5, 0, 28)
    assert len(stages_of(model.backbone)) == 4
