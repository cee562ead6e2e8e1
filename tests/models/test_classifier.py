import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch.nn import functional as F

from uda.models import backbones
from uda.models.backbones import TORCHVISION, efficientnet_lite0_file
from uda.models.classifier import build_model, load_weights
from uda.runs.checkpoints import read_checkpoint

TINY = "timm:test_efficientnet"


def tiny(head="bottleneck_wn", num_classes=4, seed=0):
    return build_model(TINY, "none", head, 16, num_classes, seed).eval()


@pytest.mark.parametrize(
    ("head", "dim"),
    [
        ("bottleneck_wn", 16),
        ("linear", 256),
        ("linear_nobias", 256),
        ("mlp", 16),
        ("bottleneck_relu", 16),
        ("bottleneck", 16),
    ],
)
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


def test_making_a_model_leaves_the_generators_as_they_are(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    tiny()
    assert torch.equal(torch.get_rng_state(), before)
    assert not seeded  # each of several processes has a GPU, and dropout must differ on them


@pytest.mark.slow
def test_lite0_gives_the_original_files_logits():
    """The file's tensors have timm's names."""
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


@torch.no_grad()
@pytest.mark.slow
def test_vgg19_is_cut_behind_its_4096_wide_layer(tmp_path):
    """Linear and ReLU (and Dropout) of the last hidden layer stay, as in LEAD's VisDA baseline."""
    whole = torchvision.models.vgg19(weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "vgg19.pth")
    model = build_model("vgg19", str(tmp_path / "vgg19.pth"), "linear", 256, 3, crop_px=64).eval()
    x = torch.rand(1, 3, 64, 64)
    features = model(x)[0]
    assert features.shape == (1, 4096)
    expected = F.linear(features, whole.classifier[6].weight, whole.classifier[6].bias)
    torch.testing.assert_close(expected, whole((x - model.mean) / model.std), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TORCHVISION)
def test_widths_of_torchvision(name):
    with torch.device("meta"):
        model = build_model(name, "none", "linear", 256, 3)
    widths = {"resnet18": 512, "resnet34": 512, "vgg19": 4096}
    assert model.classifier.in_features == widths.get(name, 2048)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("test_convnext", 64),
        ("mobilenetv3_small_050", 1024),  # num_features says 288, which its head makes more of
        ("test_mambaout", 256),  # 64
    ],
)
def test_timm_models_are_theirs_without_the_classifier(name, width):
    """The width is what comes out; channels-last changes nothing."""
    model = build_model("timm:" + name, "none", "bottleneck_wn", 16, 4, crop_px=64).eval()
    assert model.bottleneck[0].in_features == width
    plain = timm.create_model(name, num_classes=7).eval()
    plain.load_state_dict(model.backbone.state_dict(), strict=False)
    x = torch.rand(2, 3, 64, 64)
    y = (x - model.mean) / model.std
    expected = plain.forward_head(plain.forward_features(y), pre_logits=True)
    for layout in (torch.contiguous_format, torch.channels_last):
        features = model.backbone(y.contiguous(memory_format=layout))
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("px", [224, 64])
def test_a_transformer_takes_other_sizes_than_its_own(px):
    """It keeps its grid of position embeddings, and interpolates it to the crop's."""
    model = build_model("timm:vit_tiny_patch16_224", "none", "linear", 16, 4, crop_px=px).eval()
    state = model.backbone.state_dict()
    assert state["pos_embed"].shape == (1, 197, 192)  # (224 / 16)², and the class token
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=px).eval()
    grid = (px // 16, px // 16)
    state["pos_embed"] = timm.layers.resample_abs_pos_embed(state["pos_embed"], grid)
    plain.load_state_dict(state)
    x = torch.rand(2, 3, px, px)
    for layout in (torch.contiguous_format, torch.channels_last):
        features = model(x.contiguous(memory_format=layout))[0]
        expected = plain((x - model.mean) / model.std)
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)


