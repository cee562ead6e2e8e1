import pytest
import torch
from helpers.released import CLASSES, DIM, head, network
from torch import nn

from uda.models import released as lead_checkpoints
from uda.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from uda.models.classifier import build_model, load_weights
from uda.models.released import convert_state, import_lead


def released(backbone, width=512):
    """The file of the released code: ResNet's names as they are, VGG's classifier renamed."""
    state = {
        "backbone_layer." + key.replace("classifier.", "classifier.classifier"): value
        for key, value in backbone.state_dict().items()
    }
    return {"epoch": 49, "model_state_dict": state | head(width)}


def plain_head(rows, tensors):
    """Features and logits of backbone features ``rows``, in plain algebra (eval mode)."""
    t = {key.split(".", 1)[1]: value for key, value in tensors.items()}
    z = rows @ t["bottleneck.weight"].T + t["bottleneck.bias"]
    z = (z - t["bn.running_mean"]) / (t["bn.running_var"] + 1e-5).sqrt()
    z = z * t["bn.weight"] + t["bn.bias"]
    norms = t["fc.weight_v"].square().sum(dim=1, keepdim=True).sqrt()
    weight = t["fc.weight_g"] * t["fc.weight_v"] / norms
    return z, z @ weight.T + t["fc.bias"]


def normalised(images):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std


@pytest.fixture(scope="module")
def resnet18():
    return network("resnet18")


@pytest.fixture
def theirs(resnet18):
    return released(resnet18)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_features_and_logits_are_those_of_the_plain_network(tmp_path, name, prefix):
    backbone = network(name)
    file = released(backbone)
    state = {prefix + key: value for key, value in file["model_state_dict"].items()}
    torch.save(file | {"model_state_dict": state}, tmp_path / "theirs.pth")
    imported = import_lead(tmp_path / "theirs.pth", tmp_path / "new" / "ours.pt")
    assert imported == (name, CLASSES, DIM)
    model = build_model(name, "none", "bottleneck_wn", DIM, CLASSES, seed=3).eval()
    load_weights(model, tmp_path / "new" / "ours.pt")
    images = torch.rand(3, 3, 45, 37)
    features, logits = plain_head(backbone(normalised(images)), head(512))
    torch.testing.assert_close(model(images)[0], features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(images)[1], logits, atol=1e-5, rtol=1e-5)
    assert features.std() > 0.1  # or the comparison would show little


@torch.no_grad()
@pytest.mark.slow
def test_features_and_logits_of_vgg19():
    """The released code flattens the last maps without pooling; at 224 px the two are the same."""
    backbone = network("vgg19")
    imported, state = convert_state(released(backbone, width=4096), "theirs.pth")
    assert imported == ("vgg19", CLASSES, DIM)
    model = build_model("vgg19", "none", "bottleneck_wn", DIM, CLASSES).eval()
    model.load_state_dict(state)
    images = torch.rand(1, 3, 224, 224)
    rows = backbone.classifier(backbone.features(normalised(images)).flatten(1))
    features, logits = plain_head(rows, head(4096))
    torch.testing.assert_close(model(images)[0], features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(images)[1], logits, atol=1e-5, rtol=1e-5)


def test_training_goes_on_as_it_would_there(tmp_path, resnet18, theirs):
    """In train mode: batch statistics, running ones that move on, and gradients through g and v."""
    torch.save(theirs, tmp_path / "theirs.pth")
    import_lead(tmp_path / "theirs.pth", tmp_path / "ours.pt")
    model = build_model("resnet18", "none", "bottleneck_wn", DIM, CLASSES).train()
    load_weights(model, tmp_path / "ours.pt")
    tensors = {key.split(".", 1)[1]: value.clone() for key, value in head(512).items()}
    backbone = network("resnet18").train()
    images = torch.rand(4, 3, 40, 40)
    z = backbone(normalised(images)) @ tensors["bottleneck.weight"].T + tensors["bottleneck.bias"]
    moved = 0.9 * tensors["bn.running_mean"] + 0.1 * z.mean(dim=0)
    z = (z - z.mean(dim=0)) / (z.var(dim=0, unbiased=False) + 1e-5).sqrt()
    z = z * tensors["bn.weight"] + tensors["bn.bias"]
    g, v = (tensors[f"fc.weight_{name}"].requires_grad_() for name in "gv")
    logits = z @ (g * v / v.norm(dim=1, keepdim=True)).T + tensors["fc.bias"]
    logits.square().sum().backward()
    features, ours = model(images)
    ours.square().sum().backward()
    norm = model.bottleneck[1]
    torch.testing.assert_close(features, z, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(norm.running_mean, moved, atol=1e-5, rtol=1e-5)
    assert norm.num_batches_tracked == 10
    assert model.backbone.bn1.num_batches_tracked == 8
    parametrization = model.classifier.parametrizations.weight
    for ours, theirs in ((parametrization.original0, g), (parametrization.original1, v)):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "width"),
    [("resnet50", 2048), ("resnet101", 2048), ("resnet152", 2048), ("vgg19", 4096)],
)
def test_the_backbone_is_found_from_the_keys(name, width):
    with torch.device("meta"):
        imported, state = convert_state(released(network(name), width=width), "theirs.pth")
        model = build_model(name, "none", "bottleneck_wn", DIM, CLASSES)
    assert imported == (name, CLASSES, DIM)
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }


