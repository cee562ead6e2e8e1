"""Passes through ONNX Runtime are torch's; torch takes over where they cannot be."""

import sys

import pytest
import torch
from torch import nn

from uda.compute import passes
from uda.compute.devices import move_to_device
from uda.compute.passes import FEWEST_PIXELS, eval_pass
from uda.config import DEFAULT_COMPUTE, ComputeConfig
from uda.models.classifier import build_model
from uda.training.bank import average, forward_all, view_banks

CPU = torch.device("cpu")
PX = 32


@pytest.fixture(scope="module", params=["efficientnet_lite0", "preact_resnet18"])
def model(request):
    torch.manual_seed(0)
    weights = "imagenet" if request.param == "efficientnet_lite0" else "none"
    model = build_model(request.param, weights, "bottleneck_wn", 16, 5, crop_px=PX)
    move_to_device(model, CPU, DEFAULT_COMPUTE)
    with torch.no_grad():  # statistics that are not those of a new network
        model.train()
        model(torch.rand(32, 3, PX, PX))
    return model.eval()


def is_torch(network):
    return "exported" not in network.__qualname__


def large_pass(model, compute=DEFAULT_COMPUTE):
    return eval_pass(model, FEWEST_PIXELS, PX, CPU, compute)


def test_features_and_logits_are_those_of_torch_for_any_batch_and_layout(model):
    network = large_pass(model)
    assert not is_torch(network)
    for count in (1, 7):
        images = torch.rand(count, 3, PX, PX).to(memory_format=torch.channels_last)
        with torch.no_grad():
            expected = model(images)
        for ours, theirs in zip(network(images), expected, strict=True):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_bank_has_the_weights_of_the_moment(model, monkeypatch):
    monkeypatch.setattr(passes, "FEWEST_PIXELS", 0)
    images = torch.randint(0, 256, (9, 3, PX + 4, PX + 4), dtype=torch.uint8)
    torch_only = ComputeConfig(onnx=False)
    for change in (0.0, 0.5):
        with torch.no_grad():
            model.classifier.bias += change * torch.arange(5)
        ours = forward_all(model, images, PX, CPU)
        theirs = forward_all(model, images, PX, CPU, torch_only)
        torch.testing.assert_close(ours.probabilities, theirs.probabilities, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.features, theirs.features, atol=1e-4, rtol=1e-4)


def test_views_share_one_export(model, monkeypatch):
    monkeypatch.setattr(passes, "FEWEST_PIXELS", 0)
    exports = []
    export = passes._onnx_graph
    monkeypatch.setattr(passes, "_onnx_graph", lambda *args: exports.append(args) or export(*args))
    images = torch.randint(0, 256, (3, 3, PX + 4, PX + 4), dtype=torch.uint8)
    bank, cosines = average(view_banks(model, images, PX, 6, CPU))
    by_torch = ComputeConfig(onnx=False)
    expected, expected_cosines = average(view_banks(model, images, PX, 6, CPU, by_torch))
    assert len(exports) == 1
    torch.testing.assert_close(bank.probabilities, expected.probabilities, atol=1e-4, rtol=0)
    torch.testing.assert_close(cosines, expected_cosines, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "compute",
    [ComputeConfig(onnx=False), ComputeConfig(precision="bfloat16"), ComputeConfig(compile=True)],
)
def test_settings_that_are_torchs(model, compute):
    assert is_torch(large_pass(model, compute))


def test_few_images_are_torchs(model):
    assert is_torch(eval_pass(model, FEWEST_PIXELS - 1, PX, CPU, DEFAULT_COMPUTE))


def test_without_onnxruntime_it_is_torch(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert is_torch(large_pass(model))


def test_a_network_that_cannot_be_exported_is_torchs_and_nothing_is_printed(capfd):
    class Odd(nn.Module):
        def forward(self, images):
            features = images.mean(dim=(2, 3))
            return features, torch.special.bessel_j0(features)

    assert is_torch(eval_pass(Odd().eval(), FEWEST_PIXELS, PX, CPU, DEFAULT_COMPUTE))
    assert capfd.readouterr() == ("", "")


def test_a_network_whose_export_differs_is_torchs(model, monkeypatch):
    graph = passes._onnx_graph(model, PX)
    with torch.no_grad():
        model.classifier.bias += 0.01
    monkeypatch.setattr(passes, "_onnx_graph", lambda *_: graph)
    assert is_torch(large_pass(model))