def test_a_transformer_trains_in_channels_last():
    model = build_model("timm:test_vit", "none", "bottleneck_wn", 16, 4, crop_px=48).train()
    images = torch.rand(3, 3, 48, 48).contiguous(memory_format=torch.channels_last)
    model(images)[1].square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "px", "words"),
    [
        ("timm:test_vit", 70, "should be divisible by patch size (16)); its own size is 160"),
        ("timm:vit_relpos_small_patch16_224", 64, "Input height (64) doesn't match model (224)"),
        ("timm:coatnet_pico_rw_224", 64, "its own size is 224: change images.crop_px"),
        ("vgg19", 16, "vgg19 does not take images of 16 px"),
    ],
)
def test_sizes_that_a_backbone_does_not_take_are_named(name, px, words):
    device = torch.device("meta" if name == "vgg19" else "cpu")  # no time for its weights
    with pytest.raises(ValueError, match=r"^model\.backbone: ") as caught, device:
        build_model(name, "none", "linear", 16, 4, crop_px=px)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_backbone_that_gives_no_features_is_named(monkeypatch):
    class Maps(torch.nn.Conv2d):
        pretrained_cfg = timm.create_model("test_resnet").pretrained_cfg

    monkeypatch.setattr(timm, "create_model", lambda *_, **__: Maps(3, 8, 3))
    with pytest.raises(ValueError, match=r"model\.backbone: timm:test_resnet gives \[2, 8, 158,"):
        build_model("timm:test_resnet", "none", "linear", 16, 4)


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "module", "safetensors"])
def test_timm_weights_from_a_local_file(tmp_path, wrapper):
    """Bare or wrapped, with a classifier that is passed over."""
    state = timm.create_model("test_vit", num_classes=9).state_dict()
    path = tmp_path / ("w.safetensors" if wrapper == "safetensors" else "w.pth")
    if wrapper == "safetensors":
        save_file(state, path)
    elif wrapper == "module":
        torch.save({"module." + key: value for key, value in state.items()}, path)
    else:
        torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    loaded = build_model("timm:test_vit", str(path), "linear", 16, 4).backbone.state_dict()
    assert state.keys() - loaded.keys() == {"head.weight", "head.bias"}
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_old_weights_without_batch_counts(tmp_path):
    """As torchvision's older files are."""
    state = torchvision.models.resnet18(weights=None).state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    loaded = build_model(
        "resnet18", str(tmp_path / "old.pth"), "linear", 16, 4
    ).backbone.state_dict()
    assert torch.equal(loaded["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])


def test_weights_that_do_not_fit_are_named(tmp_path):
    state = timm.create_model("test_vit", img_size=64).state_dict()
    path = tmp_path / "small.safetensors"
    save_file(state, path)
    words = r"model\.weights: .*small\.safetensors: .*: pos_embed has the shape \[1, 17, 64\]"
    with pytest.raises(ValueError, match=words):
        build_model("timm:test_vit", str(path), "linear", 16, 4)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="small.safetensors: not a readable safetensors file"):
        build_model("timm:test_vit", str(path), "linear", 16, 4)
    with pytest.raises(ValueError, match="none.safetensors: not a readable safetensors file"):
        build_model("timm:test_vit", str(tmp_path / "none.safetensors"), "linear", 16, 4)


@pytest.mark.parametrize("backbone", ["timm:test_vit", "resnet18"])
def test_weights_that_cannot_be_fetched_are_named(monkeypatch, backbone):
    def no_network(*_, **__):
        raise OSError("no connection.\nTry again.")

    monkeypatch.setattr(timm, "create_model", no_network)
    monkeypatch.setattr(torchvision.models, "get_model", no_network)
    words = f"^model.weights: no imagenet weights of {backbone}: no connection; name a local file"
    with pytest.raises(ValueError, match=words):
        build_model(backbone, "imagenet", "linear", 16, 4)


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [("imagenet", "IMAGENET1K_V1"), ("IMAGENET1K_V2", "IMAGENET1K_V2"), ("none", None)],
)
def test_torchvision_weights_go_by_their_names(monkeypatch, weights, wanted):
    asked, get_model = [], torchvision.models.get_model

    def without_network(name, weights):
        asked.append(weights)
        return get_model(name)

    monkeypatch.setattr(torchvision.models, "get_model", without_network)
    with torch.device("meta"):
        build_model("resnet50", weights, "linear", 16, 4)
    assert asked == [wanted]


