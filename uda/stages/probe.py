"""Scoring pretrained backbones: probes of their frozen features, beside other networks'."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmix_aug.lettering import aligned
from uda.augment import title_of_augmentation
from uda.config import Experiment
from uda.data.partition import holdout_split, in_domain_parts
from uda.data.scenarios import ClassSplit, split_of_run
from uda.data.spec import load_dataset_spec
from uda.pretraining import title_of_pretraining
from uda.runs.config import dotted
from uda.runs.folder import Run, read_run
from uda.runs.hashing import config_hash
from uda.stages.build import Task
from uda.stages.console import say
from uda.stages.identity import pretraining_of
from uda.stages.pictures import training_pictures
from uda.stages.pretrain import backbone_model

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from uda.data.items import Item, Parts
    from uda.models.classifier import Classifier

CHOOSING = 0.2  # share of each class's training pictures on which the linear probe chooses C
FALLBACK = "efficientnet_lite0"  # its ImageNet weights are a package that is always installed
SCORES = {"linear": "linear probe", "knn": "kNN"}
RANDOM, IMAGENET = "random", "imagenet"


@dataclass(frozen=True)
class Probed:
    """A run and its scores, those of the other networks under `RANDOM` and `IMAGENET`."""

    run: Run
    scores: dict[str, Any]

    @property
    def title(self) -> str:
        """What tables call its row: ``MoCo v2 + GenMix, pairs``."""
        pretrain = self.run.pretrain
        title = title_of_pretraining(str(pretrain["method"]))
        if self.run.augmentation != "none":
            title += f" + {title_of_augmentation(self.run.augmentation)}"
        return f"{title}, pairs" if pretrain.get("pairing") == "pair" else title

    @property
    def settings(self) -> dict[str, Any]:
        """The run's configuration without its seed."""
        return {key: value for key, value in self.run.config.items() if key != "seed"}

    @property
    def row(self) -> str:
        """A hash of all but the seed: runs of a row differ in it alone."""
        return config_hash(self.settings)

    @property
    def plain_row(self) -> str:
        """The `row` of the same run without augmentation."""
        pretrain = {k: v for k, v in self.run.pretrain.items() if k != "pairing"}
        train = {k: v for k, v in self.run.train.items() if k != "budget"}
        augment = {"name": "none", "copies": 0, "options": {}}
        return config_hash(
            {**self.settings, "pretrain": pretrain, "augment": augment, "train": train}
        )


def probe(folders: Sequence[str], root: str, imagenet: str, device: str) -> None:
    """Score pretrained backbones on their domain's held-out pictures, and print a table.

    Args:
        folders: Runs of `uda pretrain` on the same pictures.
        root: Folder of the dataset's domains; empty for the runs'.
        imagenet: Backbone with ImageNet weights to stand beside; empty for the runs' own.
        device: Where networks compute.
    """
    runs = [_finished(Path(folder)) for folder in folders]
    _check_same_pictures(runs)
    scorer = Scorer(imagenet)
    probed = []
    for run in runs:
        task, parts = _task_of(run, root, device)
        scores = scorer.scores(task, parts)
        run.save_probe(scores)
        probed.append(Probed(run, scores))
    say("\n".join(table(probed)))


def _finished(folder: Path) -> Run:
    run = read_run(folder)
    if not run.is_pretraining:
        raise ValueError(f"{folder}: not a run of uda pretrain; uda evaluate scores classifiers")
    if not (run.is_done and run.backbone.is_file()):
        raise ValueError(f"{folder}: not finished; the command that began it goes on with it")
    if run.scenario:
        raise ValueError(
            f"{folder}: pretrained for {run.scenario.upper()}, where no pictures are held out; "
            "leave data.scenario out"
        )
    return run


def _check_same_pictures(runs: Sequence[Run]) -> None:
    """Raise ValueError naming a run whose scores do not belong into a table with the first's."""
    first = runs[0]
    for run in runs[1:]:
        for key in ("data", "images"):
            if run.config.get(key) != first.config.get(key):
                raise ValueError(
                    f"{run.folder}: its settings {key} are not those of {first.folder}; probe them "
                    "one after the other"
                )


def _task_of(run: Run, root: str, device: str) -> tuple[Task, Parts]:
    experiment = replace(pretraining_of(run, root or run.root), device=device)
    spec = load_dataset_spec(experiment.data.dataset, experiment.data.root)
    parts = in_domain_parts(experiment, spec)
    split = split_of_run(run, spec, ClassSplit(parts.classes))
    training_pictures(run, experiment.data.source, parts).check()
    return Task(experiment, spec, split, run), parts


