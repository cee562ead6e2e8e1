"""``uda run``: train on a folder, adapt to another, predict its images, and report the scores."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from uda.compute.distributed import is_main, join
from uda.config import Experiment
from uda.data.folders import FolderPair, folder_pair_dataset
from uda.data.names import join_names
from uda.data.spec import load_dataset_spec
from uda.runs.files import write_text
from uda.runs.folder import DATASETS, Run
from uda.stages.console import say
from uda.stages.identity import adapt_run
from uda.stages.options import method_of
from uda.stages.source import train
from uda.stages.target import adapt, target_score_line

if TYPE_CHECKING:
    from uda.inference.pictures import PredictedImages

FEWEST = 10  # images that clusters and neighbours can be made of


def run(experiment: Experiment, source: str, target: str, target_labels: str) -> None:
    """Train on the folder SOURCE, adapt to the folder TARGET, and answer for its pictures."""
    data = experiment.data
    if data.source or data.target:
        raise ValueError("data: --source and --target name the folders; leave --data.source out")
    join(experiment.device)
    pair = folder_pair_dataset(
        Path(source),
        Path(target),
        target_labels,
        Path(experiment.runs) / DATASETS,
        data.scenario,
        fewest=0 if experiment.adapt.method == "source_only" else FEWEST,
    )
    rejects = experiment.answer.threshold == "source"
    for line in (*pair.notes, *describe(pair, rejects)):
        say(line)
    experiment = _on_folders(experiment, pair)
    method_of(experiment)  # a mistake in its options now, rather than after the training
    # Several commands may share a source model: the later ones wait for it.
    train(experiment, waits=True)
    adapt(experiment, waits=True)
    adapted = adapt_run(experiment, load_dataset_spec(experiment.data.dataset))
    predicted = _predict(adapted, experiment, pair)  # all processes share this work
    if is_main():
        _write_answers(adapted, predicted, pair)


def describe(pair: FolderPair, rejects: bool = False) -> list[str]:
    """Return the folders' numbers, classes and scenario, as lines to print.

    ``rejects`` says whether pictures may be called unknown under PDA, too.
    """
    lines = [f"{pair.num_source} pictures to train on, {pair.num_target} to adapt to"]
    sets = pair.sets
    if sets is None:
        may_reject = rejects or pair.scenario != "pda"
        return [
            *lines,
            f"Which classes the target holds is not known; run as {pair.scenario}, "
            + ("some may be unknown" if may_reject else "nothing is called unknown"),
        ]
    parts = {
        "in both": sets.shared,
        "in the source only": sets.source_private,
        "in the target only": sets.target_private,
    }
    lines += [
        f"Classes {where} ({len(names)}): {join_names(names, 12)}"
        for where, names in parts.items()
        if names
    ]
    closed = not (sets.source_private or sets.target_private)
    word = "a closed set: the same classes, nothing is unknown" if closed else pair.scenario
    return [*lines, f"That is {word}"]


def _on_folders(experiment: Experiment, pair: FolderPair) -> Experiment:
    """Return the experiment on the dataset, with batches no larger than the folders."""
    train, adapt = experiment.train, experiment.adapt
    for name, count, size in (
        ("train", pair.num_source, train.batch_size),
        ("adapt", pair.num_target, adapt.batch_size),
    ):
        if 1 < count < size:
            say(f"{name}.batch_size is {count}, all that there are, not {size}")
    return replace(
        experiment,
        data=replace(
            experiment.data,
            dataset=str(pair.file),
            source=pair.source,
            target=pair.target,
            scenario=pair.scenario,
        ),
        train=replace(train, batch_size=max(2, min(train.batch_size, pair.num_source))),
        adapt=replace(adapt, batch_size=max(2, min(adapt.batch_size, pair.num_target))),
    )


def _predict(adapted: Run, experiment: Experiment, pair: FolderPair) -> PredictedImages:
    """Predict the target's images with the run's model."""
    from uda.inference.model import load
    from uda.inference.pictures import find_pictures, predict

    images = pair.file.parent / pair.file.stem / f"{pair.target}.txt"
    return predict(load(adapted.folder, experiment.device), find_pictures([str(images)]))


def _write_answers(adapted: Run, predicted: PredictedImages, pair: FolderPair) -> None:
    """Write predictions.csv, unknown.png and answers.md into the run's folder; print the last."""
    from uda.inference.pictures import summary, write_csv, write_sheet

    write_csv(predicted, adapted.answers_csv)
    num_drawn, key = write_sheet(predicted, adapted.unknown_png)
    lines = [
        "",
        *summary(predicted),
        "",
        *_unscored(adapted, pair),
        *_choices_without_labels(adapted),
        *_files(adapted, num_drawn, len(predicted.unknown)),
        *key,
    ]
    scores = target_score_line(adapted.metrics("evaluate"))
    about = [*pair.notes, *describe(pair, adapted.source_cut() is not None)]
    text = ["# Answers", "", *about, "", f"Scores: {scores}", *lines, ""]
    # File names may have bytes of no encoding, and names of classes HTML.
    markdown = "\n".join(text).replace("<", "\\<")
    write_text(adapted.answers_md, markdown, errors="surrogateescape")
    for line in lines:
        say(line)


def _files(adapted: Run, num_drawn: int, num_unknown: int) -> list[str]:
    """Return lines that name the written files and the next command."""
    lines = [f"Every picture's answer: {adapted.answers_csv}"]
    if num_drawn:
        part = f", the surest {num_drawn} of {num_unknown:,}" if num_drawn < num_unknown else ""
        lines.append(f"What was found unknown: {adapted.unknown_png}{part}")
    command = f"uda predict {quote(str(adapted.folder))} FOLDER --out answers.csv"
    return [*lines, f"For other pictures: {command}"]


def _choices_without_labels(adapted: Run) -> list[str]:
    """Return the epoch and threshold of each criterion without labels, if banks were saved."""
    from uda.evaluation.choices import chosen_epochs, chosen_thresholds, last_probabilities

    lines = []
    with suppress(ValueError):  # without banks
        epochs = chosen_epochs(adapted)
        last = epochs.pop("last")
        by = ", ".join(f"{epoch} by {name}" for name, epoch in epochs.items())
        if last > 1:
            lines.append(f"Epochs chosen without labels: {by}; the answers are of the last, {last}")
    with suppress(ValueError):
        thresholds = chosen_thresholds(adapted, last_probabilities(adapted))
        fixed = thresholds.pop("fixed")
        by = ", ".join(f"{threshold:.2f} by {name}" for name, threshold in thresholds.items())
        if adapted.scenario != "pda" or adapted.source_cut() is not None:
            lines.append(
                f"Thresholds chosen without labels: {by} (uda predict --threshold …); the "
                f"answers' is {fixed:.2f}"
            )
    return lines


def _unscored(adapted: Run, pair: FolderPair) -> list[str]:
    """Return a line on what the scores leave out."""
    from uda.evaluation.choices import NOT_MEASURED

    if pair.sets is None:
        return [NOT_MEASURED]
    if not pair.sets.target_private:
        return [
            "Not measured: H-score and unknown accuracy, as the target has no class of its own."
        ]
    return [f"How each class fares: uda evaluate {quote(str(adapted.folder))} --per-class"]
