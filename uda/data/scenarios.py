"""The classes that source and target have under a scenario, and how they are numbered.

Classes are numbered shared first, then source-private, then target-private, each in the dataset's
class order. The K source classes are thus 0..K-1, and every label from K on is unknown to a source
model. A model that has been trained keeps its order, whatever became of the dataset's: who loads it
numbers classes by its run (`split_of_run`) or its checkpoint (`numbered_by`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from uda.data.list_files import LIST_SUFFIXES
from uda.data.spec import PARTS, DatasetSpec
from uda.runs.checkpoints import check_classes
from uda.runs.folder import Run
from uda.runs.hashing import config_hash


class OtherClassesError(ValueError):
    """The error that a dataset's classes are by now others than a run's."""


@dataclass(frozen=True)
class ClassSplit:
    """Class names by role; ``number`` maps each to its label."""

    shared: tuple[str, ...]
    source_private: tuple[str, ...] = ()
    target_private: tuple[str, ...] = ()

    @property
    def source_classes(self) -> tuple[str, ...]:
        """The K classes of the source, in label order."""
        return self.shared + self.source_private

    @property
    def target_classes(self) -> tuple[str, ...]:
        """The classes of the target, in label order."""
        return self.shared + self.target_private

    @property
    def number(self) -> dict[str, int]:
        """Class name -> label."""
        names = self.shared + self.source_private + self.target_private
        return {name: label for label, name in enumerate(names)}

    @property
    def hash(self) -> str:
        """A hash of names, roles and order, which a run's configuration holds."""
        return config_hash(asdict(self))


def class_split(spec: DatasetSpec, scenario: str) -> ClassSplit:
    """Return the class sets of ``scenario``.

    An empty ``scenario`` (in-domain training) makes every class shared.

    Raises:
        ValueError: The dataset lacks the scenario, or its ranges overlap or share no class.
    """
    if not scenario:
        return ClassSplit(shared=spec.classes)
    if scenario not in spec.scenarios:
        raise ValueError(
            f"data.scenario: {spec.name} has no {scenario!r}; it has {', '.join(spec.scenarios)}"
        )
    ranges = spec.scenarios[scenario]
    split = ClassSplit(**{part: spec.classes[slice(*ranges.get(part, (0, 0)))] for part in PARTS})
    names = split.shared + split.source_private + split.target_private
    if len(set(names)) != len(names):
        raise ValueError(f"{spec.name}: scenario {scenario!r} gives a class two roles")
    if not split.shared:
        raise ValueError(f"{spec.name}: scenario {scenario!r} shares no class")
    return split


def split_of_run(run: Run, spec: DatasetSpec, split: ClassSplit | None = None) -> ClassSplit:
    """Return the classes by role, numbered as the model of ``run`` has them.

    Args:
        split: The classes that ``spec.reader`` finds; by default `class_split`'s.

    Raises:
        OtherClassesError: The dataset's classes do not fit the run; names the run, and a class.
        ValueError: The dataset lacks the scenario, or the run's file of classes is broken.
    """
    now = class_split(spec, run.scenario)
    if names := run.classes():
        try:
            return numbered_by(names, split or now, spec, str(run.folder))
        except ValueError as error:
            raise OtherClassesError(str(error)) from None
    if run.class_hash not in ("", now.hash):  # a run from before runs kept their classes
        raise OtherClassesError(
            f"{run.folder}: no classes.json in it, and {spec.name} has other classes by now"
        )
    return split or now


def numbered_by(
    names: Sequence[str], split: ClassSplit, spec: DatasetSpec, where: str
) -> ClassSplit:
    """Return ``split`` with its source classes in the order of ``names``, those of a model.

    Raises:
        ValueError: A class or its role differs; begins with ``where``, and names the class.
    """
    # Lists give pictures' classes by number, so that another order gives them other classes.
    has_lists = any(folder.endswith(LIST_SUFFIXES) for folder in spec.domains.values())
    if set(names) == set(split.source_classes) and not has_lists:
        parts = (split.shared, split.source_private)
        shared, private = (tuple(sorted(part, key=names.index)) for part in parts)
        split = replace(split, shared=shared, source_private=private)
    check_classes(names, split.source_classes, where)
    return split