def test_weights_without_that_name_are_named():
    with pytest.raises(ValueError, match="no weights of resnet18; use IMAGENET1K_V1, none or"):
        build_model("resnet18", "IMAGENET1K_V2", "linear", 16, 4)
    with pytest.raises(ValueError, match="'IMAGENET1K_V2' is a name of torchvision's"):
        build_model(TINY, "IMAGENET1K_V2", "linear", 16, 4)


def test_wrong_backbones_and_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="'resnet19' is not known; .*_64 or timm:NAME"):
        build_model("resnet19", "none", "linear", 256, 3)
    with pytest.raises(ValueError, match="timm has no model 'nothing'"):
        build_model("timm:nothing", "none", "linear", 256, 3)
    with pytest.raises(ValueError, match="model.backbone: .* cannot be made: .*tag"):
        build_model(TINY + ".nothing", "none", "linear", 256, 3)
    with pytest.raises(ValueError, match="no such checkpoint"):
        build_model(TINY, str(tmp_path / "none.pth"), "linear", 256, 3)
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth: not weights of this backbone: .* is missing"):
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


def spoilt(state, key, value=float("nan")):
    """Return weights of which two values of the tensor ``key`` are not finite."""
    state = {
        name: values.clone(memory_format=torch.contiguous_format) for name, values in state.items()
    }
    state[key].view(-1)[:2] = value
    return state


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_that_is_not_finite_names_file_and_tensor(tmp_path, value):
    state = spoilt(tiny(num_classes=4).state_dict(), "bottleneck.0.weight", value)
    torch.save({"model": state}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match=r"c\.pt: bottleneck\.0\.weight: 2 of .* not finite"):
        load_weights(tiny(num_classes=4), tmp_path / "c.pt")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_backbone_weights_that_are_not_finite_name_file_and_tensor(tmp_path, name):
    state = spoilt(timm.create_model("test_vit").state_dict(), "norm.bias")
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    with pytest.raises(ValueError, match=rf"model\.weights: .*{name}: norm\.bias: 2 of 64 values"):
        build_model("timm:test_vit", str(tmp_path / name), "linear", 16, 4)


def test_a_librarys_weights_that_are_not_finite_are_named(monkeypatch):
    def fetched(name, pretrained, **options):
        model = create_model(name, False, **options)
        model.load_state_dict(spoilt(model.state_dict(), "norm.bias"))
        return model

    create_model = timm.create_model
    monkeypatch.setattr(timm, "create_model", fetched)
    with pytest.raises(ValueError, match=r"weights: imagenet of timm:test_vit: norm\.bias"):
        build_model("timm:test_vit", "imagenet", "linear", 16, 4)


def test_the_packages_weights_that_are_not_finite_name_the_file(tmp_path, monkeypatch):
    state = read_checkpoint(efficientnet_lite0_file())
    state = spoilt(state, next(iter(state)))
    torch.save(state, tmp_path / "lite0.pth")
    monkeypatch.setattr(backbones, "efficientnet_lite0_file", lambda: tmp_path / "lite0.pth")
    with pytest.raises(ValueError, match=r"lite0\.pth: conv_stem\.weight: 2 of 864 values"):
        build_model("efficientnet_lite0", "imagenet", "linear", 0, 1)
