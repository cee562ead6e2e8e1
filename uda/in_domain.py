"""In-domain classifiers: their pictures, and their scores in every epoch and at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda.config import DatasetSpec, Experiment
from uda.runs import Run
from uda.splits import ClassSplit

if TYPE_CHECKING:
    import torch

    from uda.datasets import Item, Parts
    from uda.model import Classifier


def in_domain_parts(experiment: Experiment, spec: DatasetSpec) -> Parts:
    """Pictures to train on, to choose the best epoch on and to test on, by ``experiment.data``.

    The test part, and then the validation part, are cut off first, whatever the seed; of what
    remains ``images_per_class`` takes a few. ValueError where the dataset or a setting is at fault.
    """
    from uda.datasets import Parts, domain_items, few_of_each, holdout_split

    data = experiment.data
    if spec.reader:
        parts = _read(spec, data.source)
    else:
        whole, test = holdout_split(domain_items(spec, data.source), data.holdout)
        parts = Parts(spec.classes, whole, [], test)
    train, validation = parts.train, parts.validation
    if not data.validation:
        train, validation = [*train, *validation], []
    elif not validation:
        train, validation = holdout_split(train, data.validation, "data.validation", "validation ")
    if data.images_per_class:
        train = few_of_each(train, data.images_per_class, experiment.seed)
    return Parts(parts.classes, train, validation, parts.test)


def _read(spec: DatasetSpec, domain: str) -> Parts:
    from uda.readers import READERS

    if spec.reader not in READERS:
        raise ValueError(f"{spec.name}: reader: {spec.reader!r} is not one of {', '.join(READERS)}")
    if domain not in spec.domains:
        raise ValueError(f"{spec.title} has no domain {domain!r}; it has {', '.join(spec.domains)}")
    parts = READERS[spec.reader](spec.root / spec.domains[domain])
    for name, items in (("training", parts.train), ("test", parts.test)):
        if not items:
            raise ValueError(f"{spec.root / spec.domains[domain]}: holds no {name} pictures")
    return parts


def epoch_scores(
    experiment: Experiment,
    parts: Parts,
    split: ClassSplit,
    run: Run,
    device: torch.device,
) -> Callable[[Classifier, int], float | None] | None:
    """What `uda.train` calls after each pass: logs accuracies, and gives the one on the validation
    part, by which the best pass is chosen; None where there is nothing to score."""
    if not parts.test:
        return None
    from uda.adapt import forward_all
    from uda.evaluate import held_out_scores
    from uda.processes import is_main

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


def resized(experiment: Experiment, items: Sequence[Item]) -> torch.Tensor:
    """The pictures uint8 [N, 3, resize_px, resize_px]."""
    from uda.datasets import decode_all, resize_all

    sizes, compute = experiment.images, experiment.compute
    memory = compute.image_memory_gb, compute.cache
    return resize_all(decode_all(items, sizes.decode_px, *memory)[0], sizes.resize_px, *memory)


def chosen_checkpoint(run: Run) -> Path:
    """The weights that are the run's result: of the best pass on the validation part, where there
    is one, else of the last pass."""
    best = run.folder / "best.pt"
    return best if best.is_file() else run.folder / "checkpoint.pt"


def score_line(scores: dict[str, Any]) -> str:
    """Scores on held-out pictures in words."""
    return (
        f"{scores['num_images']} held-out images: top-1 {scores['top1']:.1f}, "
        f"top-5 {scores['top5']:.1f}"
    )
