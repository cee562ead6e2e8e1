"""A run's identity: all of an experiment that decides its result, and nothing that does not."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda.config import (
    AdaptConfig,
    AnswerConfig,
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    Experiment,
    ImageConfig,
    ModelConfig,
    TrainConfig,
    added_fields,
)
from uda.data.scenarios import class_split
from uda.data.spec import DatasetSpec
from uda.runs.folder import DATASETS, Run, open_run
from uda.runs.hashing import file_hash
from uda.stages.options import (
    augment_options,
    make_augmentation,
    pretrain_options,
    resolve_options,
)

if TYPE_CHECKING:
    from uda.augment.base import Augmentation
    from uda.methods.base import Method


def added_settings() -> dict[str, Any]:
    """Return the settings that were added after runs had been made.

    Their keys are dotted, as in a run's configuration, and their values those that earlier runs
    had.
    """
    sections = {
        "data": DataConfig,
        "images": ImageConfig,
        "model": ModelConfig,
        "train": TrainConfig,
        "adapt": AdaptConfig,
        "answer": AnswerConfig,
    }
    options = {
        f"{section}.options.{key}": value
        for section, kind in _kinds()
        for key, value in _added_options(kind).items()
    }
    return {
        "precision": "float32",
        "train.budget": "steps",  # only augmented runs have this key
        **{
            f"{name}.{key}": value
            for name, section in sections.items()
            for key, value in added_fields(section).items()
        },
        **options,
    }


def former_settings() -> set[str]:
    """Return those of `added_settings` whose default is no longer what earlier runs had."""
    return {f"{section}.options.{key}" for section, kind in _kinds() for key in kind.former_options}


def _kinds() -> Iterator[tuple[str, type[Method] | type[Augmentation]]]:
    """Yield the section of the configuration, and the class, of each method and augmentation."""
    from uda.augment import AUGMENTATIONS
    from uda.methods import METHODS

    yield from (("adapt", kind) for kind in METHODS.values())
    yield from (("augment", kind) for kind in AUGMENTATIONS.values())


def _added_options(kind: type[Method] | type[Augmentation]) -> dict[str, Any]:
    """Return the values, of options newer than some runs, that those runs had."""
    defaults = inspect.signature(kind).parameters
    return {**{name: defaults[name].default for name in kind.added_options}, **kind.former_options}


def source_run(experiment: Experiment, spec: DatasetSpec) -> Run:
    """Return the source stage's run. It serves every target, so the target is no part of it."""
    data = experiment.data
    short = spec.abbreviations.get(data.source, data.source)
    name = f"train-{short}-{data.scenario or 'indomain'}-{experiment.augment.name}"
    identity = source_identity(experiment, spec)
    return open_run(Path(experiment.runs), f"{name}-s{experiment.seed}", identity)


def source_identity(experiment: Experiment, spec: DatasetSpec) -> dict[str, Any]:
    """Return everything that decides the source model, and nothing that does not."""
    from uda.models.backbones import weights_file

    data, augment = experiment.data, experiment.augment
    resolved = augment_options(augment)
    augmentation = make_augmentation(resolved)
    by_part = {
        part.name: {
            **_without(resolved[part.name], _added_options(type(part))),
            **part.identity,
        }
        for part in augmentation.parts
    }
    options = by_part[augment.name] if len(by_part) == 1 else by_part
    split = {"scenario": data.scenario} if data.scenario else {"holdout": data.holdout}
    copies = augment.copies if augmentation.copies else 0
    model, train = asdict(experiment.model), asdict(experiment.train)
    del train["robustness"]  # decides no result, only what is tested
    if path := weights_file(model["weights"]):
        model["weights"] = f"file {file_hash(path)}"
    if train["steps"]:
        del train["epochs"]
    if not copies:
        del train["budget"]
    if train["schedule"] != "step":
        del train["milestones"], train["step_factor"]
    train = _without(train, added_fields(TrainConfig))
    model = _without(model, added_fields(ModelConfig))
    added = added_fields(DataConfig)
    later = _without({key: getattr(data, key) for key in added}, added)
    precision = experiment.compute.precision
    lower = {} if precision == "float32" else {"precision": precision}
    return {
        "stage": "train",
        "data": {
            "dataset": _dataset_key(experiment),
            "source": data.source,
            "concepts": data.concepts,
            **split,
            **later,
        },
        "classes": class_split(spec, data.scenario).hash,
        "images": _without(asdict(experiment.images), added_fields(ImageConfig)),
        "model": model,
        "train": train,
        "augment": {"name": augment.name, "copies": copies, "options": options},
        "seed": experiment.seed,
        **lower,
    }


def pretrain_run(experiment: Experiment, spec: DatasetSpec) -> Run:
    """Return the run of a backbone's pretraining."""
    data = experiment.data
    short = spec.abbreviations.get(data.source, data.source)
    name = f"pretrain-{short}-{experiment.pretrain.method}-{experiment.augment.name}"
    identity = pretrain_identity(experiment, spec)
    return open_run(Path(experiment.runs), f"{name}-s{experiment.seed}", identity)


