"""Passes without gradients: by ONNX Runtime on a CPU, in a half to a third of torch's time.

Torch computes them where ONNX Runtime is not installed, cannot take the network, or differs.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from uda.compute.devices import forward
from uda.config import ComputeConfig

Pass = Callable[[Tensor], tuple[Tensor, Tensor]]

FEWEST_PIXELS = 2**21  # 512 images of 64 px: for fewer the export costs more than it saves
TOLERANCE = 1e-4  # of the features and logits, where these are at most 1; else relative
CHECKED = 4  # images by which the two are compared


def eval_pass(
    model: nn.Module, pixels: int, px: int, device: torch.device, compute: ComputeConfig
) -> Pass:
    """Return `uda.compute.devices.forward` of ``model``, as its weights are now.

    Args:
        model: In eval mode; takes float32 [B, 3, px, px] and gives features and logits.
        pixels: How many are to pass, over all images: whether an export is worth its time.
        px: Side of the images.
        device: Where the model is.
        compute: Precision; `compute.onnx` false always takes torch.
    """
    if (
        compute.onnx
        and pixels >= FEWEST_PIXELS
        and device.type == "cpu"
        and compute.precision == "float32"
        and not compute.compile
        and (exported := _exported(model, px))
    ):
        return exported
    return lambda images: forward(model, images, compute)


@torch.no_grad()
def _exported(model: nn.Module, px: int) -> Pass | None:
    """Return the pass through ONNX Runtime; None where that cannot be."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait for work in a loop take it from other runs on the same cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            _onnx_graph(model, px), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # of many types: each exporter and runtime has its own
        return None

    def exported(images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = session.run(None, {"images": images.contiguous().numpy()})
        return torch.from_numpy(features), torch.from_numpy(logits)

    images = torch.rand(CHECKED, 3, px, px, generator=torch.Generator().manual_seed(0))
    pairs = zip(exported(images), model(images), strict=True)
    return exported if all(_close(ours, theirs) for ours, theirs in pairs) else None


def _onnx_graph(model: nn.Module, px: int) -> bytes:
    """Return ``model`` as ONNX.

    Through TorchScript, which takes a tenth of the time of torch's newer exporter: weights change
    every epoch, and so does the graph.
    """
    graph = io.BytesIO()
    with warnings.catch_warnings(), _nothing_printed():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, px, px),),
            graph,  # type: ignore[arg-type]  # the exporter through TorchScript takes it
            dynamo=False,
            input_names=["images"],
            output_names=["features", "logits"],
            dynamic_axes={name: {0: "count"} for name in ("images", "features", "logits")},
        )
    return graph.getvalue()


@contextmanager
def _nothing_printed() -> Iterator[None]:
    """Close the standard output: of what it cannot export, torch's C++ prints the whole graph."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _close(ours: Tensor, theirs: Tensor) -> bool:
    largest = max(1.0, float(theirs.abs().max()))
    return bool((ours - theirs).abs().max() <= TOLERANCE * largest)