def test_old_files_without_batch_counts(theirs):
    state = theirs["model_state_dict"]
    counts = [key for key in state if key.endswith("num_batches_tracked")]
    _, ours = convert_state({"model_state_dict": {k: state[k] for k in state.keys() - counts}}, "f")
    model = build_model("resnet18", "none", "bottleneck_wn", DIM, CLASSES)
    model.load_state_dict(ours)
    assert model.bottleneck[1].num_batches_tracked == 0


def changed(theirs, *without, **more):
    state = {k: v for k, v in theirs["model_state_dict"].items() if k not in without}
    return {"model_state_dict": state | {k.replace("__", "."): v for k, v in more.items()}}


@pytest.mark.parametrize(
    ("without", "more", "words"),
    [
        (["backbone_layer.layer3.0.conv1.weight"], {}, "layer3.0.conv1.weight is missing"),
        (["feat_embed_layer.bn.bias"], {}, "feat_embed_layer.bn.bias is missing"),
        (["class_layer.fc.weight_g"], {}, "class_layer.fc.weight_g is missing"),
        (["class_layer.fc.weight_v"], {}, "class_layer.fc.weight_v is missing"),
        ([], {"class_layer__fc__weight": torch.ones(1)}, "class_layer.fc.weight has no place"),
        ([], {"backbone_layer__fc__bias": torch.ones(1)}, "backbone_layer.fc.bias has no place"),
        (
            [],
            {"class_layer__fc__bias": torch.ones(CLASSES + 1)},
            "class_layer.fc.bias has the shape [6], expected [5]",
        ),
        (
            [],
            {"feat_embed_layer__bottleneck__weight": torch.ones(DIM, 511)},
            "feat_embed_layer.bottleneck.weight has the shape [12, 511], expected [12, 512]",
        ),
        ([], {"feat_embed_layer__bottleneck__weight": torch.ones(DIM)}, "not a matrix"),
        ([], {"backbone_layer__bn1__bias": [0.0]}, "backbone_layer.bn1.bias is a list"),
        (
            [],
            {"backbone_layer__layer4__2__conv1__weight": torch.ones(1)},
            "2, 2, 2, 3 blocks, as none of resnet18, resnet34",
        ),
        ([], {"backbone_layer__features__0__weight": torch.ones(1)}, "not VGG-19's"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_written(tmp_path, theirs, without, more, words):
    path, out = tmp_path / "theirs.pth", tmp_path / "ours.pt"
    torch.save(changed(theirs, *without, **more), path)
    with pytest.raises(ValueError, match="^" + str(path)) as caught:
        import_lead(path, out)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["theirs.pth"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {}}, "no key 'model_state_dict'"),
        ({"model_state_dict": [1]}, "no key 'model_state_dict'"),
        ({"model_state_dict": {}}, "no backbone known here"),
        ({"model_state_dict": {3: torch.ones(1)}}, "no backbone known here"),
        ([1], "holds a list"),
        (nn.Linear(2, 2), "not a readable checkpoint"),  # would have to be unpickled
    ],
)
def test_other_files_are_named(tmp_path, content, words):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=words) as caught:
        import_lead(path, tmp_path / "ours.pt")
    assert str(path) in str(caught.value)


def test_bad_places_are_named(tmp_path, theirs):
    path = tmp_path / "theirs.pth"
    with pytest.raises(ValueError, match="theirs.pth: no such checkpoint"):
        import_lead(path, tmp_path / "ours.pt")
    torch.save(theirs, path)
    with pytest.raises(ValueError, match="a folder; name the file"):
        import_lead(path, tmp_path)
    with pytest.raises(ValueError, match="the checkpoint itself"):
        import_lead(path, tmp_path / "." / "theirs.pth")


def test_the_same_model_gives_the_same_file(tmp_path, theirs):
    """A run is named after its checkpoint's content."""
    torch.save(theirs, tmp_path / "theirs.pth")
    import_lead(tmp_path / "theirs.pth", tmp_path / "a.pt")
    import_lead(tmp_path / "theirs.pth", tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_file_that_cannot_be_written_whole_is_not_written(tmp_path, theirs, monkeypatch):
    torch.save(theirs, tmp_path / "theirs.pth")
    (tmp_path / "ours.pt").write_bytes(b"before")

    def cut_short(content, file):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(lead_checkpoints.torch, "save", cut_short)
    with pytest.raises(OSError, match="no space left"):
        import_lead(tmp_path / "theirs.pth", tmp_path / "ours.pt")
    assert (tmp_path / "ours.pt").read_bytes() == b"before"
    assert {p.name for p in tmp_path.iterdir()} == {"theirs.pth", "ours.pt"}


def test_released_weights_that_are_not_finite_are_named(theirs, tmp_path):
    state = changed(theirs, class_layer__fc__bias=torch.tensor([1.0, float("nan"), 1, 1, 1]))
    torch.save(state, tmp_path / "theirs.pth")
    words = r"theirs\.pth: class_layer\.fc\.bias: 1 of 5 values are not finite"
    with pytest.raises(ValueError, match=words):
        import_lead(tmp_path / "theirs.pth", tmp_path / "ours.pt")
    assert not (tmp_path / "ours.pt").exists()