def pretrain_identity(experiment: Experiment, spec: DatasetSpec) -> dict[str, Any]:
    """Return everything that decides a pretrained backbone: of source training what it shares.

    Raises ValueError where the copies that an experiment asks for are none of its pairing.
    """
    settings = experiment.pretrain
    identity = source_identity(experiment, spec)
    changes = experiment.augment.name != "none"
    pairs = changes and settings.pairing == "pair"
    if pairs and identity["augment"]["copies"] > 1:
        raise ValueError(
            "augment.copies: of the pairing pair each picture has one copy a pass; leave it at 1, "
            "or take --pretrain.pairing list"
        )
    if pairs:  # the list is the originals
        identity["train"].pop("budget", None)
    pretrain = {"method": settings.method, "options": pretrain_options(settings)}
    if changes:
        pretrain["pairing"] = settings.pairing
    model, train = identity["model"], identity["train"]
    return {
        **identity,
        "stage": "pretrain",
        "model": {key: model[key] for key in ("backbone", "weights")},
        "train": _without_keys(train, "label_smoothing", "backbone_factor"),
        "pretrain": pretrain,
    }


def adapt_run(experiment: Experiment, spec: DatasetSpec) -> Run:
    """Return the target stage's run. Raises ValueError where the dataset lacks either domain."""
    from uda.methods import METHODS
    from uda.methods.joint import JointMethod

    data, settings = experiment.data, asdict(experiment.adapt)
    if not data.source:
        raise ValueError("data.source: name the domain that the source model was trained on")
    for name in (data.source, data.target):
        if name not in spec.domains:
            raise ValueError(
                f"{spec.title} has no domain {name!r}; it has {', '.join(spec.domains)}"
            )
    method, checkpoint = settings["method"], settings.pop("checkpoint")
    del settings["keep_banks"]  # decides no result
    options = resolve_options(METHODS, method, settings["options"], "adapt")
    options |= METHODS[method](open_set=data.scenario != "pda", **options).identity
    settings["options"] = _without(options, _added_options(METHODS[method]))
    settings = _without(settings, added_fields(AdaptConfig))
    if METHODS[method].trains == "nothing":
        settings = {key: settings[key] for key in ("method", "options")}
    source = source_identity(experiment, spec)
    joint = issubclass(METHODS[method], JointMethod)
    if checkpoint or experiment.adapt.start == "backbone":  # trained in no way that is known
        del source["train"]
    if checkpoint:
        if joint:  # it sees pictures of the source, too
            settings["augment"] = source["augment"]
        source["augment"] = {"name": "checkpoint", "file": file_hash(Path(checkpoint))}
    identity = {"stage": "adapt", "source": source, "target": data.target, "adapt": settings}
    kind = method
    if answer := _without(asdict(experiment.answer), added_fields(AnswerConfig)):
        identity["answer"] = answer
        kind = f"{method}-answered"
    pair = spec.pair_name(data.source, data.target)
    name = f"{kind}-{pair}-{data.scenario}-{source['augment']['name']}-s{experiment.seed}"
    return open_run(Path(experiment.runs), name, identity)


def _dataset_key(experiment: Experiment) -> str:
    """Return what identifies the dataset.

    For a file that `uda run` wrote beside the runs, its name, which derives from its content: both
    may be moved.
    """
    path, beside = Path(experiment.data.dataset), Path(experiment.runs) / DATASETS
    if path.suffix and path.parent.resolve() == beside.resolve():
        return f"{DATASETS}/{path.name}"
    return experiment.data.dataset


def _without(settings: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return ``settings`` without the keys that have these ``values``."""
    return {key: value for key, value in settings.items() if values.get(key, ...) != value}


def _without_keys(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def experiment_of(run: Run, target: str, root: str) -> Experiment:
    """Return an experiment that loads the model of ``run`` and scores it.

    How the model was trained (``train``, the augmentation's options) is left at its defaults.
    ``target`` and ``root`` replace those of the run if not empty. Raises ValueError of a run that
    has no classifier.
    """
    if run.is_pretraining:
        raise ValueError(
            f"{run.folder}: a pretrained backbone, without a classifier; uda probe scores it, and "
            f"uda train --model.weights {run.backbone} makes a classifier of it"
        )
    return _readable(run, target, root)


def pretraining_of(run: Run, root: str) -> Experiment:
    """Return an experiment with the pictures and the network of a run of pretraining."""
    return _readable(run, "", root)


def _readable(run: Run, target: str, root: str) -> Experiment:
    """Return `_experiment_of`; ValueError where the configuration is of another version."""
    try:
        return _experiment_of(run, target or run.target, root)
    # No such key, one of another version, or a value that no version has.
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{run.folder}: its configuration is not one of this version ({error}); restore it, or "
            "make the run again"
        ) from None


def _options_of(adapted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's options of its method, with those that it is older than."""
    from uda.methods import METHODS

    former = METHODS[adapted["method"]].former_options if adapted["method"] in METHODS else {}
    return {**former, **adapted["options"]}


def _experiment_of(run: Run, target: str, root: str) -> Experiment:
    source, adapted = run.source, run.adapt
    data = dict(source["data"])
    model = ModelConfig(**source["model"])
    if (
        model.frozen or run.answer.get("labels")
    ) and run.weights:  # of a file the identity has a hash instead of the path
        model = replace(model, weights=run.weights)
    with suppress(ValueError):  # whoever needs the dataset's file says that it is missing
        data["dataset"] = run.dataset
    return Experiment(
        data=DataConfig(**data, target=target, root=root),
        images=ImageConfig(**source["images"]),
        model=model,
        augment=AugmentConfig(name=source["augment"]["name"]),
        adapt=AdaptConfig(**{**adapted, "options": {adapted["method"]: _options_of(adapted)}}),
        answer=AnswerConfig(**run.answer),
        compute=ComputeConfig(precision=source.get("precision", "float32")),
        seed=source["seed"],
    )
