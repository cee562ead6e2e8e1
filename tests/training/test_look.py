"""What augmentations see of the network, and that seeing it leaves no trace."""

from types import SimpleNamespace

import pytest
import torch
from helpers.training import CPU, SIZES, tiny_model

from uda.config import ComputeConfig
from uda.models.classifier import Classifier, build_model
from uda.training.look import NetworkLook
from uda.training.state import Loop


def look_at(model, precision="float32"):
    return NetworkLook(model, SimpleNamespace(compute=ComputeConfig(precision=precision)))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand((4, 3, 48, 40), generator=generator), torch.eye(5)[[0, 3, 3, 1]]


@pytest.fixture(params=[("resnet18", "linear"), ("timm:test_efficientnet", "bottleneck_wn")])
def model(request):
    torch.manual_seed(0)
    backbone, head = request.param
    return build_model(backbone, "none", head, 16, 5)


def test_gradients_are_those_of_each_images_cross_entropy(model, batch):
    images, targets = batch
    seen = look_at(model).gradient(images, targets)
    model.eval()
    for image, target, gradient in zip(images, targets, seen, strict=True):
        alone = image[None].clone().requires_grad_()
        loss = -(target * model(alone)[1].log_softmax(1)).sum()
        loss.backward()
        scale = float(gradient.abs().max())
        torch.testing.assert_close(alone.grad[0], gradient, rtol=1e-3, atol=1e-4 * scale)


def test_class_maps_sum_to_the_logit_up_to_a_constant(batch):
    images, targets = batch
    torch.manual_seed(0)
    model = build_model("resnet18", "none", "linear", 0, 5)
    maps = look_at(model).class_maps(images, targets)
    assert maps.shape == (4, 2, 2)
    model.eval()
    logits = model(images)[1] - model.classifier.bias
    torch.testing.assert_close(maps.sum(dim=(1, 2)), logits[targets.bool()])


def test_an_image_is_seen_by_itself(model, batch):
    images, targets = batch
    look = look_at(model)
    for see in (look.gradient, look.class_maps):
        together = see(images, targets)
        alone = torch.cat([see(images[k : k + 1], targets[k : k + 1]) for k in range(4)])
        scale = float(together.abs().max())
        torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-4 * scale)


def test_nothing_of_the_training_state_is_touched(model, batch):
    images, targets = batch
    model.train()
    next(model.backbone.children()).eval()  # as a layer that is kept at rest
    modes = [layer.training for layer in model.modules()]
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(number))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    look = look_at(model)
    look.gradient(images, targets)
    look.class_maps(images, targets)
    assert torch.equal(torch.get_rng_state(), state)
    assert [layer.training for layer in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all((p.grad == number).all() for number, p in enumerate(model.parameters()))
    assert not images.requires_grad


def test_half_precision_loses_no_gradient(batch):
    images, targets = batch
    model = tiny_model(5, 0)
    exact = look_at(model).gradient(images, targets)
    torch.testing.assert_close(look_at(model, "float16").gradient(images, targets), exact)


def test_networks_without_maps_are_refused(batch):
    flat = Classifier(
        torch.nn.Flatten(), torch.nn.Identity(), torch.nn.Linear(3 * 48 * 40, 5), (0.0,), (1.0,)
    )
    with pytest.raises(ValueError, match="snapmix needs maps of a picture"):
        look_at(flat).class_maps(*batch)


def test_the_loop_gives_it_the_network_that_it_trains():
    loop = Loop(SIZES, 0, CPU)
    look = NetworkLook(tiny_model(5, 0), loop)
    assert look.gradient(torch.rand(2, 3, 32, 32), torch.eye(5)[:2]).abs().sum() > 0
