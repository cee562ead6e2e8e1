"""``uda run``: train on one folder, adapt to another one, answer for its pictures, and say what of
that could be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from uda.compute.distributed import is_main, join
from uda.config import Experiment
from uda.data.folders import OwnDataset, own_dataset
from uda.data.names import named
from uda.data.spec import load_dataset_spec
from uda.runs.files import write_text
from uda.runs.folder import DATASETS, Run
from uda.stages.console import say
from uda.stages.identity import adapt_run
from uda.stages.options import method_of
from uda.stages.source import train
from uda.stages.target import adapt, target_score_line

if TYPE_CHECKING:
    from uda.inference.pictures import Answered

FEWEST = 10  # pictures that clusters and neighbours can be made of


def run(experiment: Experiment, source: str, target: str, target_labels: str) -> None:
    """Train on the folder SOURCE, adapt to the folder TARGET, and answer for its pictures."""
    data = experiment.data
    if data.source or data.target:
        raise ValueError("data: --source and --target name the folders; leave --data.source out")
    join(experiment.device)
    found = own_dataset(
        Path(source),
        Path(target),
        target_labels,
        Path(experiment.runs) / DATASETS,
        data.scenario,
        fewest=0 if experiment.adapt.method == "source_only" else FEWEST,
    )
    for line in (*found.notes, *describe(found)):
        say(line)
    experiment = _for_folders(experiment, found)
    method_of(experiment)  # a mistake in its options now, rather than after the training
    train(experiment)
    adapt(experiment)
    spec = load_dataset_spec(experiment.data.dataset)
    finished = adapt_run(experiment, spec)
    answered = _answered(finished, experiment, found)  # every process has its share of it
    if not is_main():
        return
    lines = _answers(finished, answered, found)
    scores = target_score_line(finished.metrics("evaluate"))
    text = ["# Answers", "", *found.notes, *describe(found), "", f"Scores: {scores}", *lines, ""]
    # Names of files need not be of any encoding.
    write_text(finished.answers_md, "\n".join(text), errors="surrogateescape")
    for line in lines:
        say(line)


def describe(found: OwnDataset) -> list[str]:
    """What the folders hold and which scenario that is, in lines for people."""
    lines = [f"{found.num_source} pictures to train on, {found.num_target} to adapt to"]
    sets = found.sets
    if sets is None:
        return [
            *lines,
            f"Which classes the target holds is not known; run as {found.scenario}, "
            + ("nothing is called unknown" if found.scenario == "pda" else "some may be unknown"),
        ]
    parts = {
        "in both": sets.shared,
        "in the source only": sets.source_private,
        "in the target only": sets.target_private,
    }
    lines += [
        f"Classes {where} ({len(own)}): {named(own, 12)}" for where, own in parts.items() if own
    ]
    closed = not (sets.source_private or sets.target_private)
    word = "a closed set: the same classes, nothing is unknown" if closed else found.scenario
    return [*lines, f"That is {word}"]


def _for_folders(experiment: Experiment, found: OwnDataset) -> Experiment:
    """The experiment on the dataset, its batches no larger than the folders."""
    train, adapt = experiment.train, experiment.adapt
    for name, count, size in (
        ("train", found.num_source, train.batch_size),
        ("adapt", found.num_target, adapt.batch_size),
    ):
        if 1 < count < size:
            say(f"{name}.batch_size is {count}, all that there are, not {size}")
    return replace(
        experiment,
        data=replace(
            experiment.data,
            dataset=str(found.file),
            source=found.source,
            target=found.target,
            scenario=found.scenario,
        ),
        train=replace(train, batch_size=max(2, min(train.batch_size, found.num_source))),
        adapt=replace(adapt, batch_size=max(2, min(adapt.batch_size, found.num_target))),
    )


def _answered(finished: Run, experiment: Experiment, found: OwnDataset) -> Answered:
    """What the run's model says of the target's pictures."""
    from uda.inference.model import load
    from uda.inference.pictures import find_pictures, predict

    pictures = found.file.parent / found.file.stem / f"{found.target}.txt"
    return predict(load(finished.folder, experiment.device), find_pictures([str(pictures)]))


def _answers(finished: Run, answered: Answered, found: OwnDataset) -> list[str]:
    """Write predictions.csv and unknown.png into the run's folder; lines on them."""
    from uda.inference.pictures import summary, write_csv, write_sheet

    write_csv(answered, finished.answers_csv)
    sheet = finished.unknown_png
    drawn = write_sheet(answered, sheet)
    lines = ["", *summary(answered), "", *_measured(found, finished), *_chosen(finished)]
    lines.append(f"Every picture's answer: {finished.folder / 'predictions.csv'}")
    if drawn:
        count = len(answered.unknown)
        part = f", the surest {drawn} of {count:,}" if drawn < count else ""
        lines.append(f"What was found unknown: {sheet}{part}")
    lines.append(
        f"For other pictures: uda predict {quote(str(finished.folder))} FOLDER --out answers.csv"
    )
    return lines


def _chosen(finished: Run) -> list[str]:
    """Which epoch and which threshold would be chosen without labels, where banks were kept."""
    from uda.evaluation.choices import chosen_epochs, chosen_thresholds, last_probabilities

    try:
        epochs = chosen_epochs(finished)
        cuts = chosen_thresholds(finished, last_probabilities(finished))
    except ValueError:
        return []
    last, fixed = epochs.pop("last"), cuts.pop("fixed")
    by = ", ".join(f"{epoch} by {name}" for name, epoch in epochs.items())
    lines = [f"Epochs chosen without labels: {by}; the answers are of the last, {last}"]
    if finished.scenario != "pda":
        by = ", ".join(f"{cut:.2f} by {name}" for name, cut in cuts.items())
        lines.append(
            f"Thresholds chosen without labels: {by} (uda predict --threshold …); the answers' is "
            f"{fixed:.2f}"
        )
    return lines


def _measured(found: OwnDataset, finished: Run) -> list[str]:
    """What the scores above leave out."""
    from uda.evaluation.choices import NOT_MEASURED

    sets = found.sets
    if sets is None:
        return [NOT_MEASURED]
    if not sets.target_private:
        return [
            "Not measured: H-score and unknown accuracy, as the target has no class of its own."
        ]
    return [f"How each class fares: uda evaluate {quote(str(finished.folder))} --per-class"]
