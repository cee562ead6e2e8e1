"""What a run's configuration says, each value by its name.

The configuration (``config.yaml``) has these keys. Of source training: ``stage: train``, ``seed``,
``data``, ``classes``, ``augment``, and what else decides the weights. Of an adaptation:
``stage: adapt``, ``target``, ``adapt``, its source model's configuration as ``source``, and
``answer`` where it does not answer as its method does. Of pretraining: those of source training
with ``stage: pretrain``, and ``pretrain``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from uda.config import AnswerConfig
from uda.runs.hashing import config_hash


class RunConfig:
    """A run's configuration, of which the folder's name is a hash.

    A property raises ValueError naming the folder where the configuration lacks its key.
    """

    folder: Path
    config: Mapping[str, Any]

    def _value(self, *keys: str) -> Any:
        value: Any = self.config
        for number, key in enumerate(keys, 1):
            if not isinstance(value, Mapping) or key not in value:
                raise ValueError(
                    f"{self.folder}: its configuration has no {'.'.join(keys[:number])}; restore "
                    "it, or delete the folder and make the run again"
                )
            value = value[key]
        return value

    def _of_source(self, *keys: str) -> Any:
        return self._value(*(("source", *keys) if self.is_adaptation else keys))

    def _section(self, *keys: str) -> Mapping[str, Any]:
        """Return a mapping of the source's configuration."""
        section = self._of_source(*keys)
        if not isinstance(section, Mapping):
            raise ValueError(
                f"{self.folder}: its configuration's {'.'.join(keys) or 'source'} is no mapping; "
                "restore it, or delete the folder and make the run again"
            )
        return section

    @property
    def hash(self) -> str:
        """The configuration's hash."""
        return config_hash(self.config)

    @property
    def stage(self) -> str:
        """``train``, ``adapt`` or ``pretrain``."""
        return str(self._value("stage"))

    @property
    def is_adaptation(self) -> bool:
        """Whether a source model was adapted to a target."""
        return self.stage == "adapt"

    @property
    def is_in_domain(self) -> bool:
        """Whether a classifier was trained without a scenario."""
        return self.stage == "train" and not self.scenario

    @property
    def is_source_model(self) -> bool:
        """Whether a classifier was trained for a scenario."""
        return self.stage == "train" and bool(self.scenario)

    @property
    def is_pretraining(self) -> bool:
        """Whether a backbone was trained without labels."""
        return self.stage == "pretrain"

    @property
    def pretrain(self) -> Mapping[str, Any]:
        """The settings of pretraining."""
        return self._section("pretrain")

    @property
    def source(self) -> Mapping[str, Any]:
        """The source stage's configuration: this run's, or its source model's."""
        return self._section()

    @property
    def seed(self) -> int:
        """The run's seed."""
        seed = self._of_source("seed")
        if type(seed) is not int:
            raise ValueError(f"{self.folder}: its configuration's seed is no whole number")
        return seed

    @property
    def source_domain(self) -> str:
        """The domain with labels."""
        return str(self._of_source("data", "source"))

    @property
    def target(self) -> str:
        """The domain that was adapted to; empty where none was."""
        return str(self.config.get("target", ""))

    @property
    def scenario(self) -> str:
        """opda, osda or pda; empty for in-domain training."""
        return str(self._section("data").get("scenario", ""))

    @property
    def concepts(self) -> str:
        """As in `uda.config.DataConfig`."""
        return str(self._section("data").get("concepts", "shared"))

    @property
    def augment(self) -> Mapping[str, Any]:
        """The augmentation's name, copies and options."""
        return self._section("augment")

    @property
    def train(self) -> Mapping[str, Any]:
        """The settings of source training."""
        return self._section("train")

    @property
    def augmentation(self) -> str:
        """The augmentation's name; ``checkpoint`` where the source model came as a file."""
        return str(self._of_source("augment", "name"))

    @property
    def checkpoint_hash(self) -> str:
        """The hash of the source model's file where it came as a file, else empty."""
        return str(self.augment.get("file", ""))

    @property
    def adapt(self) -> Mapping[str, Any]:
        """The adaptation's settings; for a source model, those of source_only."""
        settings = self.config.get("adapt", {"method": "source_only", "options": {}})
        if not isinstance(settings, Mapping) or "method" not in settings:
            raise ValueError(f"{self.folder}: its configuration's adapt names no method")
        return settings

    @property
    def answer(self) -> Mapping[str, Any]:
        """How it answers, as in `uda.config.AnswerConfig`, without what is as the method's."""
        answer = self.config.get("answer", {})
        if not isinstance(answer, Mapping) or not answer.keys() <= vars(AnswerConfig()).keys():
            raise ValueError(f"{self.folder}: its configuration's answer is not of this version")
        return answer

    @property
    def method(self) -> str:
        """The adaptation method's name."""
        return str(self.adapt["method"])

    @property
    def epochs(self) -> int | None:
        """Epochs of adaptation; None where this run trains nothing, as one that answers anew."""
        epochs = None if self.answer else self.adapt.get("epochs")
        if not (epochs is None or type(epochs) is int):
            raise ValueError(f"{self.folder}: its configuration's adapt.epochs is no whole number")
        return epochs

    @property
    def entropy_threshold(self) -> float | None:
        """The method's option of this name; None where it has none."""
        options = self.adapt.get("options") or {}
        threshold = options.get("entropy_threshold") if isinstance(options, Mapping) else None
        if not isinstance(threshold, (int, float, type(None))):
            raise ValueError(f"{self.folder}: its configuration's entropy_threshold is no number")
        return threshold

    @property
    def class_hash(self) -> str:
        """A hash of the scenario's classes by their roles; empty for the oldest runs."""
        return str(self.source.get("classes", ""))

    @property
    def dataset_name(self) -> str:
        """The dataset's name or file, as the configuration has it."""
        return str(self._of_source("data", "dataset"))


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