class Scorer:
    """Probes networks; what several runs share is decoded and computed once."""

    def __init__(self, imagenet: str) -> None:
        self._imagenet = imagenet
        self._known: dict[tuple[object, ...], Any] = {}

    def scores(self, task: Task, parts: Parts) -> dict[str, Any]:
        """Return the scores of a run's backbone, and of the other networks on the same pictures."""
        experiment = task.experiment
        model = replace(experiment.model, weights=str(task.run.backbone))
        backbone = model.backbone
        pictures = tuple(item.path for item in (*parts.train, *parts.test))
        crops = self._once(("crops", pictures), lambda: _crops(task, parts))

        def score(name: str, network: Classifier) -> dict[str, Any]:
            return _probe(task, parts, crops, name, network)

        def of_imagenet() -> dict[str, Any]:
            name, network = self._imagenet_network(experiment)
            return {"backbone": name, **score(name, network)}

        own = backbone_model(replace(experiment, model=model))
        random = replace(experiment, model=replace(experiment.model, weights="none"))
        return {
            **score(backbone, own),
            "num_images": len(parts.test),
            "num_training": len(parts.train),
            "num_classes": len(task.split.source_classes),
            RANDOM: self._once(
                (RANDOM, backbone, experiment.seed, pictures),
                lambda: score(backbone, backbone_model(random)),
            ),
            IMAGENET: self._once((IMAGENET, backbone, pictures), of_imagenet),
        }

    def _once(self, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def _imagenet_network(self, experiment: Experiment) -> tuple[str, Classifier]:
        """Return the network with ImageNet weights and its name: the run's, if it can be had."""
        own = self._imagenet or experiment.model.backbone
        try:
            return own, self._with_imagenet(experiment, own)
        except ValueError as error:
            if self._imagenet or own == FALLBACK:
                raise
            reason = str(error).partition(";")[0]
            say(f"{reason}; {FALLBACK} stands in its place (--imagenet names another)")
            return FALLBACK, self._with_imagenet(experiment, FALLBACK)

    def _with_imagenet(self, experiment: Experiment, backbone: str) -> Classifier:
        def build() -> Classifier:
            model = replace(experiment.model, backbone=backbone, weights="imagenet")
            return backbone_model(replace(experiment, model=model))

        network: Classifier = self._once(("network", backbone), build)
        return network


def _crops(task: Task, parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
    return task.crops(parts.train), task.crops(parts.test)


def _probe(
    task: Task,
    parts: Parts,
    crops: tuple[torch.Tensor, torch.Tensor],
    name: str,
    network: Classifier,
) -> dict[str, Any]:
    """Return a network's scores on the centre crops of training and held-out pictures."""
    from uda.evaluation.evaluate import held_out_labels
    from uda.evaluation.probe import Sample, probe
    from uda.training.frozen import frozen_features

    network.eval()
    compute = task.experiment.compute

    def sample(images: torch.Tensor, items: Sequence[Item]) -> Sample:
        features = frozen_features(network, name, images, task.device, compute)
        return Sample(features.numpy(), held_out_labels(items, task.split))

    train, test = sample(crops[0], parts.train), sample(crops[1], parts.test)
    return probe(train, test, _choosing(parts))


def _choosing(parts: Parts) -> NDArray[np.bool_]:
    """Return which training pictures the linear probe chooses its penalty on, bool [N]."""
    import numpy as np

    _, chosen = holdout_split(parts.train, CHOOSING, "uda probe", "probe ")
    paths = {item.path for item in chosen}
    return np.array([item.path in paths for item in parts.train])


# ---- the table


def table(probed: Sequence[Probed]) -> list[str]:
    """Return the lines of the table: a row for the runs that differ in their seeds alone."""
    first = probed[0].scores
    rows = [("", "runs", *SCORES.values())]
    groups = _groups(probed)
    for title, group in groups.items():
        rows.append(_row(title, [each.scores for each in group]))
    names = {(each.run.config["model"]["backbone"], each.run.seed): each for each in probed}
    random = [each.scores[RANDOM] for each in names.values()]
    rows.append(_row("random network", random))
    for backbone in dict.fromkeys(each.scores[IMAGENET]["backbone"] for each in probed):
        scores = [each.scores[IMAGENET] for each in probed]
        same = [values for values in scores if values["backbone"] == backbone]
        rows.append(_row(f"ImageNet ({backbone})", _distinct(same)))
    lines = [
        f"{probed[0].run.source_domain}: top-1 on {first['num_images']} held-out pictures of "
        f"{first['num_classes']} classes, learnt from {first['num_training']}, in percent (mean "
        "± standard deviation over seeds)",
        *aligned(rows),
        "This project's protocol, as the paper states none: docs/self_supervised.md",
    ]
    return lines + list(_differences(groups))


def _groups(probed: Sequence[Probed]) -> dict[str, list[Probed]]:
    """Return the runs of each row by its title, with what tells it from rows of the same title."""
    by_row: dict[str, list[Probed]] = {}
    for each in probed:
        by_row.setdefault(each.row, []).append(each)
    groups = {}
    for group in by_row.values():
        title = group[0].title
        same = [dict(dotted(g[0].settings)) for g in by_row.values() if g[0].title == title]
        words = [
            f"{key} {value}"
            for key, value in dotted(group[0].settings)
            if any(other.get(key) != value for other in same)
        ]
        groups[f"{title} ({', '.join(words)})" if words else title] = group
    return groups


def _distinct(scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each of the ``scores`` once; those of runs on the same pictures are the same."""
    return [values for k, values in enumerate(scores) if values not in scores[:k]]


def _row(title: str, scores: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    return (title, str(len(scores)), *(_mean([values[key] for values in scores]) for key in SCORES))


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def _differences(groups: dict[str, list[Probed]]) -> Iterator[str]:
    """Yield what each augmentation adds to the same method without it, seed by seed."""
    plain = {group[0].row: (title, group) for title, group in groups.items()}
    for title, group in groups.items():
        plain_title, plain_group = plain.get(group[0].plain_row, (title, []))
        without = {each.run.seed: each.scores for each in plain_group}
        pairs = [
            (each.scores, without[each.run.seed]) for each in group if each.run.seed in without
        ]
        if plain_title == title or len(pairs) < 2:
            continue
        words = []
        for key, name in SCORES.items():
            gains = [ours[key] - theirs[key] for ours, theirs in pairs]
            mean, error = statistics.fmean(gains), statistics.stdev(gains) / math.sqrt(len(gains))
            shown = "" if abs(mean) > 2 * error else ", no difference shown"
            words.append(f"{name} {mean:+.1f} (standard error {error:.1f}{shown})")
        yield f"{title} − {plain_title}, by {len(pairs)} seeds: {'; '.join(words)}"
