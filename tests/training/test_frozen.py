"""Features of a frozen network: those of a plain pass, kept under what decides them."""

from dataclasses import replace

import pytest
import torch

from uda.config import ComputeConfig
from uda.models.backbones import build_backbone
from uda.training import frozen
from uda.training.frozen import frozen_backbone, frozen_features

CPU = torch.device("cpu")
NAME = "timm:test_efficientnet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = build_backbone(NAME, "none")[0]
    path = tmp_path_factory.mktemp("weights") / "backbone.pth"
    torch.save(body.state_dict(), path)
    return path


@pytest.fixture
def network(weights):
    return frozen_backbone(NAME, str(weights), 33)


@pytest.fixture
def compute(tmp_path):
    return ComputeConfig(cache=str(tmp_path / "cache"))


def images(count=5, seed=0, px=33):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, px, px), generator=generator, dtype=torch.uint8)


def files(compute):
    return sorted(path.name for path in frozen.Path(compute.cache).glob("*.images"))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_features_are_the_backbones_in_eval_mode(network, weights, compute, count, monkeypatch):
    monkeypatch.setattr(frozen, "BATCH", 2)  # results depend on no batch
    body, _, mean, std = build_backbone(NAME, str(weights))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    batch = images(count)
    features = frozen_features(network, NAME, batch, CPU, compute)
    assert features.dtype == torch.float32
    assert len(features) == count
    for image, row in zip(batch, features, strict=True):
        with torch.no_grad():
            expected = body.eval()((image[None].float() / 255 - mean) / std)[0]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


def test_a_second_time_they_are_read(network, weights, compute, monkeypatch):
    first = frozen_features(network, NAME, images(), CPU, compute)
    monkeypatch.setattr(frozen, "_features", lambda *_: pytest.fail("computed again"))
    again = frozen_backbone(NAME, str(weights), 33)
    assert torch.equal(frozen_features(again, NAME, images(), CPU, compute), first)
    # the same network, after it was rebuilt for the device
    assert torch.equal(frozen_features(network, NAME, images(), CPU, compute), first)


def test_other_pixels_sizes_weights_or_networks_are_other_features(network, weights, compute):
    seen = [frozen_features(network, NAME, images(), CPU, compute)]

    def is_new(*arguments):
        before = files(compute)
        seen.append(frozen_features(*arguments))
        return len(files(compute)) == len(before) + 1

    assert is_new(network, NAME, images(seed=1), CPU, compute)
    assert is_new(network, NAME, images(px=32), CPU, compute)
    assert is_new(network, NAME, images().flip(0), CPU, compute)
    torch.testing.assert_close(seen[-1].flip(0), seen[0])
    assert is_new(network, "timm:another", images(), CPU, compute)
    assert is_new(network, NAME, images(), CPU, replace(compute, precision="bfloat16"))
    changed = frozen_backbone(NAME, str(weights), 33)
    changed.backbone.conv_stem.weight.data.mul_(2)
    assert is_new(changed, NAME, images(), CPU, compute)
    assert not torch.equal(seen[-1], seen[0])


def test_features_that_are_not_finite_are_an_error_and_leave_no_file(network, compute):
    network.backbone.conv_stem.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="model.backbone: its features are not finite"):
        frozen_features(network, NAME, images(), CPU, compute)
    assert files(compute) == []


def test_a_network_without_weights_has_nothing_to_say():
    with pytest.raises(ValueError, match="model.weights: none leaves timm:test_efficientnet"):
        frozen_backbone(NAME, "none", 33)
