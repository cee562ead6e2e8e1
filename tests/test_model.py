import pytest
import torch
import torchvision
from torch.nn import functional as F

from uda.model import build_model, efficientnet_lite0_file, load_weights
from uda.runs import read_checkpoint

TINY = "timm:test_efficientnet"


def tiny(head="bottleneck_wn", num_classes=4, seed=0):
    return build_model(TINY, "none", head, 16, num_classes, seed).eval()


@pytest.mark.parametrize(("head", "dim"), [("bottleneck_wn", 16), ("linear", 256)])
def test_shapes(head, dim):
    features, logits = tiny(head)(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, dim)
    assert logits.shape == (2, 4)


def test_logits_are_linear_in_the_features():
    model = tiny()
    features, logits = model(torch.rand(3, 3, 32, 32))
    expected = F.linear(features, model.classifier.weight, model.classifier.bias)
    torch.testing.assert_close(logits, expected)


def test_inputs_are_normalised_inside():
    model = tiny("linear")
    x = torch.rand(1, 3, 32, 32)
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    torch.testing.assert_close(model(x)[0], model.backbone((x - mean) / std))


def test_new_layers_come_from_the_seed():
    first, same, other = tiny(), tiny(), tiny(seed=1)
    assert torch.equal(first.classifier.weight, same.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


@pytest.mark.slow
def test_lite0_gives_the_original_files_logits():
    """The file's own tensors under timm's names; a picture's top class is stable under crops."""
    import timm

    model = build_model("efficientnet_lite0", "imagenet", "linear", 256, 3).eval()
    values = list(read_checkpoint(efficientnet_lite0_file()).values())
    plain = timm.create_model("tf_efficientnet_lite0").eval()
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = plain.forward_head(plain.forward_features((x - 0.5) / 0.5), pre_logits=True)
        torch.testing.assert_close(model(x)[0], expected, atol=1e-4, rtol=1e-4)


def test_resnet_from_a_local_file(tmp_path):
    saved = torchvision.models.resnet18(weights=None).eval()
    torch.save(saved.state_dict(), tmp_path / "r18.pth")
    model = build_model("resnet18", str(tmp_path / "r18.pth"), "linear", 256, 3).eval()
    saved.fc = torch.nn.Identity()
    x = torch.rand(1, 3, 32, 32)
    normalised = (x - model.mean) / model.std
    torch.testing.assert_close(model(x)[0], saved(normalised), atol=1e-5, rtol=1e-4)


def test_wrong_backbones_and_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="'resnet19' is not known"):
        build_model("resnet19", "none", "linear", 256, 3)
    with pytest.raises(ValueError, match="timm has no model 'nothing'"):
        build_model("timm:nothing", "none", "linear", 256, 3)
    with pytest.raises(ValueError, match="no such checkpoint"):
        build_model(TINY, str(tmp_path / "none.pth"), "linear", 256, 3)
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth: not weights of this backbone"):
        build_model(TINY, str(tmp_path / "other.pth"), "linear", 256, 3)


def test_checkpoints_of_another_model_are_named(tmp_path):
    path = tmp_path / "c.pt"
    torch.save({"model": tiny(num_classes=4).state_dict()}, path)
    model = tiny(num_classes=4, seed=1)
    load_weights(model, path)
    assert torch.equal(model.classifier.weight, tiny(num_classes=4).classifier.weight)
    with pytest.raises(ValueError, match=r"c\.pt: a model of 4 classes, .* has 5"):
        load_weights(tiny(num_classes=5), path)
    with pytest.raises(ValueError, match=r"c\.pt: does not fit the configured model"):
        load_weights(tiny("linear", num_classes=4), path)
    torch.save({"weights": {}}, path)
    with pytest.raises(ValueError, match="no key 'model'"):
        load_weights(model, path)
