"""The target stage: adapts a source model and scores it after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda.config import AnswerConfig, Experiment
from uda.data.partition import source_parts, target_items
from uda.data.scenarios import ClassSplit, class_split, numbered_by, split_of_run
from uda.data.spec import DatasetSpec, load_dataset_spec
from uda.evaluation.metrics import SCORES
from uda.runs.checkpoints import classes_of, read_checkpoint
from uda.stages.build import Task, fit_classifier
from uda.stages.console import say
from uda.stages.edits import prepare_edits
from uda.stages.identity import adapt_run, source_run
from uda.stages.options import method_of
from uda.stages.pictures import RunPictures, source_pictures, target_pictures
from uda.stages.source_cut import source_threshold

if TYPE_CHECKING:
    from torch import Tensor

    from uda.data.items import Item
    from uda.methods.base import Bank
    from uda.methods.joint import JointMethod
    from uda.methods.unknown import Prediction
    from uda.models.classifier import Classifier
    from uda.training.source_batches import SourceBatches
    from uda.training.state import Loop


def adapt(experiment: Experiment, waits: bool = False) -> None:
    """Adapt a source model to the target, and score it after every epoch.

    An experiment whose `answer` is not the method's adapts as if it were, then answers anew. With
    ``waits`` a process that does the same is waited for, and its result taken.
    """
    from uda.compute.distributed import join

    join(experiment.device)
    data = experiment.data
    if not data.target:
        raise ValueError("data.target: name the domain to adapt to")
    spec = load_dataset_spec(data.dataset, data.root)
    split = class_split(spec, data.scenario)
    items = target_items(experiment, spec, split)
    _check_neighbours(experiment)
    run = adapt_run(experiment, spec)
    checkpoint, split = _start_of(experiment, spec, split)
    source_cut = None
    if experiment.answer.threshold == "source" and not run.is_done:
        source_cut = source_threshold(experiment, spec, split, checkpoint)
    if not (experiment.answer.is_methods or run.is_done):
        adapt(replace(experiment, answer=AnswerConfig()), waits)
    task = Task(experiment, spec, split, run)
    task.say_what_is_read(data.target, items)
    source = source_pictures(experiment, spec, split)
    pictures = target_pictures(task.run, data.target, items, source)
    if task.run.is_done:
        pictures.keep()
        say(f"Already adapted: {task.run.folder}")
    else:
        with task.lock(waits):
            if task.run.is_done:  # another process has finished it meanwhile
                pictures.keep()
            elif experiment.answer.is_methods:
                _adapt(task, items, checkpoint, pictures)
            else:
                _answer(task, items, pictures, source_cut)
    answer = f" ({experiment.answer.title})" if experiment.answer.title else ""
    say(
        f"{data.source} → {data.target}, {data.scenario}, {experiment.adapt.method}{answer}, "
        f"augmentation {experiment.augment.name}, seed {experiment.seed}: "
        f"{target_score_line(task.run.evaluations())}\n{task.run.folder}"
    )


def _adapt(task: Task, items: list[Item], checkpoint: Path | None, pictures: RunPictures) -> None:
    from uda.methods.joint import JointMethod
    from uda.training.adapt import adapt as adapt_loop

    data, settings = task.experiment.data, task.experiment.adapt
    loop = task.loop(f"{settings.method} {data.source} → {data.target}")
    pictures.check()
    model = task.model(checkpoint)
    fit_classifier(model, task.method)
    view, items = task.pixels.unlabelled(items, task.experiment.images.decode_px)
    pictures.check_names(items)
    pictures.keep()
    view = replace(view, neighbours=_neighbours(task, view.images, items))
    if model.frozen:
        from uda.stages.frozen import centre_features

        view = replace(view, images=centre_features(task, model, view.images))
    source = None
    if isinstance(task.method, JointMethod):
        source = _source_batches(task, task.method, model, loop)
    task.start()
    adapt_loop(
        model.trained,
        view,
        task.method,
        settings,
        task.run,
        loop,
        _scorer(task, items),
        source,
    )
    task.run.evaluations()  # a run that has lost its scores is not done
    task.finish()


def _answer(task: Task, items: list[Item], pictures: RunPictures, source_cut: float | None) -> None:
    """Have the model of the run that answers as its method does answer anew, and score that."""
    from uda.compute.distributed import is_main
    from uda.training.bank import save_bank

    experiment = task.experiment
    adapted = adapt_run(replace(experiment, answer=AnswerConfig()), task.spec)
    pictures.check()
    model = task.adapted_model(adapted.result_checkpoint)
    view, items = task.pixels.unlabelled(items, experiment.images.decode_px)
    pictures.keep()
    task.start()
    answer = task.answer(model, view.images, source_cut)
    if is_main():
        if experiment.adapt.keep_banks:
            save_bank(task.run, answer.bank, 0)
        if answer.opinion:
            task.run.save_opinion(
                {name: values.cpu().numpy() for name, values in answer.opinion._asdict().items()}
            )
        threshold = {} if source_cut is None else {"threshold": source_cut}
        _score(task, items, 0, answer.bank, answer.prediction, **threshold)
        task.run.take_checkpoint(adapted.result_checkpoint)
    task.finish()


def _neighbours(task: Task, images: Tensor, items: Sequence[Item]) -> Tensor | None:
    """Return the rows int64 [N, n] that `adapt.neighbours` makes neighbours; None for the bank's.

    How many of them are right is logged.
    """
    from uda.compute.distributed import is_main
    from uda.evaluation.evaluate import neighbours_purity
    from uda.methods.geometry import nearest_others

    kind, count = task.experiment.adapt.neighbours, task.method.neighbours
    if kind == "bank":
        return None
    if kind == "oracle":
        from uda.evaluation.oracle import oracle_neighbours

        near = oracle_neighbours(items, task.split, count, task.experiment.seed)
    else:
        near = nearest_others(task.frozen_features(images), count)
    if is_main():
        task.run.log(kind="neighbours", purity=neighbours_purity(items, task.split, near))
    return near


def _source_batches(
    task: Task, method: JointMethod, model: Classifier, loop: Loop
) -> SourceBatches:
    """Return the source's labelled batches, as large as the target's, augmented as configured.

    Targets are hard: the methods that learn from them smooth no labels.
    """
    from uda.training.source_batches import SourceBatches

    experiment = task.experiment
    adapt = experiment.adapt
    data = task.labelled(source_parts(experiment, task.spec, task.split).train)
    prepare_edits(task, data)
    if model.frozen:
        from uda.stages.frozen import labelled_features

        if method.num_views:
            raise ValueError(
                f"adapt.method: {adapt.method} takes further views of each picture, and a frozen "
                "backbone sees each picture once; take another method"
            )
        data = labelled_features(task, model, data)
    settings = replace(
        experiment.train, batch_size=adapt.batch_size, accumulate=1, label_smoothing=0.0
    )
    return SourceBatches(
        data,
        task.augmentation,
        experiment.augment.copies,
        len(task.split.source_classes),
        settings,
        loop,
        adapt.balanced,
    )


def _check_neighbours(experiment: Experiment) -> None:
    """Raise ValueError where neighbours are named for a method that asks for none."""
    settings = experiment.adapt
    if settings.neighbours != "bank" and not method_of(experiment).neighbours:
        raise ValueError(
            f"adapt.neighbours: {settings.method} learns from no neighbours; leave it out, or take "
            "lead or glc"
        )


def _start_of(
    experiment: Experiment, spec: DatasetSpec, split: ClassSplit
) -> tuple[Path | None, ClassSplit]:
    """Return the source model to adapt, and the classes ``split`` as that model numbers them.

    There is none where adaptation starts from the backbone's pretrained weights. Raises ValueError
    naming a run that is not trained, or a class that the model has not.
    """
    from uda.methods.joint import JointMethod

    if experiment.adapt.start == "backbone":
        if not isinstance(method_of(experiment), JointMethod):
            raise ValueError(
                f"adapt.start: {experiment.adapt.method} sees no source picture, so it starts from "
                "the source model"
            )
        return None, split
    if file := experiment.adapt.checkpoint:
        names = classes_of(read_checkpoint(Path(file)), file)
        return Path(file), split if names is None else numbered_by(names, split, spec, file)
    run = source_run(experiment, spec)
    if not run.is_done:
        raise ValueError(
            f"{run.folder}: no trained source model there; run `uda train` with the same options "
            "first, or name one with --adapt.checkpoint"
        )
    return run.checkpoint, split_of_run(run, spec)


def _scorer(task: Task, items: Sequence[Item]) -> Callable[[int, Bank], str]:
    """Return what the loop calls after each epoch, to score by the target's labels."""

    def after_epoch(epoch: int, bank: Bank) -> str:
        scores = _score(task, items, epoch, bank, task.method.predict(bank))
        value = scores.get("h_score", scores.get("accuracy"))
        title = "Acc" if task.experiment.data.scenario == "pda" else "H"
        return "" if value is None else f"{title}={value:.1f}"

    return after_epoch


