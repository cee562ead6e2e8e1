"""The target stage: adapts a source model and scores it after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda.config import Experiment
from uda.data.partition import target_items
from uda.data.scenarios import ClassSplit, class_split
from uda.data.spec import DatasetSpec, load_dataset_spec
from uda.evaluation.metrics import SCORES
from uda.runs.folder import Run
from uda.stages.build import check_dimensions, device_of, locked, model_of
from uda.stages.console import say
from uda.stages.identity import adapt_run, source_run
from uda.stages.options import method_of

if TYPE_CHECKING:
    from uda.data.items import Item
    from uda.methods.base import Bank, Method
    from uda.methods.unknown import Prediction


def adapt(experiment: Experiment) -> None:
    """Adapt a source model to the target, and score it after every epoch."""
    from uda.compute.distributed import join

    join(experiment.device)
    data = experiment.data
    if not data.target:
        raise ValueError("data.target: name the domain to adapt to")
    spec = load_dataset_spec(data.dataset, data.root)
    split = class_split(spec, data.scenario)
    items = target_items(experiment, spec, split)
    checkpoint = _source_checkpoint(experiment, spec)
    run = adapt_run(experiment, spec)
    if run.is_done:
        say(f"Already adapted: {run.folder}")
    else:
        with locked(run):
            _adapt(experiment, split, items, checkpoint, run)
    say(
        f"{data.source} → {data.target}, {data.scenario}, {experiment.adapt.method}, "
        f"augmentation {experiment.augment.name}, seed {experiment.seed}: "
        f"{target_score_line(run.evaluations())}\n{run.folder}"
    )


def _adapt(
    experiment: Experiment, split: ClassSplit, items: list[Item], checkpoint: Path, run: Run
) -> None:
    from uda.compute.distributed import is_main, wait
    from uda.data.pixels import unlabelled
    from uda.models.classifier import load_weights
    from uda.training.adapt import adapt as adapt_loop

    data = experiment.data
    device = device_of(experiment)
    model = model_of(experiment, len(split.source_classes), pretrained=False)
    check_dimensions(experiment, split, model.classifier.in_features)
    load_weights(model, checkpoint)
    method = method_of(experiment)
    view, items = unlabelled(
        items,
        experiment.images.decode_px,
        experiment.compute.image_memory_gb,
        experiment.compute.cache,
    )
    adapt_loop(
        model,
        view,
        method,
        experiment.images,
        experiment.adapt,
        experiment.seed,
        run,
        device,
        title=f"{experiment.adapt.method} {data.source} → {data.target}",
        after_epoch=_target_evaluation(items, split, data.scenario, method, run),
        compute=experiment.compute,
    )
    if is_main():
        run.save_classes(split.source_classes)
        run.save_experiment(experiment)
        run.evaluations()  # a run that has lost its scores is not done
        run.mark_done()
    wait()


def _source_checkpoint(experiment: Experiment, spec: DatasetSpec) -> Path:
    if experiment.adapt.checkpoint:
        return Path(experiment.adapt.checkpoint)
    run = source_run(experiment, spec)
    if not run.is_done:
        raise ValueError(
            f"{run.folder}: no trained source model there; run `uda train` with the same options "
            "first, or name one with --adapt.checkpoint"
        )
    return run.checkpoint


def _target_evaluation(
    items: Sequence[Item], split: ClassSplit, scenario: str, method: Method, run: Run
) -> Callable[[int, Bank], str]:
    """Return what `uda.training.adapt` calls after each epoch, to score by the target's labels."""
    from uda.evaluation.evaluate import target_scores

    def after_epoch(epoch: int, bank: Bank) -> str:
        prediction = method.predict(bank)
        scores = target_scores(items, split, scenario, prediction, bank)
        run.log(kind="evaluate", epoch=epoch, **scores)
        _save_predictions(run, items, split, prediction)
        value = scores.get("h_score", scores.get("accuracy"))
        return "" if value is None else f"{'Acc' if scenario == 'pda' else 'H'}={value:.1f}"

    return after_epoch


def _save_predictions(
    run: Run, items: Sequence[Item], split: ClassSplit, prediction: Prediction
) -> None:

    from uda.evaluation.evaluate import described

    run.save_predictions(described(items, split, prediction))


def target_score_line(lines: Sequence[dict[str, Any]]) -> str:
    """The last epoch's scores in words, the oracle epoch's, and what could not be scored."""
    last = lines[-1]
    if not last["num_images"]:
        return "not scored, as the target has no labels"
    main = "accuracy" if "accuracy" in last else "h_score"
    text = f"{SCORES[main]} {_number(last[main])}"
    if main == "h_score":
        known, unknown = _number(last["known_acc"]), _number(last["unknown_acc"])
        text += f" (known {known}, unknown {unknown})"
    scored = [line for line in lines if line["epoch"] and line[main] is not None]
    if scored:
        best = max(scored, key=lambda line: line[main])
        text += f"; oracle epoch {best['epoch']}: {best[main]:.1f}"
    if last.get("empty_classes"):
        text += f"; no picture of {', '.join(last['empty_classes'])}, left out"
    return text


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f}"
