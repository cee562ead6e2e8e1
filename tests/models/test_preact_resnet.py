import pytest
import torch
from torch.nn import functional as F

from uda.models.classifier import build_model
from uda.models.preact_resnet import PreActBlock, PreActResNet18


def number_of(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("stride", "px"), [(1, 32), (2, 64), (1, 27)])
def test_features_and_places(stride, px):
    model = PreActResNet18(stride)
    with torch.no_grad():
        assert model(torch.rand(2, 3, px, px)).shape == (2, 512)
        assert model.blocks(model.stem(torch.rand(1, 3, px, px))).shape[-2:] == (4, 4)


def test_the_number_of_weights_counted_by_hand():
    """Two 3 by 3 convolutions a block, 1 by 1 shortcuts where channels double, BatchNorm twice."""
    widths = [(64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    expected = 3 * 64 * 9 + 2 * 512
    for before, width in [*widths, (512, 512)]:
        expected += 9 * width * (before + width) + 2 * (before + width)
        expected += before * width if before != width else 0
    assert number_of(PreActResNet18(1)) == expected == 11_167_040


@pytest.mark.parametrize(("before", "stride"), [(4, 1), (3, 1), (4, 2)])
def test_a_block_by_its_formula(before, stride):
    block = PreActBlock(before, 4, stride).eval()
    for layer in (block.norm1, block.norm2):
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, before, 6, 6)

    def norm(y, layer):
        return F.batch_norm(y, layer.running_mean, layer.running_var, layer.weight, layer.bias)

    active = norm(x, block.norm1).clamp(min=0)
    inner = F.conv2d(active, block.conv1.weight, stride=stride, padding=1)
    outer = F.conv2d(norm(inner, block.norm2).clamp(min=0), block.conv2.weight, padding=1)
    kept = x
    if before != 4 or stride != 1:
        kept = F.conv2d(active, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(x), kept + outer)


def test_as_a_backbone_from_scratch_and_from_a_file(tmp_path):
    first = build_model("preact_resnet18", "none", "linear", 0, 7)
    features, logits = first(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 512)
    assert logits.shape == (2, 7)
    torch.save(first.backbone.state_dict(), tmp_path / "w.pth")
    other = build_model("preact_resnet18", str(tmp_path / "w.pth"), "linear", 0, 3, seed=1)
    assert torch.equal(other.backbone.stem.weight, first.backbone.stem.weight)
    larger = build_model("preact_resnet18_64", "none", "bottleneck_wn", 16, 7)
    assert larger.backbone.stem.stride == (2, 2)
    with pytest.raises(ValueError, match="no imagenet weights of preact_resnet18"):
        build_model("preact_resnet18", "imagenet", "linear", 0, 7)
