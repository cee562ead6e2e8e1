import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.tiny import CLASSES
from PIL import Image

from uda.cli.main import main
from uda.data.pixels import resize
from uda.inference.export import METADATA, metadata
from uda.inference.model import UNKNOWN, load


def prepared(path, about):
    """As the metadata describes it, by other means than the project's."""
    picture = Image.open(path).convert("RGB")
    for px in (about["decode_px"], about["px"]):
        picture = picture.resize((px, px), Image.Resampling.BILINEAR)
    return np.array(picture, dtype=np.float32).transpose(2, 0, 1)[None] / 255


def check_outputs(outputs, model, path):
    label, probability, entropy, probabilities, score = (np.asarray(value) for value in outputs)
    prediction = model(path)
    assert (*model.classes, UNKNOWN)[int(label[0])] == prediction.label
    assert probability[0] == pytest.approx(prediction.probability, abs=1e-4)
    assert entropy[0] == pytest.approx(prediction.entropy, abs=1e-4)
    assert score[0] == pytest.approx(prediction.unknown_score, abs=1e-4)
    assert probabilities.shape == (1, 3)


@pytest.mark.slow
def test_export_to_torch(lead, pictures, tmp_path, capsys):
    out, path = tmp_path / "model.pt2", pictures / "Dark" / "ring" / "03.png"
    assert main(["export", str(lead), "--format=torch", f"--out={out}"]) == 0
    said = "in float32: its answers differ from those of the model in float32 by at most"
    assert said in capsys.readouterr().out
    files = {METADATA: ""}
    program = torch.export.load(out, extra_files=files).module()
    about = json.loads(files[METADATA])
    assert about["classes"] == list(CLASSES[:3])
    assert about["threshold"] == 0.55
    model = load(lead)
    check_outputs(program(torch.from_numpy(prepared(path, about))), model, path)
    assert model(path) == load(lead)(path)  # exporting has left the model as it was
    assert len(program(torch.rand(5, 3, 32, 32))[0]) == 5


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_run_in_less_precision_is_exported_in_float32(
    lead, pictures, tmp_path, in_precision, precision
):
    lower = in_precision(lead, precision)
    out, path = tmp_path / "model.pt2", pictures / "Dark" / "ring" / "03.png"
    assert main(["export", str(lower), "--format=torch", f"--out={out}"]) == 0
    model = load(lead)
    outputs = torch.export.load(out).module()(torch.from_numpy(prepared(path, metadata(model))))
    check_outputs(outputs, model, path)


def test_metadata_say_how_pictures_are_prepared(lead, tmp_path):
    path = tmp_path / "large.png"
    values = np.random.default_rng(0).integers(0, 256, (200, 120, 3), np.uint8)
    Image.fromarray(values).resize((300, 400), Image.Resampling.BICUBIC).save(path)
    model = load(lead)
    images = replace(model.experiment.images, decode_px=80, resize_px=40)
    model = replace(model, experiment=replace(model.experiment, images=images))
    about = metadata(model)
    assert "80 x 80, then to 40 x 40" in about["input"]
    expected = resize(model.prepare(path)[None], 40).numpy() / 255
    # Rounded twice on both ways: by Pillow, and by Pillow and torch.
    np.testing.assert_allclose(prepared(path, about), expected, atol=1.01 / 255)


@pytest.mark.slow
def test_export_to_onnx(lead, pictures, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out, path = tmp_path / "model.onnx", pictures / "Dark" / "ring" / "03.png"
    assert main(["export", str(lead), f"--out={out}"]) == 0
    session = onnxruntime.InferenceSession(str(out))
    about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    assert [output.name for output in session.get_outputs()] == about["outputs"]
    outputs = session.run(None, {"images": prepared(path, about)})
    check_outputs(outputs, load(lead), path)


@pytest.mark.slow
def test_export_refuses_what_it_cannot_write(lead, tmp_path, capsys, monkeypatch):
    assert main(["export", str(lead), "--format=keras", f"--out={tmp_path / 'm'}"]) == 1
    assert "'keras' is not one of onnx, torch" in capsys.readouterr().err
    assert main(["export", str(lead), "--format=torch", f"--out={tmp_path / 'm.pt'}"]) == 1
    assert "must end in .pt2" in capsys.readouterr().err
    assert main(["export", str(lead), f"--out={tmp_path / 'm.pt'}"]) == 1
    assert "must end in .onnx: " in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", str(lead), f"--out={tmp_path / 'm.onnx'}"]) == 1
    assert "onnxruntime is not installed; in the project" in capsys.readouterr().err
    monkeypatch.setattr("uda.inference.export.TOLERANCE", -1.0)
    assert main(["export", str(lead), "--format=torch", f"--out={tmp_path / 'm.pt2'}"]) == 1
    assert "m.pt2: not written: its answers differ" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
