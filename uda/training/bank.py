"""The bank of a whole target: computed, written and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.compute.distributed import gather_rows, span_of
from uda.compute.passes import Pass, eval_pass
from uda.config import DEFAULT_COMPUTE, ComputeConfig
from uda.data.views import centre_crop, fixed_views, to_float
from uda.methods.base import Bank
from uda.models.classifier import Classifier
from uda.runs.folder import Run

EVAL_BATCH = 128
OVERFLOW = (
    "features are not finite, although its weights are: these are too large for the "
    "precision; train it anew, at a lower --train.rate"
)


@torch.no_grad()
def forward_all(
    model: Classifier,
    images: Tensor,
    crop_px: int,
    device: torch.device,
    compute: ComputeConfig = DEFAULT_COMPUTE,
    transform: Callable[[Tensor], Tensor] | None = None,
    blame: str = OVERFLOW,
    network: Pass | None = None,
) -> Bank:
    """Return the `Bank` of ``images`` uint8 [N, 3, H, W]: centre crops, network in eval mode.

    ``transform`` changes each batch of crops, uint8. ``network`` is the model's `eval_pass`, where
    one is at hand. Of several ranks each computes a span of whole batches, and all of them get the
    whole bank, the same as a single process would. Raises ValueError of the words ``blame`` where a
    feature or a probability is not finite.
    """
    model.eval()
    network = network or eval_pass(model, len(images) * crop_px**2, crop_px, device, compute)
    features, probabilities = [], []
    batches = centre_crop(images, crop_px).split(EVAL_BATCH)
    first, last = span_of(len(batches))
    for batch in batches[first:last]:
        batch = transform(batch.to(device)) if transform else batch
        f, logits = network(to_float(batch, device, compute.channels_last))
        features.append(f)
        probabilities.append(logits.softmax(dim=1))
    head, start = model.classifier, first * EVAL_BATCH
    bank = Bank(
        gather_rows(features, start, (len(images), head.in_features), device),
        gather_rows(probabilities, start, (len(images), head.out_features), device),
        head.weight.detach().clone(),
    )
    if not (bank.features.isfinite().all() and bank.probabilities.isfinite().all()):
        raise ValueError(blame)
    return bank


def view_banks(
    model: Classifier,
    images: Tensor,
    crop_px: int,
    count: int,
    device: torch.device,
    compute: ComputeConfig = DEFAULT_COMPUTE,
    network: Pass | None = None,
) -> Iterator[Bank]:
    """Yield the `Bank` of each of ``count`` views of the images, the centre first: `fixed_views`.

    Args:
        model: The network.
        images: uint8 [N, 3, H, W].
        crop_px: Side of a view.
        count: 1, 2 or 6.
        device: Where it is computed.
        compute: Precision and layout.
        network: The model's `eval_pass`, if there is one already.
    """
    model.eval()
    pixels = count * len(images) * crop_px**2
    network = network or eval_pass(model, pixels, crop_px, device, compute)
    for top, left, mirror in fixed_views(images.shape[-2], images.shape[-1], crop_px, count):
        view = images[..., top : top + crop_px, left : left + crop_px]
        transform = _mirrored if mirror else None
        yield forward_all(model, view, crop_px, device, compute, transform, network=network)


def average(banks: Iterator[Bank]) -> tuple[Bank, Tensor]:
    """Return what the views' ``banks`` say together.

    Returns:
        The first bank, of the centre crops, with probabilities averaged over the views; and the
        cosines [N, K] of features to the classifier's rows, averaged over the views.
    """
    count, centre = 1, next(banks)
    probabilities, cosines = centre.probabilities, row_cosines(centre)
    for bank in banks:
        probabilities = probabilities + bank.probabilities
        cosines += row_cosines(bank)
        count += 1
    return replace(centre, probabilities=probabilities / count), cosines / count


def row_cosines(bank: Bank) -> Tensor:
    """Return the cosines [N, K] of features to the classifier's rows."""
    return F.normalize(bank.features, dim=1) @ F.normalize(bank.class_weights, dim=1).T


def _mirrored(crops: Tensor) -> Tensor:
    return crops.flip(-1)


def save_bank(run: Run, bank: Bank, epoch: int) -> None:
    """Write an epoch's features and probabilities in float16, and class weights in float32.

    Whatever needs no labels can be computed from them afterwards. Features beyond float16's range
    are written in float32.
    """
    features = bank.features.half()
    arrays = {
        "features": (features if features.isfinite().all() else bank.features).cpu().numpy(),
        "probabilities": bank.probabilities.half().cpu().numpy(),
        "class_weights": bank.class_weights.cpu().numpy(),
    }
    run.save_bank(epoch, arrays)


def read_bank(run: Run, epoch: int) -> Bank:
    """Return the `Bank` of an epoch (0: the source model's) in float32, as `save_bank` rounded it.

    Raises ValueError naming the run that has not kept it.
    """
    return Bank(*_read(run, epoch, "features", "probabilities", "class_weights"))


def read_probabilities(run: Run, epoch: int) -> Tensor:
    """Return the probabilities [N, K] of `read_bank`, without reading the features."""
    return _read(run, epoch, "probabilities")[0]


def _read(run: Run, epoch: int, *names: str) -> list[Tensor]:
    arrays = dict(zip(names, run.bank(epoch, names), strict=True))
    probabilities = arrays["probabilities"]
    if not (probabilities.min() >= 0 and probabilities.max() <= 1):
        raise ValueError(
            f"{run.folder}: what its bank of epoch {epoch} has for probabilities is not in 0 to 1; "
            "adapt again"
        )
    return [torch.from_numpy(array).float() for array in arrays.values()]
