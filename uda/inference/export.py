"""Export of a model to a file for other programs, with preprocessing, class names and threshold.

The exported graph takes ``images`` float32 [N, 3, S, S] in [0, 1], RGB: whole images resized to a
square (bilinear, antialiased; first to D x D, the size that they were decoded to in training, which
moves entropies by up to 0.01). It crops and normalises them, averages over the run's views, and
returns ``label`` int64 [N] in 0..K, where K is unknown, ``probability`` [N] of the most probable
class, ``entropy`` [N] over log K, ``probabilities`` [N, K], and ``unknown_score`` [N], which is
compared with the threshold. JSON in the file's metadata explains them.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uda.data.views import fixed_views
from uda.evaluation.answering import unknown_scores
from uda.inference.model import UNKNOWN, TrainedModel
from uda.methods.base import Bank
from uda.methods.unknown import normalised_entropy, predict_above
from uda.models.classifier import Classifier, CosineClassifier
from uda.runs.files import atomic_path
from uda.runs.version import code_version

Predict = Callable[[Tensor], Sequence[np.ndarray]]  # images [N, 3, S, S] -> `OUTPUTS`
FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
OUTPUTS = ("label", "probability", "entropy", "probabilities", "unknown_score")
METADATA = "uda.json"  # the file in a .pt2, and the key in ONNX's metadata_props
# Largest permitted difference of a probability between the exported file and PyTorch.
TOLERANCE = 1e-4


class Exported(nn.Module):
    """The network that is exported: views, classifier, score and threshold."""

    rows: Tensor

    def __init__(self, model: Classifier, of: TrainedModel) -> None:
        super().__init__()
        sizes, answer = of.experiment.images, of.experiment.answer
        self.model = model
        self.crop_px = sizes.crop_px
        self.views = fixed_views(sizes.resize_px, sizes.resize_px, sizes.crop_px, answer.views)
        self.score = answer.score
        self.method = copy.copy(of.method)
        self.method.classifier = model.classifier  # which has no weight normalisation any more
        self.heads = of.method.heads  # which move with this module, and are exported
        self.threshold = math.inf if of.threshold is None else of.threshold
        # Computed here: the exported classifier has no weight normalisation.
        self.register_buffer("rows", F.normalize(model.classifier.weight.detach(), dim=1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        views = [self._view(images, *view) for view in self.views]
        features = views[0][0]  # of the centre
        probabilities = torch.stack([p for _, p, _ in views]).mean(dim=0)
        cosines = torch.stack([c for *_, c in views]).mean(dim=0)
        bank = Bank(features, probabilities, self.rows)
        score = unknown_scores(self.score, self.method, bank, cosines)
        label = predict_above(score, probabilities, self.threshold).label
        entropy = normalised_entropy(probabilities)
        return label, probabilities.amax(dim=1), entropy, probabilities, score

    def _view(
        self, images: Tensor, top: int, left: int, mirror: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return features [N, D], probabilities [N, K] and cosines [N, K] of a view."""
        view = images[..., top : top + self.crop_px, left : left + self.crop_px]
        features, logits = self.model(view.flip(-1) if mirror else view)
        return features, logits.softmax(dim=1), F.normalize(features, dim=1) @ self.rows.T


def metadata(model: TrainedModel) -> dict[str, Any]:
    """Describe the exported graph's inputs and outputs in values for JSON."""
    decode_px, px = model.experiment.images.decode_px, model.experiment.images.resize_px
    return {
        "classes": list(model.classes),
        UNKNOWN: len(model.classes),
        "threshold": model.threshold,
        "views": model.experiment.answer.views,
        "score": model.experiment.answer.score,
        "input": f"images: float32 [N, 3, {px}, {px}], RGB in [0, 1]: the whole picture resized to "
        f"{decode_px} x {decode_px}, then to {px} x {px} (bilinear, antialiased, aspect ratio not "
        "kept), values divided by 255",
        "outputs": list(OUTPUTS),
        "decode_px": decode_px,
        "px": px,
        "run": model.run.hash,
        "version": code_version(),
    }