def _score(
    task: Task,
    items: Sequence[Item],
    epoch: int,
    bank: Bank,
    prediction: Prediction,
    **decided: float,
) -> dict[str, Any]:
    """Log the scores of an epoch, with what ``decided``, and keep its predictions; return the
    scores."""
    from uda.evaluation.evaluate import answers, target_scores

    scenario = task.experiment.data.scenario
    scores = target_scores(items, task.split, scenario, prediction, bank)
    task.run.log(kind="evaluate", epoch=epoch, **scores, **decided)
    task.run.save_predictions(answers(items, task.split, prediction))
    return scores


def target_score_line(lines: Sequence[dict[str, Any]]) -> str:
    """Return the last epoch's scores in words, the oracle epoch's, and what was not scored."""
    last = lines[-1]
    if not last.get("num_images", 1):  # older runs have not kept it
        return "not scored, as the target has no labels"
    main = "accuracy" if "accuracy" in last else "h_score"
    text = f"{SCORES[main]} {_number(last.get(main))}"
    if main == "h_score":
        known, unknown = _number(last.get("known_acc")), _number(last.get("unknown_acc"))
        text += f" (known {known}, unknown {unknown})"
    scored = [line for line in lines if line["epoch"] and line.get(main) is not None]
    if scored:
        best = max(scored, key=lambda line: line[main])
        text += f"; oracle epoch {best['epoch']}: {best[main]:.1f}"
    if last.get("empty_classes"):
        text += f"; no picture of {', '.join(last['empty_classes'])}, left out"
    return text


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f}"
