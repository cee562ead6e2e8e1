"""What a run is made of: frozen dataclasses.

The dataclasses are the command line's flags and the keys of ``configs/experiments/*.yaml`` at once
(jsonargparse), so their docstrings are what ``--help`` prints. Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

SCENARIOS = ("opda", "osda", "pda")
SCHEDULES = ("inverse", "cosine", "step")
PAIRINGS = ("list", "pair")
NEIGHBOURS = ("bank", "frozen", "oracle")
VIEWS = (1, 2, 6)
ANSWER_SCORES = ("method", "entropy", "cosine", "probability")
ANSWER_LABELS = ("method", "co-learn")
ANSWER_THRESHOLDS = ("method", "two-means", "mixture", "box-cox", "source")
PRECISIONS = ("float32", "bfloat16", "float16")
PACKAGE = Path(__file__).resolve().parent
INSTALLED_CONFIGS = PACKAGE / "configs"  # in a wheel
CONFIGS = INSTALLED_CONFIGS if INSTALLED_CONFIGS.is_dir() else PACKAGE.parent / "configs"
MAX_SEED = 2**63 - 1
# Marks a field that is newer than some runs. At its default it is left out of a run's identity, so
# that runs from before it keep their names.
ADDED = {"added": True}
MOST_VALUES = 1_000_000  # of a YAML file, aliases written out
# libyaml's parser, where PyYAML has it: a report reads thousands of configurations.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str) -> Any:
    """Return what a YAML text holds."""
    return yaml.load(text, _loader_of(text))


def _loader_of(text: str) -> Any:
    """Return the parser for a text: libyaml's refuses what stands for bytes of no encoding."""
    return yaml.SafeLoader if "\\uDC" in text else YAML_LOADER


def read_yaml(path: Path, load: Callable[[str], Any] = load_yaml) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises ValueError naming a file that is missing or is no mapping, or whose aliases stand for
    more values than any memory holds.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "&" in text and _num_values(yaml.compose(text, _loader_of(text)), {}) > MOST_VALUES:
            raise ValueError(f"its aliases (*name) stand for over {MOST_VALUES:,} values")
        raw = load(text)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    # PyYAML lets errors of all kinds through: of dates, numbers and tags.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{path}: not valid YAML: nested too deeply") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: expected a mapping of keys, as in configs/")
    return raw


