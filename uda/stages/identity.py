"""Which run an experiment is: all that decides its result, and nothing that does not."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uda.config import Experiment
from uda.data.scenarios import class_split
from uda.data.spec import DatasetSpec
from uda.runs.folder import DATASETS, Run, open_run
from uda.runs.hashing import config_hash, file_hash
from uda.stages.options import augmentation_of, resolve_options

# Settings that came after runs had been made: at these values, which those runs had without saying
# so, they are left out, so that the runs are found again.
ADDED_ADAPT = {"batch_norm": "target"}
ADDED_DATA = {"validation": 0.0, "images_per_class": 0}
ADDED_IMAGES = {"pad_px": 0}
ADDED_TRAIN = {
    "schedule": "inverse",
    "warmup_epochs": 0.0,
    "ema": 0.0,
    "accumulate": 1,
    "clip_norm": 0.0,
}
ADDED_OPTIONS: dict[str, dict[str, Any]] = {
    "lead": {"split": "norm", "reg_weight": 1.0, "con_weight": 1.0},
    "glc": {"samples_per_centroid": 0},
}
# The same by the keys that configurations are compared by, and what only augmented runs have.
LATER = {
    "precision": "float32",
    "train.budget": "steps",
    **{f"data.{key}": value for key, value in ADDED_DATA.items()},
    **{f"images.{key}": value for key, value in ADDED_IMAGES.items()},
    **{f"train.{key}": value for key, value in ADDED_TRAIN.items()},
    **{f"adapt.{key}": value for key, value in ADDED_ADAPT.items()},
    **{
        f"adapt.options.{key}": value
        for options in ADDED_OPTIONS.values()
        for key, value in options.items()
    },
}


def source_run(experiment: Experiment, spec: DatasetSpec) -> Run:
    """The run of the source stage. The target is no part of it: one model serves every target."""
    data = experiment.data
    short = spec.abbreviations.get(data.source, data.source)
    name = f"train-{short}-{data.scenario or 'indomain'}-{experiment.augment.name}"
    identity = source_identity(experiment, spec)
    return open_run(Path(experiment.runs), f"{name}-s{experiment.seed}", identity)


def source_identity(experiment: Experiment, spec: DatasetSpec) -> dict[str, Any]:
    """Everything that decides the source model, and nothing that does not."""
    from uda.augment import AUGMENTATIONS
    from uda.models.backbones import weights_file

    data, augment = experiment.data, experiment.augment
    augmentation = augmentation_of(experiment)
    options = resolve_options(AUGMENTATIONS, augment.name, augment.options, "augment")
    options |= augmentation.identity
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
    train = _without(train, ADDED_TRAIN)
    later = _without({key: getattr(data, key) for key in ADDED_DATA}, ADDED_DATA)
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
        "classes": config_hash(asdict(class_split(spec, data.scenario))),
        "images": _without(asdict(experiment.images), ADDED_IMAGES),
        "model": model,
        "train": train,
        "augment": {"name": augment.name, "copies": copies, "options": options},
        "seed": experiment.seed,
        **lower,
    }


def adapt_run(experiment: Experiment, spec: DatasetSpec) -> Run:
    """The run of the adaptation stage. ValueError where the dataset lacks the source or target."""
    from uda.methods import METHODS

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
    settings["options"] = _without(options, ADDED_OPTIONS.get(method, {}))
    settings = _without(settings, ADDED_ADAPT)
    if METHODS[method].trains == "nothing":
        settings = {key: settings[key] for key in ("method", "options")}
    source = source_identity(experiment, spec)
    if checkpoint:  # how that model was trained is not known
        del source["train"]
        source["augment"] = {"name": "checkpoint", "file": file_hash(Path(checkpoint))}
    identity = {"stage": "adapt", "source": source, "target": data.target, "adapt": settings}
    pair = spec.pair_name(data.source, data.target)
    name = f"{method}-{pair}-{data.scenario}-{source['augment']['name']}-s{experiment.seed}"
    return open_run(Path(experiment.runs), name, identity)


def _dataset_key(experiment: Experiment) -> str:
    """What stands for the dataset: a file that lies beside the runs (`uda run` writes it there,
    named after its content) is the same one wherever both are."""
    path, beside = Path(experiment.data.dataset), Path(experiment.runs) / DATASETS
    if path.suffix and path.parent.resolve() == beside.resolve():
        return f"{DATASETS}/{path.name}"
    return experiment.data.dataset


def _without(settings: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """``settings`` but for the keys that have these ``values``."""
    return {key: value for key, value in settings.items() if values.get(key, ...) != value}


def experiment_of(run: Run, target: str, root: str) -> Experiment:
    """The experiment that made ``run``, with another target if one is given."""
    from uda.config import (
        AdaptConfig,
        AugmentConfig,
        ComputeConfig,
        DataConfig,
        ImageConfig,
        ModelConfig,
    )

    source, adapted = run.source, run.adapt
    target = target or run.target
    data = dict(source["data"])
    with suppress(ValueError):  # whoever needs the dataset's file says that it is gone
        data["dataset"] = run.dataset
    return Experiment(
        data=DataConfig(**data, target=target, root=root),
        images=ImageConfig(**source["images"]),
        model=ModelConfig(**source["model"]),
        augment=AugmentConfig(name=source["augment"]["name"]),
        adapt=AdaptConfig(**{**adapted, "options": {adapted["method"]: adapted["options"]}}),
        compute=ComputeConfig(precision=source.get("precision", "float32")),
        seed=source["seed"],
    )
