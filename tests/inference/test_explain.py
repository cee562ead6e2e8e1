import pytest
import torch
from helpers.tiny import arguments, make_dataset
from PIL import Image
from torch import nn

pytest.importorskip("pytorch_grad_cam")

from uda.cli.main import main
from uda.inference.explain import heat_maps, last_spatial_layer
from uda.models.classifier import Classifier, build_model
from uda.runs.folder import find_runs


class OneConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return torch.relu(self.conv(x)).mean(dim=(2, 3))


def test_the_map_is_the_formula_on_one_convolution():
    """Positions are averaged, so the gradient is w / (h w): relu of the channels' weighted sum."""
    torch.manual_seed(0)
    body, head = OneConvolution(), nn.Linear(4, 3)
    model = Classifier(body, nn.Identity(), head, (0.0,) * 3, (1.0,) * 3).eval()
    views = torch.rand(5, 3, 6, 7)
    heats, labels = heat_maps(model, views)
    with torch.no_grad():
        channels = body.conv(views)
        for heat, channel, label in zip(heats, channels, labels, strict=True):
            slopes = head.weight[label][:, None, None] * (channel > 0)
            weights = slopes.mean(dim=(1, 2))
            expected = (weights[:, None, None] * channel).sum(dim=0).clamp(min=0)
            expected = (expected - expected.min()) / (expected.max() - expected.min() + 1e-7)
            torch.testing.assert_close(torch.from_numpy(heat), expected, atol=2e-2, rtol=0)


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "timm:test_efficientnet"])
def test_the_last_spatial_layer_has_the_features_channels(name):
    model = build_model(name, "none", "linear", 0, 3).eval()
    shapes = []
    hook = last_spatial_layer(model, torch.rand(1, 3, 64, 64)).register_forward_hook(
        lambda layer, inputs, output: shapes.append(output.shape)
    )
    model(torch.rand(1, 3, 64, 64))
    hook.remove()
    assert shapes[0][1] == model.classifier.in_features
    assert min(shapes[0][2:]) > 1


def test_a_network_without_spatial_layers_is_an_error():
    model = build_model("resnet18", "none", "linear", 0, 3).eval()
    model.backbone = nn.Flatten()
    with pytest.raises(ValueError, match="Flatten: no layer has places left of pictures of 8 px"):
        last_spatial_layer(model.eval(), torch.rand(1, 3, 8, 8))


@pytest.mark.slow
def test_a_sheet_of_two_runs(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "tiny", px=40)
    sizes = ["--images.decode_px=40", "--images.resize_px=64", "--images.crop_px=64"]
    flags = arguments(dataset, tmp_path / "runs", "--data.scenario=", *sizes)
    for seed in (0, 1):
        assert main(["train", *flags, f"--seed={seed}"]) == 0
    folders = [str(run.folder) for run in find_runs(tmp_path / "runs")]
    pictures = str(tmp_path / "tiny" / "pictures" / "Plain" / "*" / "00.png")
    out = tmp_path / "sheet.png"
    capsys.readouterr()
    assert main(["explain", *folders, "--images", pictures, "--out", str(out)]) == 0
    again = tmp_path / "again.png"
    assert main(["explain", *folders, pictures, "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()
    printed = capsys.readouterr().out
    assert "Pl indomain none s0:" in printed
    assert "Pl indomain none s1:" in printed
    with Image.open(out) as sheet:
        assert sheet.width > 3 * 160
        assert sheet.height > 5 * 160
    assert main(["explain", *folders, "--images", pictures, "--out", "sheet.jpg"]) == 1
    assert "must end in .png" in capsys.readouterr().err
