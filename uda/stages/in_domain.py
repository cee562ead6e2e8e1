"""Scores of in-domain classifiers, after every epoch and at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from uda.stages.build import Task

if TYPE_CHECKING:
    from uda.data.items import Item, Parts
    from uda.models.classifier import Classifier

FGSM_LEVELS = (1, 8)  # attacks of so many grey levels of 255


def epoch_scorer(
    task: Task, network: Classifier, parts: Parts
) -> Callable[[Classifier, int], float | None] | None:
    """Return what the training loop calls after each epoch; None without a part to score.

    It logs accuracies, and returns the accuracy on the validation part, which chooses the best
    epoch. ``network`` is the one whose `trained` part the loop trains.
    """
    if not parts.test:
        return None
    from uda.compute.distributed import is_main
    from uda.evaluation.evaluate import held_out_scores

    scored = {"evaluate": parts.test, "validate": parts.validation}
    images = {kind: task.crops(items) for kind, items in scored.items() if items}
    if network.frozen:
        images = {kind: task.features(network, crops) for kind, crops in images.items()}

    def after_epoch(model: Classifier, epoch: int) -> float | None:
        top1 = {}
        for kind, crops in images.items():
            scores = held_out_scores(scored[kind], task.split, task.bank(model, crops))
            top1[kind] = scores["top1"]
            if is_main():
                task.run.log(kind=kind, epoch=epoch, **scores)
        return top1.get("validate")

    return after_epoch


def final_scores(task: Task, model: Classifier, items: Sequence[Item]) -> dict[str, Any]:
    """Return all scores on held-out ``items``, in percent, on the same centre crops.

    They are those of `uda.evaluation.evaluate.held_out_scores` and, unless ``train.robustness`` is
    off: ``fgsm_error``, the error under attacks of 1 and 8 grey levels; ``corruptions``, the mean
    top-1 over the severities of each of `uda.evaluation.robustness.CORRUPTIONS`;
    ``corruption_acc``, their mean.
    """
    import torch

    from uda.evaluation.evaluate import held_out_labels, held_out_scores
    from uda.evaluation.robustness import CORRUPTIONS, SEVERITIES, corrupted, fgsm_error

    images = task.crops(items)
    labels = torch.from_numpy(held_out_labels(items, task.split))
    scores = held_out_scores(items, task.split, task.bank(model, images))
    if not task.experiment.train.robustness:
        return scores
    scores["fgsm_error"] = {
        f"{levels}/255": fgsm_error(model, images, labels, levels / 255, task.device)
        for levels in FGSM_LEVELS
    }
    accuracies: dict[str, float] = {}
    for name in CORRUPTIONS:
        right = 0
        for severity in SEVERITIES:
            corrupt = partial(corrupted, name=name, severity=severity)
            bank = task.bank(model, images, corrupt)
            right += int((bank.probabilities.argmax(dim=1).cpu() == labels).sum())
        accuracies[name] = 100 * right / (len(SEVERITIES) * len(images))
    scores["corruptions"] = accuracies
    scores["corruption_acc"] = sum(accuracies.values()) / len(accuracies)
    return scores


def class_accuracies(
    task: Task, model: Classifier, items: Sequence[Item]
) -> list[tuple[str, int, float]]:
    """Return (class, images, top-1 accuracy in percent) of each class; NaN without images."""
    from uda.evaluation.evaluate import class_table
    from uda.methods.unknown import Prediction

    best = task.bank(model, task.crops(items)).probabilities.max(dim=1)
    return class_table(items, task.split, Prediction(best.indices, 1 - best.values))


def log_final(task: Task, model: Classifier, parts: Parts) -> None:
    """Log `final_scores` on the test part, for the last epoch and for validation's choice.

    ``model`` is left with the weights of the run's result.
    """
    if not parts.test:
        return
    from uda.compute.distributed import is_main
    from uda.models.classifier import load_weights
    from uda.runs.checkpoints import read_checkpoint

    ends = {"last": task.run.checkpoint, "best": task.run.best_checkpoint}
    epochs = {name: read_checkpoint(path)["epoch"] for name, path in ends.items() if path.is_file()}
    if epochs.get("best") == epochs["last"]:
        del epochs["last"]  # the same weights
    for name, epoch in epochs.items():
        load_weights(model, ends[name], task.split.source_classes)
        scores = final_scores(task, model, parts.test)
        if is_main():
            task.run.log(kind="final", epoch=epoch, checkpoint=name, **scores)


def score_line(scores: dict[str, Any]) -> str:
    """Return scores on held-out images in words."""
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