def export(model: TrainedModel, kind: str, out: Path) -> float:
    """Write ``model`` in float32 to a file, and compare the file's results with the model's.

    Args:
        kind: ``onnx``, or ``torch`` for `torch.export`.
        out: The file to write: .onnx or .pt2.

    Returns:
        The largest difference of a probability, entropy or score between the file, read again, and
        the model in float32, on random images in batches of several sizes.

    Raises:
        ValueError: The format or suffix is wrong, a package is missing, the run answers by two
            networks, the difference exceeds `TOLERANCE`, or a label differs. Nothing is written
            then.
    """
    if kind not in FORMATS:
        raise ValueError(f"--format: {kind!r} is not one of {', '.join(FORMATS)}")
    if out.suffix != (suffix := FORMATS[kind]):
        other = "; --format torch writes a .pt2" if kind == "onnx" else ""
        raise ValueError(f"--out: the name of a file of {kind} must end in {suffix}: {out}{other}")
    if model.opinion:
        raise ValueError(
            "answer.labels: co-learn asks a second network, which is not exported; export the run "
            "that answers without it"
        )
    network, reference = _exportable(model), _reference(model)
    px = model.experiment.images.resize_px
    about = json.dumps(metadata(model), ensure_ascii=False)
    write = _write_onnx if kind == "onnx" else _write_torch
    with atomic_path(out) as temporary:
        predict = write(network, px, about, temporary)
        difference = _difference(reference, predict, px)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{out}: not written: its answers differ from those of the model in float32 by "
                f"{difference:.2g}"
            )
    return difference


def _exportable(model: TrainedModel) -> Exported:
    """Copy the model to the CPU in the default layout, without weight normalisation."""
    plain = copy.deepcopy(model.model).to("cpu")
    plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    head = plain.classifier
    if not isinstance(head, CosineClassifier):
        # Not remove_parametrizations: it changes the class, which the copy shares with the model.
        plain.classifier = nn.Linear(head.in_features, head.out_features)
        plain.classifier.load_state_dict({"weight": head.weight.detach(), "bias": head.bias})
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            # Training may use a variant that overwrites its input, which exporters do not know.
            if isinstance(child, nn.ReLU6) or type(child).__name__ == "OverwritingReLU6":
                setattr(parent, name, nn.ReLU6())
    return Exported(plain, model).eval().requires_grad_(False)


def _reference(model: TrainedModel) -> Exported:
    """Copy the model to the CPU without changes for the export, to compare with."""
    plain = copy.deepcopy(model.model).to("cpu")
    return Exported(plain, model).eval()


def _difference(reference: Exported, predict: Predict, px: int) -> float:
    """Return the largest difference of a probability, entropy or unknown score.

    It is infinite if a label differs of an image whose unknown score is not at the threshold.
    """
    generator = torch.Generator().manual_seed(0)
    differences = []
    for count in (1, 3):
        images = torch.rand(count, 3, px, px, generator=generator)
        with torch.no_grad():
            expected = [output.numpy() for output in reference(images)]
        actual = dict(zip(OUTPUTS, predict(images), strict=True))
        wanted = dict(zip(OUTPUTS, expected, strict=True))
        names = OUTPUTS[1:]
        differences += [float(np.abs(actual[name] - wanted[name]).max()) for name in names]
        near = np.abs(wanted["unknown_score"] - reference.threshold) <= TOLERANCE
        if (actual["label"] != wanted["label"])[~near].any():
            return math.inf
    return max(differences)


def _program(network: Exported, px: int) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    # Two images, since torch treats a size of 1 as a constant.
    with torch.no_grad():
        return torch.export.export(
            network, (torch.zeros(2, 3, px, px),), dynamic_shapes={"images": {0: batch}}
        )


def _write_torch(network: Exported, px: int, about: str, out: Path) -> Predict:
    data = io.BytesIO()  # where the disk is full, torch's writer of files prints its stack
    torch.export.save(_program(network, px), data, extra_files={METADATA: about})
    out.write_bytes(data.getbuffer())
    # torch checks the file's suffix; the temporary file has it, too.
    program = torch.export.load(out).module()
    return lambda images: [output.detach().numpy() for output in program(images)]


def _write_onnx(network: Exported, px: int, about: str, out: Path) -> Predict:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401, torch needs it
    except ImportError as error:
        raise ValueError(
            f"--format onnx: {error.name} is not installed; in the project's folder: "
            "pip install -e '.[onnx]'"
        ) from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    program = torch.onnx.export(
        _program(network, px),
        input_names=["images"],
        output_names=list(OUTPUTS),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {METADATA: about})
    onnx.save(proto, str(out))
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    return lambda images: session.run(list(OUTPUTS), {"images": images.numpy()})
