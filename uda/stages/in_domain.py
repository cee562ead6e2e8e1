"""In-domain classifiers: their pictures, and their scores in every epoch and at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from uda.config import Experiment
from uda.data.scenarios import ClassSplit
from uda.runs.folder import Run

if TYPE_CHECKING:
    import torch

    from uda.data.items import Item, Parts
    from uda.models.classifier import Classifier

# Attacks of so many grey levels of 255.
FGSM_LEVELS = (1, 8)


def epoch_scores(
    experiment: Experiment,
    parts: Parts,
    split: ClassSplit,
    run: Run,
    device: torch.device,
) -> Callable[[Classifier, int], float | None] | None:
    """What `uda.training.train` calls after each pass: logs accuracies, and gives the one on the
    validation
    part, by which the best pass is chosen; None where there is nothing to score."""
    if not parts.test:
        return None
    from uda.compute.distributed import is_main
    from uda.evaluation.evaluate import held_out_scores
    from uda.training.bank import forward_all

    sizes, compute = experiment.images, experiment.compute
    scored = {"evaluate": parts.test, "validate": parts.validation}
    images = {kind: resized(experiment, items) for kind, items in scored.items() if items}

    def after_epoch(model: Classifier, epoch: int) -> float | None:
        top1 = {}
        for kind, own in images.items():
            bank = forward_all(model, own, sizes.crop_px, device, compute)
            scores = held_out_scores(scored[kind], split, bank)
            top1[kind] = scores["top1"]
            if is_main():
                run.log(kind=kind, epoch=epoch, **scores)
        return top1.get("validate")

    return after_epoch


def final_scores(
    experiment: Experiment,
    model: Classifier,
    items: Sequence[Item],
    split: ClassSplit,
    device: torch.device,
) -> dict[str, Any]:
    """What `uda.evaluation.evaluate.held_out_scores` gives, and in percent: ``fgsm_error``, the
    error under attacks of 1 and 8 grey levels; ``corruptions``, for each of
    `uda.evaluation.robustness.CORRUPTIONS` the mean top-1 of its severities; ``corruption_acc``,
    the mean of all. All on the same centre crops. The latter ones not where ``train.robustness`` is
    off.
    """
    import torch

    from uda.data.views import centre_crop
    from uda.evaluation.evaluate import held_out_labels, held_out_scores
    from uda.evaluation.robustness import CORRUPTIONS, SEVERITIES, corrupted, fgsm_error
    from uda.training.bank import forward_all

    px, compute = experiment.images.crop_px, experiment.compute
    images = centre_crop(resized(experiment, items), px)
    labels = torch.from_numpy(held_out_labels(items, split))
    scores = held_out_scores(items, split, forward_all(model, images, px, device, compute))
    if not experiment.train.robustness:
        return scores
    scores["fgsm_error"] = {
        f"{levels}/255": fgsm_error(model, images, labels, levels / 255, device)
        for levels in FGSM_LEVELS
    }
    accuracies: dict[str, float] = {}
    for name in CORRUPTIONS:
        right = 0
        for severity in SEVERITIES:
            other = partial(corrupted, name=name, severity=severity)
            bank = forward_all(model, images, px, device, compute, other)
            right += int((bank.probabilities.argmax(dim=1).cpu() == labels).sum())
        accuracies[name] = 100 * right / (len(SEVERITIES) * len(images))
    scores["corruptions"] = accuracies
    scores["corruption_acc"] = sum(accuracies.values()) / len(accuracies)
    return scores


def held_out_classes(
    experiment: Experiment,
    model: Classifier,
    items: Sequence[Item],
    split: ClassSplit,
    device: torch.device,
) -> list[tuple[str, int, float]]:
    """(class, images, top-1 accuracy in percent) of each class; NaN for one with no image."""
    from uda.evaluation.evaluate import class_table
    from uda.methods.unknown import Prediction
    from uda.training.bank import forward_all

    images, px = resized(experiment, items), experiment.images.crop_px
    best = forward_all(model, images, px, device, experiment.compute).probabilities.max(dim=1)
    return class_table(items, split, Prediction(best.indices, 1 - best.values))


def log_final(
    experiment: Experiment,
    model: Classifier,
    parts: Parts,
    split: ClassSplit,
    run: Run,
    device: torch.device,
) -> None:
    """Log `final_scores` on the test part, of the last pass and of the one that validation chose;
    ``model`` is left with the weights of the run's result."""
    if not parts.test:
        return
    from uda.compute.distributed import is_main
    from uda.models.classifier import load_weights
    from uda.runs.checkpoints import read_checkpoint

    ends = {"last": run.checkpoint, "best": run.best_checkpoint}
    epochs = {name: read_checkpoint(p)["epoch"] for name, p in ends.items() if p.is_file()}
    if epochs.get("best") == epochs["last"]:
        del epochs["last"]  # the same weights
    for name, epoch in epochs.items():
        load_weights(model, ends[name])
        scores = final_scores(experiment, model, parts.test, split, device)
        if is_main():
            run.log(kind="final", epoch=epoch, checkpoint=name, **scores)


def resized(experiment: Experiment, items: Sequence[Item]) -> torch.Tensor:
    """The pictures uint8 [N, 3, resize_px, resize_px]."""
    from uda.data.pixels import decode_all, resize_all

    sizes, compute = experiment.images, experiment.compute
    memory = compute.image_memory_gb, compute.cache
    return resize_all(decode_all(items, sizes.decode_px, *memory)[0], sizes.resize_px, *memory)


def score_line(scores: dict[str, Any]) -> str:
    """Scores on held-out pictures in words."""
    text = (
        f"{scores['num_images']} held-out images: top-1 {scores['top1']:.1f}, "
        f"top-5 {scores['top5']:.1f}"
    )
    if scores.get("checkpoint") == "best":
        text += f" (epoch {scores['epoch']}, chosen by validation)"
    if "ece" in scores:
        text += f", calibration error {scores['ece']:.1f}"
    if "fgsm_error" in scores:
        errors = " ".join(f"{error:.1f} at {e}" for e, error in scores["fgsm_error"].items())
        text += f", FGSM error {errors}, under corruptions {scores['corruption_acc']:.1f}"
    return text