def _num_values(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Return the number of values of a YAML node, those of an alias as often as it stands.

    ``known`` are the numbers of nodes; it is infinite for a node that holds itself.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        is_mapping = isinstance(node, yaml.MappingNode)
        parts = [part for pair in node.value for part in pair] if is_mapping else node.value
        known[id(node)] = 1 + sum(_num_values(part, known) for part in parts)
    return known[id(node)]


def require(condition: bool, message: str) -> None:
    """Raise ValueError of ``message`` unless the ``condition`` holds."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class DataConfig:
    """The pictures: which dataset, which domains, which label sets.

    Args:
        dataset: A name from configs/datasets, the path of such a YAML file or, for in-domain
            training, of a folder of class folders.
        root: Folder that holds the domains; empty for the folder that the dataset's file names.
        source: Domain with labels, to train on.
        target: Domain without labels, to adapt to; empty for in-domain training.
        scenario: Label sets of source and target: opda, osda or pda; empty for in-domain training.
        concepts: "shared" uses every picture; "disjoint" gives each picture, by a hash of its file
            name, to the source or to the target, so that no emoji is seen in both.
        holdout: In-domain training only: share of each class kept apart to test on, where the
            dataset has no test split.
        validation: Share of each class's training pictures kept apart: with a scenario, for the
            threshold of answer.threshold source; in-domain, to choose the best epoch on, or, over
            0, the dataset's validation split. 0 trains on all.
        images_per_class: In-domain only: pictures of each class to train on, drawn by the seed; 0
            takes all.
    """

    dataset: str = "emoji_home"
    root: str = ""
    source: str = ""
    target: str = ""
    scenario: str = ""
    concepts: str = "shared"
    holdout: float = 0.2
    validation: float = field(default=0.0, metadata=ADDED)
    images_per_class: int = field(default=0, metadata=ADDED)

    def __post_init__(self) -> None:
        require(
            self.scenario in ("", *SCENARIOS),
            f"data.scenario: {self.scenario!r} is not one of {', '.join(SCENARIOS)}",
        )
        require(
            self.concepts in ("shared", "disjoint"),
            f"data.concepts: {self.concepts!r} is neither shared nor disjoint",
        )
        require(0 < self.holdout < 1, f"data.holdout: {self.holdout} is not between 0 and 1")
        require(
            0 <= self.validation < 1,
            f"data.validation: {self.validation} must be at least 0 and below 1",
        )
        require(
            self.images_per_class >= 0,
            f"data.images_per_class: {self.images_per_class} must not be negative",
        )
        require(
            not (self.scenario and self.images_per_class),
            "data.images_per_class: for in-domain training only, without data.scenario",
        )
        require(
            not self.target or self.source != self.target,
            f"data.target: {self.target!r} is the source too; name another domain",
        )
        require(
            not self.target or bool(self.scenario),
            f"data.scenario: say opda, osda or pda for the pair with target {self.target!r}",
        )


@dataclass(frozen=True)
class ImageConfig:
    """Sizes in pixels, in the order in which they are applied.

    Args:
        decode_px: Pictures are decoded to squares of this size; augmentation mixes at it.
        resize_px: Then resized to this (aspect ratio not kept).
        crop_px: Then cropped to this: at random in training, at the centre elsewhere.
        flip: Whether half of the training views are mirrored.
        pad_px: `uda train` alone: black edge laid around the resized pictures, so that random crops
            reach over it, as is usual with CIFAR's 32 px.
    """

    decode_px: int = 256
    resize_px: int = 256
    crop_px: int = 224
    flip: bool = True
    pad_px: int = field(default=0, metadata=ADDED)

    def __post_init__(self) -> None:
        require(self.pad_px >= 0, f"images.pad_px: {self.pad_px} must not be negative")
        require(
            0 < self.crop_px <= self.resize_px and self.decode_px > 0,
            f"images: crop_px {self.crop_px} must be positive and at most "
            f"resize_px {self.resize_px}, and decode_px {self.decode_px} positive",
        )


HEADS = ("bottleneck_wn", "linear", "linear_nobias", "mlp", "bottleneck", "bottleneck_relu")


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Args:
        backbone: efficientnet_lite0, a torchvision ResNet (resnet50, …), vgg19,
            preact_resnet18 (32 px), preact_resnet18_64, or timm:NAME.
        weights: "imagenet", "none", a name of torchvision's such as IMAGENET1K_V2, or a file of
            backbone weights (.pth or .safetensors).
        head: "bottleneck_wn" (Linear, BatchNorm, weight-normalised classifier: LEAD's), "linear",
            "linear_nobias" (OVANet's), "mlp" (two layers and a classifier: UniOT's), "bottleneck"
            (Linear, BatchNorm and a classifier: DCC's), or "bottleneck_relu" (with a ReLU: CMU's).
        bottleneck_dim: Feature size D behind the bottleneck; LEAD needs more than classes.
        frozen: Whether the backbone stays at rest, its BatchNorm too: its features of each
            picture's centre crop (and of the augmented copies, made once) are computed once and
            kept, and the layers behind it are trained on them.
    """

    backbone: str = "efficientnet_lite0"
    weights: str = "imagenet"
    head: str = "bottleneck_wn"
    bottleneck_dim: int = 256
    frozen: bool = field(default=False, metadata=ADDED)

    def __post_init__(self) -> None:
        require(self.head in HEADS, f"model.head: {self.head!r} is not one of {', '.join(HEADS)}")
        require(self.bottleneck_dim > 0, "model.bottleneck_dim: must be positive")


@dataclass(frozen=True)
class TrainConfig:
    """Supervised training: LEAD's source stage, or an in-domain classifier.

    Args:
        epochs: Passes over the N originals; N // batch_size steps each.
        steps: Optimiser steps in all, instead of epochs; 0 counts epochs.
        batch_size: Images a step; the rest of a pass is dropped.
        rate: Learning rate at the start.
        backbone_factor: The backbone's rate is this share of it.
        weight_decay: On every parameter.
        label_smoothing: Share of the target spread over all classes.
        budget: "steps" takes as many steps with augmented copies as without; "epochs" lets the
            steps grow with the copies, where epochs count them.
        schedule: How the rate falls over the share p of training that is done: "inverse" is LEAD's
            (1 + 10 p)^-0.75, "cosine" a half wave to 0, "step" a factor at each milestone.
        milestones: Of the schedule "step": shares of training, such as 0.5.
        step_factor: Of the schedule "step": the rate is multiplied by it at each milestone.
        warmup_epochs: Over so many passes over the originals the rate first grows evenly from 0.
        ema: Decay of a moving average of the weights, which is then the result; 0 averages nothing.
        accumulate: Parts that each step's batch passes the network in, to save memory; BatchNorm
            then takes each part's statistics.
        clip_norm: Gradients of a larger norm are scaled down to it; 0 leaves them.
        robustness: In-domain only: whether the trained model is tested under attacks and
            corruptions, too. That takes 38 passes over the test part (ImageNet-1K: hours).
    """

    epochs: int = 50
    steps: int = 0
    batch_size: int = 64
    rate: float = 0.01
    backbone_factor: float = 0.1
    weight_decay: float = 1e-3
    label_smoothing: float = 0.1
    budget: str = "steps"
    schedule: str = field(default="inverse", metadata=ADDED)
    milestones: list[float] = field(default_factory=lambda: [0.5, 0.75])
    step_factor: float = 0.1
    warmup_epochs: float = field(default=0.0, metadata=ADDED)
    ema: float = field(default=0.0, metadata=ADDED)
    accumulate: int = field(default=1, metadata=ADDED)
    clip_norm: float = field(default=0.0, metadata=ADDED)
    robustness: bool = True

    def __post_init__(self) -> None:
        require(self.batch_size > 1, "train.batch_size: BatchNorm needs at least 2")
        require(self.steps >= 0, f"train.steps: {self.steps} must not be negative")
        require(self.epochs > 0, f"train.epochs: {self.epochs} must be positive")
        require(self.rate > 0, f"train.rate: {self.rate} must be positive")
        require(
            0 <= self.label_smoothing < 1,
            f"train.label_smoothing: {self.label_smoothing} is not a share below 1",
        )
        require(
            self.budget in ("steps", "epochs"),
            f"train.budget: {self.budget!r} is neither steps nor epochs",
        )
        require(
            not (self.steps and self.budget == "epochs"),
            f"train.budget: epochs, but train.steps says {self.steps} steps; leave one of them out",
        )
        require(
            self.schedule in SCHEDULES,
            f"train.schedule: {self.schedule!r} is not one of {', '.join(SCHEDULES)}",
        )
        require(
            all(0 < share < 1 for share in self.milestones),
            f"train.milestones: {self.milestones} are not shares of training between 0 and 1",
        )
        require(self.step_factor > 0, f"train.step_factor: {self.step_factor} must be positive")
        require(0 <= self.ema < 1, f"train.ema: {self.ema} must be at least 0 and below 1")
        for key in ("backbone_factor", "weight_decay", "warmup_epochs", "clip_norm"):
            value = getattr(self, key)
            require(value >= 0, f"train.{key}: {value} must not be negative")
        require(
            self.accumulate > 0 and self.batch_size >= 2 * self.accumulate,
            f"train.accumulate: {self.accumulate} parts of a batch of {self.batch_size}; each must "
            "have at least 2 images",
        )


@dataclass(frozen=True)
class PretrainConfig:
    """Self-supervised pretraining of the backbone: `uda pretrain`.

    Steps, batch size, rate and schedule are those of `train`, of which label_smoothing and
    backbone_factor do not apply.

    Args:
        method: moco_v2 or simsiam.
        pairing: What augmented copies are: "list", pictures of their own beside the originals;
            "pair", the other view's picture: one view is of the original, one of its copy.
        options: By method, its options: {moco_v2: {queue: 256}}.
    """

    method: str = "moco_v2"
    pairing: str = "list"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            self.pairing in PAIRINGS,
            f"pretrain.pairing: {self.pairing!r} is neither list nor pair",
        )


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of the training images.

    Args:
        name: none, genmix, mixup, randaugment, …: docs/augmentations.md has all. Several, as
            genmix+randaugment, one after another.
        copies: Augmented copies of each image in the list to train on (the paper's m). Of genmix
            alone: the others change every image or batch.
        options: By augmentation, its options: {genmix: {prompts: cross-domain}}.
    """

    name: str = "none"
    copies: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.copies >= 1, "augment.copies: must be at least 1")


@dataclass(frozen=True)
class AdaptConfig:
    """Adaptation to the unlabelled target.

    Args:
        method: lead, glc, source_only, …: docs/methods.md has all.
        epochs: Passes over the target; N // batch_size steps each.
        batch_size: Images a step; the rest of a pass is dropped.
        rate: Learning rate at the start.
        backbone_factor: The backbone's rate is this share of it.
        weight_decay: On every trained parameter.
        options: By method, its options: {lead: {ce_weight: 2.0}}.
        checkpoint: Source model to start from; empty for the one that `uda train` made.
        batch_norm: "target" takes BatchNorm's statistics of each batch of the target, as LEAD does;
            "source" keeps the source model's.
        epoch_steps: Steps of an epoch; 0 for a pass over the target.
        start: "source" starts from the trained source model; "backbone", of methods that learn from
            the source's pictures themselves, from the backbone's pretrained weights.
        balanced: Whether such methods draw the source's classes equally often.
        neighbours: Which pictures are a picture's neighbours in the consistency of LEAD and GLC:
            "bank", those of the most similar features, as published; "frozen", of the most similar
            features of the pretrained backbone, on whole pictures of images.decode_px; "oracle",
            random pictures of the same true class. The last reads the target's labels: a ceiling,
            no method.
        keep_banks: Whether each epoch's features and probabilities of the target stay in the run's
            folder (float16): label-free criteria and figures are made of them.
    """

    method: str = "lead"
    epochs: int = 50
    batch_size: int = 64
    rate: float = 0.001
    backbone_factor: float = 0.1
    weight_decay: float = 1e-3
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    batch_norm: str = field(default="target", metadata=ADDED)
    epoch_steps: int = field(default=0, metadata=ADDED)
    start: str = field(default="source", metadata=ADDED)
    balanced: bool = field(default=True, metadata=ADDED)
    neighbours: str = field(default="bank", metadata=ADDED)
    keep_banks: bool = True

    def __post_init__(self) -> None:
        require(
            self.neighbours in NEIGHBOURS,
            f"adapt.neighbours: {self.neighbours!r} is not one of {', '.join(NEIGHBOURS)}",
        )
        require(
            self.batch_norm in ("target", "source"),
            f"adapt.batch_norm: {self.batch_norm!r} is neither target nor source",
        )
        require(
            self.start in ("source", "backbone"),
            f"adapt.start: {self.start!r} is neither source nor backbone",
        )
        require(
            self.start == "source" or not self.checkpoint,
            "adapt.start: backbone starts from no checkpoint; leave adapt.checkpoint out",
        )
        require(self.epoch_steps >= 0, f"adapt.epoch_steps: {self.epoch_steps} is negative")
        require(self.batch_size > 1, "adapt.batch_size: BatchNorm needs at least 2")
        require(self.epochs >= 0, f"adapt.epochs: {self.epochs} must not be negative")
        require(self.rate > 0, f"adapt.rate: {self.rate} must be positive")
        for key in ("backbone_factor", "weight_decay"):
            value = getattr(self, key)
            require(value >= 0, f"adapt.{key}: {value} must not be negative")


@dataclass(frozen=True)
class AnswerConfig:
    """How a finished adaptation answers: with a class, or with unknown.

    Nothing is trained. "method" stands for what the adaptation's method does as published.

    Args:
        views: Crops of each picture over which probabilities and scores are averaged: 1, the
            centre; 2, with its mirror image; 6, with the four corners as well.
        score: What says how unknown a picture is: method; entropy, over log K; cosine, 1 less the
            highest cosine of its features to a class's row of the classifier; probability, 1 less
            the highest.
        threshold: Above which score a picture is unknown: method; two-means, mixture or box-cox,
            which find it over the whole target; source, which finds it over the source's pictures
            and holds in every scenario; or a number.
        labels: What says which class a known picture is of: method, the model's probabilities;
            co-learn, these times what the pretrained backbone, which stays as it is, says on whole
            pictures of images.decode_px. What is unknown stays so.
    """

    views: int = field(default=1, metadata=ADDED)
    score: str = field(default="method", metadata=ADDED)
    threshold: str = field(default="method", metadata=ADDED)
    labels: str = field(default="method", metadata=ADDED)

    def __post_init__(self) -> None:
        require(
            self.labels in ANSWER_LABELS,
            f"answer.labels: {self.labels!r} is not one of {', '.join(ANSWER_LABELS)}",
        )
        require(self.views in VIEWS, f"answer.views: {self.views} is not one of 1, 2 and 6")
        require(
            self.score in ANSWER_SCORES,
            f"answer.score: {self.score!r} is not one of {', '.join(ANSWER_SCORES)}",
        )
        require(
            self.threshold in ANSWER_THRESHOLDS or self.number is not None,
            f"answer.threshold: {self.threshold!r} is neither a number from 0 to 2 nor one of "
            f"{', '.join(ANSWER_THRESHOLDS)}",
        )
        require(
            self.score in ("method", "entropy") or self.threshold != "method",
            f"answer.threshold: a method's is one of the entropy; with the score {self.score} name "
            "another, such as two-means",
        )
        require(
            self.score != "method" or self.threshold != "source",
            "answer.score: with the threshold source name entropy, cosine or probability",
        )

    @property
    def number(self) -> float | None:
        """The threshold where it is a number, else None."""
        try:
            value = float(self.threshold)
        except (ValueError, TypeError):
            return None
        return value if 0 <= value <= 2 else None

    @property
    def is_methods(self) -> bool:
        """Whether everything is as the method does it."""
        return self == AnswerConfig()

    @property
    def title(self) -> str:
        """What differs from the method's way, for tables: ``6 views, cosine, two-means``."""
        views = f"{self.views} views" if self.views > 1 else ""
        named = [n for n in (self.score, self.threshold, self.labels) if n != "method"]
        return ", ".join(filter(None, [views, *named]))


@dataclass(frozen=True)
class ComputeConfig:
    """How it is computed. Of these the precision alone decides a run's result.

    Args:
        precision: float32; bfloat16 or float16 run the network in it where that is safe (autocast),
            all else stays in float32. float16 needs a GPU.
        channels_last: Whether network and images are laid out channels-last.
        compile: Whether the network goes through torch.compile.
        onnx: Whether passes without gradients on a CPU go through ONNX Runtime, if it is installed.
        image_memory_gb: Sets of decoded pictures larger than this (GiB) are kept in files.
        cache: Folder of those files, and of a frozen network's features, which later runs find
            again; it can be deleted.
    """

    precision: str = "float32"
    channels_last: bool = True
    compile: bool = False
    onnx: bool = True
    image_memory_gb: float = 4.0
    cache: str = "data/decoded"

    def __post_init__(self) -> None:
        require(
            self.precision in PRECISIONS,
            f"compute.precision: {self.precision!r} is not one of {', '.join(PRECISIONS)}",
        )
        require(
            self.image_memory_gb >= 0,
            f"compute.image_memory_gb: {self.image_memory_gb} must not be negative",
        )


DEFAULT_COMPUTE = ComputeConfig()


def _entry_keys(section: object, *without: str) -> dict[str, type]:
    """Return the keys of a sweep's entry with their types: its title, and those of ``section``."""
    named = {key: type(value) for key, value in vars(section).items() if key not in without}
    return {"title": str, **named}


METHOD_KEYS = {
    **_entry_keys(AdaptConfig(), "checkpoint", "keep_banks"),
    "answer": dict,
    "augmentations": list,
}
AUGMENT_KEYS = _entry_keys(AugmentConfig())
PRETRAIN_KEYS = _entry_keys(PretrainConfig())


@dataclass(frozen=True)
class SweepConfig:
    """What `uda sweep` runs: every pair with every method, augmentation and seed.

    Args:
        name: Of its record under RUNS/sweeps; empty for the scenario's. Sweeps of different names
            can share a folder of runs, and the runs that they have in common.
        pairs: Pairs as tables print them (Tw2Fl), or all; without a scenario, domains.
        methods: Names, or mappings of method, title and other keys of `adapt` laid over it; under
            answer, keys of `answer`; under augmentations, the names or titles of those that it is
            run with, if not with all.
        augmentations: Names, or mappings of name, title and other keys of `augment`.
        pretrainings: Names of self-supervised methods, or mappings of method, title and other keys
            of `pretrain`. If there are any, the sweep pretrains backbones and does nothing else.
        seeds: Seeds.
        published: Without a scenario: the table of the GenMix paper (a number) whose results stand
            beside ours; 0 for none.
    """

    name: str = ""
    pairs: list[str] = field(default_factory=lambda: ["all"])
    methods: list[str | dict[str, Any]] = field(default_factory=lambda: ["source_only", "lead"])
    augmentations: list[str | dict[str, Any]] = field(default_factory=lambda: ["none", "genmix"])
    pretrainings: list[str | dict[str, Any]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    published: int = 0

    def __post_init__(self) -> None:
        for key in ("pairs", "methods", "augmentations", "seeds"):
            require(bool(getattr(self, key)), f"sweep.{key}: must not be empty")
        require(
            min(self.seeds) >= 0 and max(self.seeds) <= MAX_SEED,
            f"sweep.seeds: {self.seeds} are not all in 0 to {MAX_SEED}",
        )
        require(
            len(set(self.seeds)) == len(self.seeds), f"sweep.seeds: {self.seeds} contain duplicates"
        )
        require(
            not self.name or Path(self.name).name == self.name,
            f"sweep.name: {self.name!r} is not a file's name",
        )
        _check_entries("methods", self.methods, METHOD_KEYS, "method")
        _check_entries("augmentations", self.augmentations, AUGMENT_KEYS, "name")
        _check_entries("pretrainings", self.pretrainings, PRETRAIN_KEYS, "method")


def _check_entries(
    where: str, entries: list[str | dict[str, Any]], shapes: Mapping[str, type], needed: str
) -> None:
    for entry in entries:
        if isinstance(entry, str):
            continue
        for key, value in entry.items():
            if key not in shapes:
                raise ValueError(f"sweep.{where}: unknown key {key!r}; known: {', '.join(shapes)}")
            wanted = shapes[key]
            if type(value) is not wanted and (wanted, type(value)) != (float, int):
                raise ValueError(f"sweep.{where}: {key}: {value!r} is not a {wanted.__name__}")
        require(needed in entry, f"sweep.{where}: {entry} lacks the key {needed!r}")


@dataclass(frozen=True)
class Experiment:
    """One reproducible run.

    Args:
        data: The pictures.
        images: Sizes.
        model: The network.
        train: Supervised training.
        pretrain: Self-supervised pretraining.
        augment: Augmentation.
        adapt: Adaptation.
        answer: How the adapted model answers.
        compute: Precision, layout and memory.
        sweep: What `uda sweep` runs; the other commands pass over it.
        seed: Seed of everything drawn at random.
        runs: Folder of the runs' folders.
        store: Folder of the edits that augmentation makes.
        device: auto, cpu, cuda or cuda:N.
        threads: Threads of the CPU; 0 leaves the machine's default.
    """

    data: DataConfig = field(default_factory=DataConfig)
    images: ImageConfig = field(default_factory=ImageConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    answer: AnswerConfig = field(default_factory=AnswerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    seed: int = 0
    runs: str = "runs"
    store: str = "data/edits"
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.seed <= MAX_SEED, f"seed: {self.seed} is not in 0 to {MAX_SEED}")
        require(self.threads >= 0, f"threads: {self.threads} must not be negative")


def added_fields(section: type) -> dict[str, Any]:
    """Return the defaults of the fields of ``section`` that are marked as `ADDED`."""
    defaults = section()
    return {
        field.name: getattr(defaults, field.name)
        for field in fields(section)
        if field.metadata == ADDED
    }


def check_sections(raw: Mapping[str, Any], where: str) -> None:
    """Check the sections of an experiment's file ``where``.

    Raises ValueError naming the file and the key where a section is no mapping, or a key has no
    value.
    """
    sections = [field.name for field in fields(Experiment) if field.default is MISSING]
    for name, value in raw.items():
        if name not in sections:
            _require_value(value, f"{where}: {name}")
            continue
        _require_mapping(value, f"{where}: {name}")
        for key, setting in value.items():
            _require_value(setting, f"{where}: {name}.{key}")
            if key == "options":
                _require_mapping(setting, f"{where}: {name}.options")
                for owner, options in setting.items():
                    _require_mapping(options or {}, f"{where}: {name}.options.{owner}")


def _require_value(value: Any, key: str) -> None:
    require(value is not None, f"{key}: has no value; leave it out for the default")


def _require_mapping(value: Any, key: str) -> None:
    require(isinstance(value, Mapping), f"{key}: expected a mapping of options, not {value!r}")
